import { type ChildProcess, fork } from 'node:child_process';
import { programOf } from '../bundles';
import type { LinkState } from './bad-link';
import type { LinkAnswer, LinkRequest } from './links';

type Unnumbered<T> = T extends { number: number } ? Omit<T, 'number'> : never;

/** All links, in one process of their own: what the parent is busy with must not delay anybody. */
export class LinkProcess {
  private readonly child: ChildProcess = fork(programOf('chaos/links'), { execArgv: [] });
  private readonly waiting = new Map<number, (port: number) => void>();
  private number = 0;

  constructor() {
    this.child.on('message', ({ number, port }: LinkAnswer) => {
      this.waiting.get(number)?.(port);
      this.waiting.delete(number);
    });
    process.once('exit', this.kill);
  }

  /** Gives the port of a new link. */
  start(target: number): Promise<number> {
    return this.ask({ kind: 'start', target });
  }

  async become(link: number, state: LinkState): Promise<void> {
    await this.ask({ kind: 'become', link, state });
  }

  /** Connections made from now on lead to another port. */
  async lead(link: number, target: number): Promise<void> {
    await this.ask({ kind: 'lead', link, target });
  }

  readonly kill = (): void => {
    process.removeListener('exit', this.kill);
    this.child.kill('SIGKILL');
  };

  private ask(request: Unnumbered<LinkRequest>): Promise<number> {
    this.number += 1;
    const { number } = this;
    return new Promise((resolve) => {
      this.waiting.set(number, resolve);
      this.child.send({ ...request, number });
    });
  }
}
