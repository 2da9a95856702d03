import { type Beat, LEASE_MS } from './protocol';

/** Its heartbeat may be looked at a little sooner than it was sent, by another clock. */
const CLOCKS_MS = 50;

/** A lease that a router had without a break, as far as its heartbeats have proved that. */
interface Tenure {
  readonly from: number;
  renewedAt: number;
}

/** The leases of one router, as its own heartbeats were answered. */
export class Leases {
  private readonly tenures: Tenure[] = [];

  /** Returns since when the lease had not been renewed, where it was lost. */
  heard({ known, sentAt, at }: Beat): number | undefined {
    const last = this.tenures.at(-1);
    if (last !== undefined && known) {
      last.renewedAt = sentAt;
      return undefined;
    }
    // The router may have stood still before it saw the answer.
    this.tenures.push({ from: at, renewedAt: sentAt });
    return last?.renewedAt;
  }

  /** Whether it certainly had its lease all that time, and had registered its users in Redis before. */
  held({ from, to }: { readonly from: number; readonly to: number }): boolean {
    return this.tenures.some(
      (tenure) => tenure.from + LEASE_MS <= from && to <= tenure.renewedAt + LEASE_MS - CLOCKS_MS,
    );
  }
}
