import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { Answers, Command, Report } from './protocol';

/** A report of a router. */
export type Told = Exclude<Report, { kind: 'answer' | 'refusal' }>;
type Waiting = { resolve(value: Answers[Command['kind']]): void; reject(error: Error): void };

/** A router in a process of its own. */
export class RouterProcess {
  private readonly child: ChildProcess;
  private readonly waiting = new Map<number, Waiting>();
  private number = 0;
  readonly startedAt = Date.now();
  /** When it was killed, or began to leave. */
  endedAt = Number.POSITIVE_INFINITY;
  output = '';

  constructor(program: string, port: number, connects: 'client' | 'itself', onReport: (report: Told) => void) {
    this.child = fork(program, [String(port), connects], {
      execArgv: ['--expose-gc'],
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.output += chunk;
      });
    }
    this.child.on('message', (report: Report) => {
      if (report.kind !== 'answer' && report.kind !== 'refusal') {
        onReport(report);
        return;
      }
      const waiting = this.waiting.get(report.number);
      this.waiting.delete(report.number);
      if (report.kind === 'answer') waiting?.resolve(report.value);
      else waiting?.reject(new Error(report.reason));
    });
    this.child.once('exit', (code, signal) => {
      if (this.endedAt === Number.POSITIVE_INFINITY) {
        onReport({ kind: 'unhandled', message: `ended by itself: ${code ?? signal}\n${this.output}` });
      }
      for (const { reject } of this.waiting.values()) reject(new RouterGone());
      this.waiting.clear();
    });
    process.once('exit', this.killNow);
  }

  /** The number is the one by which a report about it can be known. */
  ask<K extends Command['kind']>(
    command: Extract<Command, { kind: K }>,
  ): { readonly number: number; readonly answer: Promise<Answers[K]> } {
    this.number += 1;
    const { number } = this;
    const answer = new Promise<Answers[K]>((resolve, reject) => {
      this.waiting.set(number, { resolve: (value) => resolve(value as Answers[K]), reject });
      this.child.send({ number, command }, (error) => {
        if (error !== null && this.waiting.delete(number)) reject(new RouterGone());
      });
    });
    return { number, answer };
  }

  stop(): void {
    this.child.kill('SIGSTOP');
  }

  goOn(): void {
    this.child.kill('SIGCONT');
  }

  async kill(): Promise<void> {
    this.endedAt = Math.min(this.endedAt, Date.now());
    process.removeListener('exit', this.killNow);
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exited;
  }

  private readonly killNow = (): void => {
    this.child.kill('SIGKILL');
  };
}

/** Whoever was asked is not there any more. */
export class RouterGone extends Error {}
