import { type Batch, lastOf } from './batch';

/** Of more changes than that the older ones are dropped, to be read from the log too. */
const MAX_HELD = 10_000;
/** Changes before the first answer that are told at most. */
const MAX_SOONER = 1_000;

/** Batches that did not follow when they came, and wait for what the store says. @internal */
export class HeldBatches {
  /** Since the last question was asked. */
  private waiting: Batch[] = [];
  private changes = 0;
  /** When it was asked: what its answer is about. */
  private asked: readonly Batch[] = [];

  get inQuestion(): readonly Batch[] {
    return this.asked;
  }

  get all(): readonly Batch[] {
    return this.asked.concat(this.waiting);
  }

  add(batch: Batch): void {
    this.changes += batch.changes.length;
    if (this.changes > MAX_HELD) {
      this.waiting = [];
      this.changes = batch.changes.length;
    }
    this.waiting.push(batch);
  }

  /** The store is asked about those that wait. */
  ask(): void {
    this.asked = this.take();
  }

  /** It could not be asked. What that was about is as much a question the next time. */
  putBack(): void {
    const all = this.asked.concat(this.take());
    this.asked = [];
    for (const batch of all) this.add(batch);
  }

  /** Ends the question. Returns those that have come since it was asked. */
  settle(): readonly Batch[] {
    this.asked = [];
    return this.take();
  }

  take(): readonly Batch[] {
    const { waiting } = this;
    this.waiting = [];
    this.changes = 0;
    return waiting;
  }
}

/**
 * From where on the batches of these data lead up to a version without a gap. `isWhole`: none of them is before that, so
 * nothing that was heard is passed by. Pure.
 * @internal
 */
export function leadingUpTo(
  batches: readonly Batch[],
  { epoch, version }: { readonly epoch: string; readonly version: number },
): { readonly from: number; readonly isWhole: boolean } {
  const firsts = new Map<number, number>();
  let oldest = version + 1;
  for (const batch of batches) {
    if (batch.epoch !== epoch || lastOf(batch) > version) continue;
    firsts.set(lastOf(batch), batch.first);
    oldest = Math.min(oldest, batch.first);
  }
  let from = version;
  for (let first = firsts.get(from); first !== undefined && version - first < MAX_SOONER; first = firsts.get(from)) {
    from = first - 1;
  }
  return { from, isWhole: oldest > from };
}
