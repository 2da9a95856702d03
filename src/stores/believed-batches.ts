import { type Batch, lastOf } from './batch';

/** To tell one that comes twice from another one under the same number. */
const REMEMBERED = 64;

/** What is remembered of a batch. @internal */
export interface Believed {
  readonly first: number;
  readonly last: number;
  readonly digest: string;
}

/** The latest batches that were believed, in order. @internal */
export class BelievedBatches {
  private latest: Believed[] = [];

  add(batch: Batch): void {
    this.latest.push({ first: batch.first, last: lastOf(batch), digest: batch.digest });
    if (this.latest.length > REMEMBERED) this.latest.shift();
  }

  has({ first, digest }: Batch): boolean {
    return this.latest.some((other) => other.first === first && other.digest === digest);
  }

  /** Those that bear a number which one of the rivals bears, too. */
  disputedBy(rivals: readonly Batch[]): readonly Believed[] {
    return this.latest.filter(({ first, last }) =>
      rivals.some((batch) => batch.first <= last && lastOf(batch) >= first),
    );
  }

  forget(ones: readonly Believed[]): void {
    this.latest = this.latest.filter((one) => !ones.includes(one));
  }

  /** Versions after this one were never given. */
  forgetAfter(version: number): void {
    this.latest = this.latest.filter(({ last }) => last <= version);
  }

  clear(): void {
    this.latest = [];
  }
}

/**
 * Whether the log, which has the true one of two batches under a number, has another one than was believed. What it does not
 * have says nothing, and of two entries under one number the second is not the store's. Pure.
 * @internal
 */
export function isRefuted(
  disputed: readonly Believed[],
  entries: ReadonlyArray<Batch | undefined>,
  epoch: string | undefined,
): boolean {
  const written = new Map<number, string>();
  for (const batch of entries) {
    if (batch === undefined || batch.epoch !== epoch) continue;
    if (!written.has(batch.first)) written.set(batch.first, batch.digest);
  }
  return disputed.some(({ first, digest }) => (written.get(first) ?? digest) !== digest);
}
