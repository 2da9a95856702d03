import type { PresenceUpdate } from 'voiceping-presence';
import { sleep } from '../redis/wait';
import { UpdateObserver } from './history';
import { Leases } from './leases';
import type { Beat } from './protocol';
import { RouterGone, RouterProcess, type Told } from './router-process';
import type { Batch, Holding } from './truth';

const OPERATIONS = 20;
const BATCH_EVERY_MS = 40;

/** Who wants to know what routers tell. */
export interface LifeObserver {
  fail(message: string): void;
  onUpdate(life: Life, update: PresenceUpdate): void;
  onBeat(life: Life, beat: Beat): void;
  onError(life: Life, stage: string, message: string): void;
}

/** A router from its start to its end, and the phones at it. */
export class Life {
  readonly process: RouterProcess;
  readonly observer: UpdateObserver;
  readonly leases = new Leases();
  /** Operations that were done. */
  operations = 0;
  readyAt = 0;
  heapAtStart = 0;
  private readonly batches = new Map<number, Batch>();
  private isWorking = false;
  private working: Promise<void> = Promise.resolve();

  constructor(
    readonly name: string,
    readonly holding: Holding,
    private readonly watcher: LifeObserver,
    ...[program, port, connects]: [program: string, port: number, connects: 'client' | 'itself']
  ) {
    this.observer = new UpdateObserver(name, (message) => watcher.fail(message));
    this.process = new RouterProcess(program, port, connects, (report) => this.hear(report));
    void this.getReady();
  }

  get isOver(): boolean {
    return this.process.endedAt !== Number.POSITIVE_INFINITY;
  }

  goToWork(): void {
    if (this.isWorking) return;
    this.isWorking = true;
    this.working = this.work();
  }

  async restFromWork(): Promise<void> {
    this.isWorking = false;
    await this.working;
  }

  async operate(batch: Batch): Promise<void> {
    const { number, answer } = this.process.ask<'operate'>({
      kind: 'operate',
      operations: batch.map(({ operation }) => operation),
    });
    this.batches.set(number, batch);
    try {
      const { at, begunAt } = await answer;
      this.holding.acknowledge(batch, at, begunAt);
      this.operations += batch.length;
    } catch (error) {
      if (!(error instanceof RouterGone)) this.watcher.fail(`${this.name}: ${error}`);
    }
  }

  async kill(): Promise<void> {
    this.holding.lose();
    await this.process.kill();
  }

  async close(handoverMs: number): Promise<void> {
    this.holding.lose();
    this.process.endedAt = Date.now();
    try {
      await this.process.ask<'close'>({ kind: 'close', handoverMs }).answer;
    } catch (error) {
      this.watcher.fail(`${this.name} did not close: ${error}`);
    }
    await this.process.kill();
  }

  private hear(report: Told): void {
    if (report.kind === 'updates') {
      for (const update of report.updates) {
        this.observer.hear(update);
        this.watcher.onUpdate(this, update);
      }
    } else if (report.kind === 'held') {
      this.holding.held(this.batches.get(report.number) ?? [], report.places);
      this.batches.delete(report.number);
    } else if (report.kind === 'beat') this.watcher.onBeat(this, report.beat);
    else if (report.kind === 'error') this.watcher.onError(this, report.stage, report.message);
    else this.watcher.fail(`${this.name}: ${report.message}`);
  }

  private async getReady(): Promise<void> {
    try {
      this.heapAtStart = (await this.process.ask<'heap'>({ kind: 'heap' }).answer).bytes;
      await this.process.ask<'ready'>({ kind: 'ready' }).answer;
      this.readyAt = Date.now();
    } catch (error) {
      if (!(error instanceof RouterGone)) this.watcher.fail(`${this.name} is not ready: ${error}`);
    }
  }

  private async work(): Promise<void> {
    while (this.isWorking && !this.isOver) {
      const pause = sleep(BATCH_EVERY_MS);
      await this.operate(this.holding.draw(OPERATIONS));
      await pause;
    }
  }
}
