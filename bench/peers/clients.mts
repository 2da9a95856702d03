import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { ClientsReply, ClientsRequest } from '../clients.mjs';
import { sleep } from '../measure.mjs';

const FILE = fileURLToPath(new URL('../clients.mts', import.meta.url));

/** Very many clients on real sockets, in a process of their own. */
export class Clients {
  private readonly waiting = new Map<number, (reply: ClientsReply) => void>();
  private serial = 0;

  private constructor(private readonly child: ChildProcess) {
    child.on('message', (reply: ClientsReply) => {
      this.waiting.get(reply.id)?.(reply);
      this.waiting.delete(reply.id);
    });
  }

  static async start(): Promise<Clients> {
    const child = fork(FILE, { execArgv: ['--import', 'tsx'] });
    await once(child, 'message');
    return new Clients(child);
  }

  /** Resolves once all are connected. */
  connect(whom: Omit<Extract<ClientsRequest, { does: 'connect' }>, 'id' | 'does'>): Promise<ClientsReply> {
    return this.ask((id) => ({ id, does: 'connect', ...whom }));
  }

  /** All close cleanly. */
  close(): Promise<ClientsReply> {
    return this.ask((id) => ({ id, does: 'close' }));
  }

  /** All connections are lost. */
  drop(): Promise<ClientsReply> {
    return this.ask((id) => ({ id, does: 'drop' }));
  }

  /** How many frames they have been sent in all, and how many are connected. */
  count(): Promise<ClientsReply> {
    return this.ask((id) => ({ id, does: 'count' }));
  }

  /** Waits until they have been sent as many, or no more come. */
  async untilMessages(count: number): Promise<number> {
    for (let last = -1; ; ) {
      const { messages } = await this.count();
      if (messages >= count || messages === last) return messages;
      last = messages;
      await sleep(500);
    }
  }

  async end(): Promise<void> {
    const exited = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exited;
  }

  private ask(requestOf: (id: number) => ClientsRequest): Promise<ClientsReply> {
    this.serial += 1;
    const id = this.serial;
    return new Promise((resolve) => {
      this.waiting.set(id, resolve);
      this.child.send(requestOf(id));
    });
  }
}
