/**
 * Changes on Node 8 with the ioredis of that age, in the language of Node 8: read, delivered to a webhook that fails at first, over HTTP
 * with a wait, from memory and from Redis. That a file is loaded is no proof that it runs there.
 */
export const OLD_CHANGES_RUN = `
const { createPresence, memoryStore } = require('voiceping-presence');
const { redisStore } = require('voiceping-presence/redis');
const { createChangesHandler } = require('voiceping-presence/http');
const { createWebhook } = require('voiceping-presence/webhook');
const { EventEmitter } = require('events');
const crypto = require('crypto');
const http = require('http');
const fail = (error) => { console.error(error); process.exit(1); };
process.on('unhandledRejection', fail);
process.on('warning', fail);
class Phone extends EventEmitter {
  constructor() { super(); this.readyState = 1; this.bufferedAmount = 0; }
  send() {}
  ping() { this.emit('pong'); }
  terminate() { this.close(1006); }
  close(code) { if (this.readyState === 3) return; this.readyState = 3; this.emit('close', code); }
}
const listen = (handler) => new Promise((resolve) => {
  const server = http.createServer(handler).listen(0, '127.0.0.1', () => resolve({ server, port: server.address().port }));
});
const get = (port, query) => new Promise((resolve, reject) => {
  http.get({ port, host: '127.0.0.1', path: '/' + query, headers: { 'x-key': 'open' } }, (response) => {
    let text = '';
    response.on('data', (chunk) => { text += chunk; });
    response.on('end', () => resolve({ status: response.statusCode, value: JSON.parse(text) }));
  }).on('error', reject);
});
const until = (what, check) => new Promise((resolve) => {
  const end = Date.now() + 20000;
  const look = () => {
    if (check()) resolve();
    else if (Date.now() > end) fail(what);
    else setTimeout(look, 20);
  };
  look();
});
const KEY = Buffer.alloc(32, 7);
const SECRET = 'whsec_' + KEY.toString('base64');
async function run(store, name) {
  const errors = [];
  const presence = createPresence({ store, leaseMs: 1500, onError: (error, context) => errors.push(context.stage + ': ' + error.message) });
  await presence.ready();
  const taken = [];
  let refusals = 1;
  const receiver = await listen((request, response) => {
    let body = '';
    request.on('data', (chunk) => { body += chunk; });
    request.on('end', () => {
      const signed = request.headers['webhook-id'] + '.' + request.headers['webhook-timestamp'] + '.' + body;
      const signature = 'v1,' + crypto.createHmac('sha256', KEY).update(signed).digest('base64');
      if (request.headers['webhook-signature'] !== signature) fail('the signature is wrong');
      refusals -= 1;
      if (refusals >= 0) { response.writeHead(500); response.end(); return; }
      JSON.parse(body).changes.forEach((change) => taken.push(change.userId + ' ' + change.status));
      response.writeHead(204);
      response.end();
    });
  });
  const url = 'http://127.0.0.1:' + receiver.port + '/';
  const stop = presence.changes.deliver('hook', createWebhook({ url, secret: SECRET, allowPrivate: true }), { from: 'start' });
  const changes = await listen(createChangesHandler(presence, { authorize: (request) => request.headers['x-key'] === 'open' || 401 }));
  const phone = new Phone();
  await presence.attachToSocket(phone, { userId: 'a\\u00e9' }).ready;
  const first = await get(changes.port, '');
  if (first.status !== 200 || first.value.changes.length !== 1) fail(name + ': ' + JSON.stringify(first));
  const waiting = get(changes.port, '?wait=20&since=' + encodeURIComponent(first.value.cursor));
  setTimeout(() => phone.close(1000), 300);
  const second = await waiting;
  if (second.value.changes.length !== 1 || second.value.changes[0].status !== 'offline') fail(name + ': ' + JSON.stringify(second));
  await until(name + ': what the receiver has taken', () => taken.join() === 'a\\u00e9 online,a\\u00e9 offline');
  if ((await get(changes.port, '?since=x')).status !== 400) fail('a cursor of nobody is taken');
  const refused = await createWebhook({ url, secret: SECRET })({ changes: [], cursor: 'c', gap: false }).then(() => 'taken', (error) => error.message);
  if (!/no public address/.test(refused)) fail(refused);
  const unnamed = await createWebhook({ url: 'http://localhost:1/', secret: SECRET })({ changes: [], cursor: 'c', gap: false }).then(() => 'taken', (error) => error.message);
  if (!/no public address/.test(unnamed)) fail(unnamed);
  const deliveries = await presence.changes.deliveries();
  if (deliveries.length !== 1 || deliveries[0].lastError !== null) fail(JSON.stringify(deliveries));
  if (errors.length !== 1 || !/^delivery: the handler of hook failed: 127.0.0.1:\\d+ answered 500$/.test(errors[0])) fail(errors);
  await stop();
  await presence.close();
  receiver.server.close();
  changes.server.close();
}
run(memoryStore(), 'memory')
  .then(() => run(redisStore({ host: '127.0.0.1', port: Number(process.env.REDIS_PORT), prefix: 'changes:' }), 'redis'))
  .then(() => console.log('done'), fail);
`;
