import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { ChangeBatch } from 'voiceping-presence';
import { programOf } from '../bundles';
import type { Command, Report } from './router-process';

export interface RouterSettings {
  readonly port: number;
  readonly isCluster?: boolean;
  readonly from: 'start' | 'listing';
  readonly logChanges?: number;
}

/** A router in a process of its own, which the test tells who comes and goes, and for whose handler it answers. */
export class RouterProcess {
  isAlive = true;
  private readonly child: ChildProcess;
  /** Of what it was told and has not acknowledged. */
  private readonly waiting = new Map<number, (isAcknowledged: boolean) => void>();
  private serial = 0;
  readonly ready: Promise<void>;

  constructor({ port, isCluster = false, from, logChanges }: RouterSettings, onBatch: OnBatch) {
    this.child = fork(programOf('deliveries/router-process'), [], {
      execArgv: [],
      env: {
        ...process.env,
        REDIS_PORT: String(port),
        REDIS_CLUSTER: isCluster ? '1' : '',
        FROM: from,
        LOG_CHANGES: String(logChanges ?? 100_000),
      },
    });
    this.ready = new Promise((resolve) => {
      this.child.on('message', (report: Report) => {
        if ('ready' in report) resolve();
        else if ('done' in report) {
          // What it says while it is killed is not heard any more.
          if (this.isAlive) this.acknowledge(report.done, true);
        } else onBatch(this, report.batch, report.content, report.token);
      });
    });
  }

  /** Resolves to true once the router has acknowledged it; to false where it dies before. */
  tell(what: { join: string } | { leave: string }): Promise<boolean> {
    this.serial += 1;
    const id = this.serial;
    return new Promise((resolve) => {
      this.waiting.set(id, resolve);
      this.send({ id, ...what });
    });
  }

  answer(batch: number, isTaken: boolean): void {
    this.send({ batch, isTaken });
  }

  signal(name: 'SIGSTOP' | 'SIGCONT'): void {
    this.child.kill(name);
  }

  async kill(): Promise<void> {
    this.isAlive = false;
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exited;
    for (const id of Array.from(this.waiting.keys())) this.acknowledge(id, false);
  }

  private acknowledge(id: number, isAcknowledged: boolean): void {
    this.waiting.get(id)?.(isAcknowledged);
    this.waiting.delete(id);
  }

  private send(command: Command): void {
    if (this.isAlive) this.child.send(command, () => undefined);
  }
}

type OnBatch = (router: RouterProcess, batch: number, content: ChangeBatch, token: number) => void;
