import { WebSocket } from 'ws';

/** Clients that read and do nothing, in a process of their own. */
for (let count = 0; count < Number(process.env['COUNT']); count += 1) {
  new WebSocket(`ws://127.0.0.1:${process.env['PORT']}`, { perMessageDeflate: false }).on('error', () => undefined);
}
