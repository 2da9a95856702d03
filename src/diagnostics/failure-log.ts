import type { Clock } from '../public/clock';
import { printable } from '../public/printable';
import type { Logger } from '../public/types';
import { writeToStderr } from './stderr';

const MINUTE_MS = 60_000;
/** More than there are kinds of failures. */
const MOST_KINDS = 64;
const MOST_CHARS = 1_000;

/** A repeated failure: its last message, and how often it occurred since the last line about it. */
interface Repeated {
  text: string;
  more: number;
  isOver: boolean;
  readonly timer: unknown;
}

/**
 * Logs each kind of failure with its cause, at most once a minute, and once when it is over. A logger that fails only loses
 * its line.
 * @internal
 */
export class FailureLog {
  private readonly repeated = new Map<string, Repeated>();
  private saidOverAt: number | undefined;
  private isStopped = false;

  constructor(
    private readonly clock: Clock,
    private readonly logger: Logger,
    /** The name of the router. */
    private readonly name: string,
  ) {}

  /** Logs a normal event. */
  info(text: string): void {
    this.write('info', text);
  }

  failed(kind: string, text: string): void {
    const before = this.repeated.get(kind);
    if (before === undefined) {
      this.begin(kind, text, '');
      return;
    }
    before.text = text;
    before.more += 1;
    before.isOver = false;
  }

  /** Failures of all of these kinds are over. */
  over(kinds: Iterable<string>, text: string): void {
    const now = this.clock.now();
    const isSoon = this.saidOverAt !== undefined && Math.abs(now - this.saidOverAt) < MINUTE_MS;
    let more = 0;
    for (const kind of kinds) {
      const one = this.repeated.get(kind);
      if (one === undefined) continue;
      one.isOver = true;
      more += one.more;
      if (!isSoon) one.more = 0;
    }
    if (isSoon) return;
    this.saidOverAt = now;
    this.write('warn', more === 0 ? text : `${text} (it had failed ${more} more times)`);
  }

  stop(): void {
    this.isStopped = true;
    for (const { timer } of this.repeated.values()) this.clock.clearTimeout(timer);
  }

  private begin(kind: string, text: string, suffix: string): void {
    if (this.repeated.size >= MOST_KINDS) return;
    const timer = this.isStopped ? undefined : this.clock.setTimeout(() => this.turn(kind), MINUTE_MS);
    // Set before the line is written, since the logger itself may cause a failure of this kind.
    this.repeated.set(kind, { text, more: 0, isOver: false, timer });
    this.write('error', text + suffix);
  }

  private turn(kind: string): void {
    const { text, more, isOver } = this.repeated.get(kind) as Repeated;
    this.repeated.delete(kind);
    if (more > 0) this.begin(kind, text, ` (${more} more in the last minute${isOver ? '; it works again' : ''})`);
  }

  private write(level: 'info' | 'warn' | 'error', text: string): void {
    const line = printable(`presence ${this.name}: ${text}`);
    try {
      // Called as a method, since many loggers use `this`.
      const result = this.logger[level]?.(line.length > MOST_CHARS ? `${line.slice(0, MOST_CHARS)}…` : line);
      if (typeof (result as PromiseLike<unknown> | undefined)?.then === 'function') {
        (result as PromiseLike<unknown>).then(undefined, () => undefined);
      }
    } catch {
      // The logger belongs to the caller, and there is no other place to report its failure.
    }
  }
}

/** The default logger. It logs failures only. @internal */
export const stderrLogger: Logger = { warn: writeToStderr, error: writeToStderr };
