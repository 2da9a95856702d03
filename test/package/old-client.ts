/**
 * The client on Node 8, with the ws of that age, in the language of Node 8: connect, lose, come back, be refused, be deaf, ask. That
 * a file is loaded is no proof that it runs there.
 */
export const OLD_CLIENT_RUN = `
const { createPresence } = require('voiceping-presence');
const { attachPresence } = require('voiceping-presence/ws');
const { createStatusHandler } = require('voiceping-presence/http');
const { createPresenceClient } = require('voiceping-presence/client');
const http = require('http');
const WebSocket = require('ws');
const fail = (error) => { console.error(error); process.exit(1); };
process.on('unhandledRejection', fail);
process.on('warning', fail);
const tokenOf = (request) => String(request.headers['sec-websocket-protocol']).split(/, */)[0];
const presence = createPresence({ graceMs: 0, authorizeWatch: () => true });
const server = http.createServer(createStatusHandler(presence, { authorize: 'everybody' }));
const wss = new WebSocket.Server({
  server,
  verifyClient: (info, done) => done(tokenOf(info.req) !== 'refused', 401),
  handleProtocols: (protocols) => protocols[1] || false,
});
attachPresence(presence, wss, { identify: (request) => Promise.resolve({ userId: tokenOf(request), track: !/^dash/.test(tokenOf(request)) }) });
const long = '\\u00e9'.repeat(100);
const until = (what, check) => new Promise((resolve) => {
  const end = Date.now() + 20000;
  const look = () => {
    if (check()) resolve();
    else if (Date.now() > end) fail(what + ': ' + JSON.stringify([client.connection, client.getAll()]));
    else setTimeout(look, 10);
  };
  look();
});
const ask = (port, ids) => new Promise((resolve) => {
  http.request({ port, host: '127.0.0.1', method: 'POST' }, (response) => {
    let text = '';
    response.on('data', (chunk) => { text += chunk; });
    response.on('end', () => resolve(JSON.parse(text)));
  }).end(JSON.stringify({ userIds: ids }));
});
let client;
let tokens = 0;
server.listen(0, '127.0.0.1', () => (async () => {
  const port = server.address().port;
  const url = 'ws://127.0.0.1:' + port;
  const told = [];
  client = createPresenceClient({
    url, WebSocket, ids: ['phone', long], minBackoffMs: 20, probeMs: 3000, logger: false, statusUrl: 'http://127.0.0.1:' + port,
    token: () => Promise.resolve('dash' + (tokens += 1)),
  });
  client.onChange((changed) => { for (const { userId, status, reason, version } of changed) told.push([userId, status, reason, version].join()); });
  const codes = [];
  client.onConnectionChange(({ state, refusedCode }) => codes.push(refusedCode || state));
  await client.ready;
  const phone = new WebSocket(url, ['phone', 'x']);
  await until('online', () => client.getStatus('phone').status === 'online');
  if (told.indexOf('phone,online,connect,1') < 0) fail(told);
  if ((await ask(port, ['phone', long])).phone.status !== 'online') fail('the query');
  wss.clients.forEach((socket) => socket.protocol === 'web' && socket.terminate());
  await until('back after a loss', () => codes.slice(-3).join() === 'offline,connecting,live');
  const other = new WebSocket(url, ['other', 'x']);
  wss.clients.forEach((socket) => socket.protocol === 'web' && socket.close(4001, 'ended'));
  await until('back with another token', () => codes.slice(-3).join() === 'unauthorized,connecting,live');
  client.watch(['phone', 'other']);
  await until('others', () => client.getStatus('other') && client.getStatus('other').status === 'online' && !client.getStatus(long));
  wss.clients.forEach((socket) => socket.protocol === 'web' && socket._socket.pause());
  const before = tokens;
  await until('a dead link', () => tokens > before && client.connection.state === 'live');
  phone.close();
  await until('offline', () => client.getStatus('phone').status === 'offline');
  const refused = createPresenceClient({ url, WebSocket, token: 'refused', logger: false });
  await refused.ready.then(() => fail('not refused'), (error) => { if (error.message !== 'the router answered 401') fail(error); });
  client.close();
  refused.close();
  other.close();
  wss.close();
  server.close();
  await presence.close();
})().catch(fail));
`;
