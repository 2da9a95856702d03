import { createRequire } from 'node:module';
import { arrive, type Open, SPREAD } from '../peer.mjs';

const require = createRequire(import.meta.url);
const { Deepstream } = require('@deepstream/server');
const { TOPIC, CONNECTION_ACTION, PRESENCE_ACTION } = require('@deepstream/protobuf/dist/types/all.js');

interface Message {
  readonly action: number;
  readonly name: string;
  readonly correlationId: string;
  readonly parsedData: { readonly [userId: string]: boolean };
}

/** What deepstream calls a socket wrapper: a user in the process of the server. */
class Socket {
  readonly socketType = 'inProcess';
  isClosed = false;
  private readonly closing = new Set<(socket: Socket) => void>();
  constructor(
    readonly userId: string,
    private readonly receive: (message: Message) => void = () => undefined,
  ) {}
  sendMessage(message: Message): void {
    this.receive(message);
  }
  sendAckMessage(): void {}
  getMessage(message: Message): Message {
    return message;
  }
  sendBuiltMessage(message: Message): void {
    this.receive(message);
  }
  onClose(listener: (socket: Socket) => void): void {
    this.closing.add(listener);
  }
  removeOnClose(listener: (socket: Socket) => void): void {
    this.closing.delete(listener);
  }
  close(): void {
    this.isClosed = true;
    for (const listener of this.closing) listener(this);
  }
}

class Plugin {
  constructor(readonly description: string) {}
  async whenReady(): Promise<void> {}
  async close(): Promise<void> {}
}

class Endpoint extends Plugin {
  listener: { onClientConnected(socket: Socket): void; onClientDisconnected(socket: Socket): void } | undefined;
  onMessages: (socket: Socket, messages: object[]) => void = () => undefined;
  setConnectionListener(listener: Endpoint['listener']): void {
    this.listener = listener;
  }
}

/**
 * deepstream: each node keeps a copy of who is connected to the others, told over Redis' pub/sub; nothing is stored. Users
 * are handed to its public plugin for connections, without sockets and their codec, which favours it.
 */
export const open: Open = async ({ redisPort, listens }, onChange) => {
  const deepstream = new Deepstream({
    serverName: `node-${process.pid}`,
    // Off.
    logLevel: 100,
    // One is demanded, and replaced below.
    connectionEndpoints: [{ type: 'ws-binary', options: {} }],
    enabledFeatures: { record: false, event: false, rpc: false, presence: true },
    clusterNode: { name: 'redis', options: { host: '127.0.0.1', port: redisPort } },
  });
  const endpoint = new Endpoint('users in process');
  deepstream.set('connectionEndpoints', [endpoint]);
  deepstream.set('httpService', new Plugin('no http'));
  const started = new Promise((resolve) => deepstream.once('started', resolve));
  deepstream.start();
  await started;

  const sockets = new Map<string, Socket>();
  const waiting = new Map<string, (data: Message['parsedData']) => void>();
  let queries = 0;
  const asker = new Socket('OPEN', ({ correlationId, parsedData }) => {
    waiting.get(correlationId)?.(parsedData);
    waiting.delete(correlationId);
  });
  // What it publishes gives no callback: a PING on the same connection is answered after it.
  const published = (): Promise<unknown> => deepstream.getServices().clusterNode.connection.client.ping();
  if (listens) {
    const watcher = new Socket('OPEN', ({ action, name }) => {
      if (action === PRESENCE_ACTION.PRESENCE_JOIN_ALL) onChange(name, true);
      if (action === PRESENCE_ACTION.PRESENCE_LEAVE_ALL) onChange(name, false);
    });
    endpoint.onMessages(watcher, [{ topic: TOPIC.PRESENCE, action: PRESENCE_ACTION.SUBSCRIBE_ALL }]);
    await published();
  }
  return {
    async join(userIds) {
      await arrive(userIds, (userId) => {
        const socket = new Socket(userId);
        sockets.set(userId, socket);
        endpoint.listener?.onClientConnected(socket);
      });
      await published();
    },
    async sign(userIds) {
      const ping = [{ topic: TOPIC.CONNECTION, action: CONNECTION_ACTION.PING }];
      await arrive(userIds, (userId) => endpoint.onMessages(sockets.get(userId) as Socket, ping), SPREAD);
    },
    async leave(userIds) {
      await arrive(userIds, (userId) => {
        const socket = sockets.get(userId) as Socket;
        sockets.delete(userId);
        socket.close();
        endpoint.listener?.onClientDisconnected(socket);
      });
      await published();
    },
    async statuses(userIds) {
      queries += 1;
      const correlationId = String(queries);
      const answer = new Promise<Message['parsedData']>((resolve) => waiting.set(correlationId, resolve));
      const query = { topic: TOPIC.PRESENCE, action: PRESENCE_ACTION.QUERY, correlationId, names: userIds };
      endpoint.onMessages(asker, [query]);
      return Object.values(await answer).filter(Boolean).length;
    },
    close: async () => deepstream.stop(),
  };
};
