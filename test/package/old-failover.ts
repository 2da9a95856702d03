/**
 * Routers with the ioredis of their age, in the language of Node 8. Behind one port: a connection that is lost, then a server
 * that is, with its replica in its place, then records.
 */
export const OLD_FAILOVER_RUN = `
const EventEmitter = require('events');
const net = require('net');
const fail = (error) => { console.error(error); process.exit(1); };
process.on('unhandledRejection', fail);
process.on('uncaughtException', fail);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const until = async (what, holds) => {
  for (let tries = 0; !(await holds()); tries += 1) {
    if (tries > 400) throw new Error('never: ' + what);
    await sleep(50);
  }
};
const { createPresence } = require('voiceping-presence');
const { redisStore } = require('voiceping-presence/redis');
const Redis = require('ioredis');
class Socket extends EventEmitter {
  constructor() { super(); this.readyState = 1; this.bufferedAmount = 0; }
  send() {}
  ping() { this.emit('pong'); }
  terminate() {}
}
const [master, replica] = process.env.REDIS_PORTS.split(',').map(Number);
let target = master;
const pairs = new Set();
const proxy = net.createServer((client) => {
  if (target === 0) { client.destroy(); return; }
  const upstream = net.connect(target, '127.0.0.1');
  const pair = [client, upstream];
  pairs.add(pair);
  const cut = () => { pairs.delete(pair); client.destroy(); upstream.destroy(); };
  for (const socket of pair) { socket.on('error', cut); socket.on('close', cut); }
  client.pipe(upstream).pipe(client);
});
const cutAll = () => { for (const pair of pairs) for (const socket of pair) socket.destroy(); };
const errors = [];
const router = (port, isOwn) => {
  const client = isOwn ? undefined : new Redis({ port, retryStrategy: () => 100 });
  if (client) client.on('error', () => undefined);
  const store = redisStore(client ? { client } : { host: '127.0.0.1', port });
  const presence = createPresence({ leaseMs: 1500, graceMs: 0, pingIntervalMs: 200, store, onError: (error) => errors.push(error.message) });
  const told = [];
  presence.onUpdate(({ userId, status, reason }) => told.push(userId + ' ' + status + ' ' + reason));
  const attach = (userId) => {
    const socket = new Socket();
    return { socket, ready: presence.attachToSocket(socket, { userId }).ready };
  };
  const isOnline = (...ids) => presence.getStatuses(ids).then((all) => ids.map((id) => all[id].status).join(), () => '');
  return { presence, told, attach, isOnline, end: () => presence.close().then(() => client && client.disconnect()) };
};
const run = async (port) => {
  const [a, b] = [router(port, true), router(port, false)];
  await Promise.all([a.presence.ready(), b.presence.ready()]);
  const leaves = a.attach('leaves');
  await Promise.all([leaves.ready, a.attach('stays').ready, b.attach('elsewhere').ready]);
  await until('each hears of all', () => a.told.length === 3 && b.told.length === 3);

  target = 0;
  cutAll();
  leaves.socket.emit('close', 1000);
  const comes = a.attach('comes');
  await until('a query is rejected', () => a.isOnline('stays').then((answer) => answer === ''));
  await until('it is not ok', () => a.presence.health().status !== 'ok');
  target = master;
  await comes.ready;
  await until('the other one is right', () => b.isOnline('stays', 'leaves', 'comes').then((answer) => answer === 'online,offline,online'));
  await until('it is told', () => b.told.includes('leaves offline disconnect') || b.told.includes('leaves offline resync'));
  await until('it is ok', () => a.presence.health().status === 'ok' && b.presence.health().status === 'ok');

  const admin = new Redis(replica);
  await until('the replica has it', () => admin.exists('presence:user:comes').then(Boolean));
  process.send('kill');
  await new Promise((resolve) => process.once('message', resolve));
  void a.attach('late').ready.catch(fail);
  await admin.replicaof('NO', 'ONE');
  target = replica;
  cutAll();
  await until('all are there', () => b.isOnline('stays', 'comes', 'elsewhere', 'late').then((answer) => answer === 'online,online,online,online'));
  const listed = await b.presence.listOnline({ limit: 2 });
  if (listed.users.length !== 2 || listed.cursor === null || (await b.presence.countOnline()) !== 4) fail(listed);
  // Records are evicted, keys are not: what doubts asks for is read again.
  await admin.del(await admin.keys('presence:b:*'));
  for (let round = 0; round < 20; round += 1) { await b.isOnline('stays', 'gone', 'never'); await sleep(50); }
  await until('all are there again', () => b.isOnline('stays', 'comes', 'elsewhere', 'late', 'gone').then((answer) => answer === 'online,online,online,online,offline'));
  comes.socket.emit('close', 1000);
  await until('it works on', () => b.told.some((change) => change.startsWith('comes offline')));
  const offline = a.told.concat(b.told).filter((change) => change.includes(' offline ') && !/^(leaves|comes) /.test(change));
  if (offline.length > 0) fail(offline.join());
  admin.disconnect();
  await Promise.all([a.end(), b.end()]);
  proxy.close();
  process.stdout.write('done');
  process.disconnect();
};
proxy.listen(0, '127.0.0.1', () => run(proxy.address().port).catch((error) => fail(error.stack + errors.join())));
`;
