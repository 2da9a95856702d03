import type { PresenceUpdate } from 'voiceping-presence';

type Fail = (message: string) => void;

/** Identifies a change on any router and channel. */
const keyOf = ({ userId, status, timestamp, reason }: PresenceUpdate): string =>
  `${status} ${reason} ${timestamp} ${userId}`;

/** The changes of `onUpdate` of one router, over the life of its process: statuses alternate and versions grow, whatever happens. */
export class UpdateObserver {
  readonly history: PresenceUpdate[] = [];
  private readonly last = new Map<string, PresenceUpdate>();

  constructor(
    private readonly name: string,
    private readonly fail: Fail,
  ) {}

  hear(update: PresenceUpdate): void {
    const before = this.last.get(update.userId);
    if (before !== undefined && before.status === update.status) {
      this.fail(`${this.name} told ${JSON.stringify(before)}, then ${JSON.stringify(update)}`);
    }
    if (update.version <= (before?.version ?? 0)) {
      this.fail(`${this.name} told version ${before?.version ?? 0}, then ${JSON.stringify(update)}`);
    }
    this.last.set(update.userId, update);
    this.history.push(update);
  }

  lastOf(userId: string): PresenceUpdate | undefined {
    return this.last.get(userId);
  }
}

/** How a router's history differs from that of the channels; `compared` says how much was there to differ. */
export function compareHistories(
  heard: readonly PresenceUpdate[],
  told: readonly PresenceUpdate[],
  /** Whether the router, and whether the channels, must have published the changes of that time. */
  must: { tell(at: number, userId: string): boolean; say(at: number): boolean },
): { readonly missing: PresenceUpdate[]; readonly invented: PresenceUpdate[]; readonly compared: number } {
  const open = new Map<string, number>();
  const found = new Set<string>();
  for (const update of told) {
    open.set(keyOf(update), (open.get(keyOf(update)) ?? 0) + 1);
    if (update.reason === 'resync') found.add(`${update.status} ${update.version} ${update.userId}`);
  }
  const missing: PresenceUpdate[] = [];
  let compared = 0;
  for (const update of heard) {
    const key = keyOf(update);
    const count = open.get(key) ?? 0;
    open.set(key, count - 1);
    // A router that found the change by a read publishes it at another time.
    if (update.reason === 'resync' || !must.tell(Date.parse(update.timestamp), update.userId)) continue;
    compared += 1;
    // What it read may have come before the message that says the same.
    const wasFound = found.has(`${update.status} ${update.version} ${update.userId}`);
    if (count <= 0 && !wasFound) missing.push(update);
  }
  const invented = told.filter((update) => {
    if (update.reason === 'resync' || !must.say(Date.parse(update.timestamp))) return false;
    return (open.get(keyOf(update)) ?? 0) > 0;
  });
  return { missing, invented, compared };
}
