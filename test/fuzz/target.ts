/** Something that is given what came from outside. */
export interface Target {
  /** Gives it so many frames at once, and the honest ones have a turn. @throws what it throws, and for which frame */
  feed(frames: number): Promise<void>;
  /** Everything that is wrong now, in words. */
  check(): Promise<string[]>;
  /** What became of the frames, and the least of each there must be in a thousand: a fuzz that reaches nothing proves nothing. */
  readonly counts: Counts;
  readonly floors: Counts;
}

export interface Counts {
  accepted: number;
  refused: number;
  ignored: number;
}

/** Runs something, and says for which input it threw. */
export function guarded<T>(name: string, input: unknown, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw new Error(`${name} threw for ${shown(input)}: ${(error as Error).stack}`);
  }
}

export function shown(input: unknown): string {
  const text =
    input instanceof Uint8Array ? Buffer.from(input).toString('hex') : (JSON.stringify(input) ?? String(input));
  return text.length > 400 ? `${text.slice(0, 400)}… (${text.length})` : text;
}

/** What was wrong, each kind once with its first example. */
export class Violations {
  private readonly kinds = new Map<string, { times: number; example: string }>();

  check(holds: boolean, kind: string, example: unknown): void {
    if (holds) return;
    const known = this.kinds.get(kind);
    if (known !== undefined) known.times += 1;
    else this.kinds.set(kind, { times: 1, example: shown(example) });
  }

  list(): string[] {
    return Array.from(this.kinds, ([kind, { times, example }]) => `${kind}: ${times} times, such as ${example}`);
  }
}

/** By the rule of ids. */
export const isId = (value: unknown): boolean =>
  typeof value === 'string' && value.length > 0 && Buffer.byteLength(value) <= 256;

export const isStatus = (value: unknown): boolean => value === 'online' || value === 'offline';

/** ISO 8601, as a Date gives it. */
export const isTime = (value: unknown): boolean =>
  typeof value === 'string' && !Number.isNaN(Date.parse(value)) && new Date(value).toISOString() === value;
