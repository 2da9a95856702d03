import type { Mutant } from './mutant';

const EACH = 'src/adapters/attach-each.ts';
const EARLY = 'src/adapters/early-frames.ts';
const SOCKET_IO = 'src/adapters/socket.io.ts';

export const ADAPTERS: readonly Mutant[] = [
  {
    id: 'early-question-lost',
    fault: 'A dashboard that sends a request while identify decides is never answered.',
    file: EACH,
    find: 'if (attachment !== undefined) for (const frame of frames) receive(attachment, frame);',
    put: '',
    tests: ['test/adapters/identify.test.ts'],
  },
  {
    id: 'early-frames-let-go-in-part',
    fault:
      'Each socket that is identified late takes up a part of the shared memory for early frames, until no frame is kept any more.',
    file: EARLY,
    find: 'totalBytes -= this.bytes;',
    put: '',
    tests: ['test/adapters/identify.test.ts'],
  },
  {
    id: 'early-frames-unbounded',
    fault: 'An unidentified client fills the memory while identify decides.',
    file: EARLY,
    find: 'if (this.frames.length === MAX_FRAMES || this.bytes + length > MAX_BYTES) return;',
    put: '',
    tests: ['test/adapters/identify.test.ts'],
  },
  {
    id: 'early-frame-shares-memory',
    fault: 'A request that is kept while identify decides is overwritten by later frames.',
    file: EARLY,
    find: 'this.keep(Uint8Array.from(bytes), bytes.length);',
    put: 'this.keep(bytes, bytes.length);',
    tests: ['test/adapters/identify.test.ts'],
  },
  {
    id: 'identity-of-nobody-closes',
    fault: 'By default, sockets are closed for which identify returns null, or fails.',
    file: EACH,
    find: "const { identifyTimeoutMs, closeUnidentified = ['timeout'] } = options;",
    put: "const { identifyTimeoutMs, closeUnidentified = ['null', 'error', 'timeout'] } = options;",
    tests: ['test/adapters/identify.test.ts', 'test/adapters/ws.test.ts'],
  },
  {
    id: 'token-in-the-log',
    fault: 'Where identify returns a token by mistake, the log contains the token.',
    file: EACH,
    find: 'identify gave ${typeName(identity)}; ${IDENTITY_RULE}',
    put: 'identify gave ${shown(identity)}; ${IDENTITY_RULE}',
    tests: ['test/adapters/fakes.test.ts'],
  },
  {
    id: 'deploy-kicks-drop',
    fault: 'A disconnect() by the server of socket.io counts as a lost connection.',
    file: SOCKET_IO,
    find: "'server namespace disconnect',",
    put: '',
    tests: ['test/adapters/fakes.test.ts'],
  },
  {
    id: 'slow-socket-io-looks-idle',
    fault: 'A dashboard on socket.io that reads nothing is sent snapshot after snapshot.',
    file: SOCKET_IO,
    find: 'return Math.max(packets * PACKET_BYTES, this.emittedBytes);',
    put: 'return packets * PACKET_BYTES;',
    tests: ['test/adapters/fakes.test.ts'],
  },
  {
    id: 'slow-once-slow-for-ever',
    fault: 'A dashboard on socket.io that was once sent many frames counts as slow for ever.',
    file: SOCKET_IO,
    find: 'if (packets === 0) this.emittedBytes = 0;',
    put: '',
    tests: ['test/adapters/fakes.test.ts'],
  },
  {
    id: 'other-namespaces-cut',
    fault: 'A socket of socket.io that is closed for one namespace loses its others, too.',
    file: SOCKET_IO,
    find: 'if ((this.socket.client?.sockets?.size ?? 0) === 0) this.terminate();',
    put: 'this.terminate();',
    tests: ['test/adapters/fakes.test.ts'],
  },
  {
    id: 'attached-twice-by-socket-io',
    fault: 'A dashboard on socket.io that is attached twice gets each change twice.',
    file: SOCKET_IO,
    find: 'transports.set(socket, transport);',
    put: '',
    tests: ['test/adapters/fakes.test.ts'],
  },
];
