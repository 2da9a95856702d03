import type { Sequence } from '../stores/port';

/** Of so many users who are offline the last version is remembered. */
const MAX_TOMBSTONES = 65_536;

/** What is known of a user. @internal */
export interface Known {
  /** The version that the store gave to the status. */
  readonly storeVersion: number;
  /** The version with which it was published here; 0 where the initial sync found it, and nobody was told. */
  readonly publishedVersion: number;
}

/**
 * Who is online as far as this router has published it, or could have; and, as tombstones, who has left, the latest last. Pure:
 * it reads nothing and tells nobody.
 * @internal
 */
export class Roster {
  private readonly online = new Map<string, Known>();
  private readonly tombstones = new Map<string, Known>();
  /** The highest version of those whose tombstones are not remembered any more. */
  private forgottenVersion = 0;
  /** The highest version that the store has published. */
  highestVersion = 0;
  /** From where on every change is known; `undefined` while something has to be read. */
  completeFrom: Sequence | undefined;

  get size(): number {
    return this.online.size;
  }

  isOnline(userId: string): boolean {
    return this.online.has(userId);
  }

  hasTombstone(userId: string): boolean {
    return this.tombstones.has(userId);
  }

  get(userId: string): Known | undefined {
    return this.online.get(userId) ?? this.tombstones.get(userId);
  }

  set(userId: string, isOnline: boolean, known: Known): void {
    this.tombstones.delete(userId);
    if (isOnline) {
      this.online.set(userId, known);
      return;
    }
    this.online.delete(userId);
    this.tombstones.set(userId, known);
    for (const [oldest, { storeVersion }] of this.tombstones) {
      if (this.tombstones.size <= MAX_TOMBSTONES) break;
      this.tombstones.delete(oldest);
      if (storeVersion > this.forgottenVersion) this.forgottenVersion = storeVersion;
    }
  }

  /** Who is online, in no order. Users who come while it is walked through are in it, too. */
  onlineIds(): IterableIterator<string> {
    return this.online.keys();
  }

  /** Who is online, and who has left, as far as that is remembered. */
  knownIds(): Set<string> {
    return new Set([...this.online.keys(), ...this.tombstones.keys()]);
  }

  see(version: number): void {
    if (version > this.highestVersion) this.highestVersion = version;
  }

  /**
   * Where whoever has seen everything up to `version` can resume later, here or on another router.
   *
   * @param seen - the last version of which some was seen, where that is more: a router that has not come so far would show
   * what was before
   */
  cursor(version: number = this.highestVersion, seen: number = version): string | undefined {
    if (this.completeFrom === undefined) return undefined;
    return `${this.completeFrom.epoch}.${version}${seen > version ? `.${seen}` : ''}`;
  }

  /**
   * Whose status has changed after a cursor: of these users, or of all, as a walk, so that nobody need keep them. `later`:
   * this router has not come so far yet as that cursor. `undefined`: it is from another time, or older than what this router
   * knows.
   */
  changedSince(cursor: string, ids: Set<string> | undefined): IterableIterator<string> | 'later' | undefined {
    const [epoch, version, last = version] = cursor.split('.');
    const [whole, seen] = [Number(version), Number(last)];
    const { completeFrom } = this;
    if (completeFrom === undefined || epoch !== completeFrom.epoch) return undefined;
    if (!(whole >= completeFrom.version && whole >= this.forgottenVersion && seen >= whole)) return undefined;
    return seen > this.highestVersion ? 'later' : this.walk(whole, ids);
  }

  clear(): void {
    this.online.clear();
    this.tombstones.clear();
    this.forgottenVersion = 0;
    this.highestVersion = 0;
    this.completeFrom = undefined;
  }

  private *walk(version: number, ids: Set<string> | undefined): IterableIterator<string> {
    if (ids !== undefined) {
      for (const id of ids) if ((this.get(id)?.storeVersion ?? 0) > version) yield id;
      return;
    }
    for (const users of [this.online, this.tombstones]) {
      for (const [id, { storeVersion }] of users) if (storeVersion > version) yield id;
    }
  }
}
