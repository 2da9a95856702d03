import type { Sequence } from '../stores/port';
import { type RosterPage, RosterPages } from './roster-pages';

/** The most offline users whose last version is remembered. */
const MAX_TOMBSTONES = 65_536;

/** The versions of a user's status. @internal */
export interface Known {
  /** The version that the store assigned. */
  readonly storeVersion: number;
  /** The version that this router has published; 0 where the initial sync found the status, which is not published. */
  readonly publishedVersion: number;
}

/**
 * The users whom this router has published as online, or has read in its initial sync; and, as tombstones, those who have left,
 * the latest last. It does not read the store, and emits nothing.
 * @internal
 */
export class Roster {
  private readonly online = new Map<string, Known & { readonly page: RosterPage }>();
  private readonly tombstones = new Map<string, Known>();
  /** The highest version among tombstones that were removed. */
  private forgottenVersion = 0;
  /** The highest version that the store has published. */
  highestVersion = 0;
  /**
   * All changes after this point are known; `uncounted` where they are, and the store has no single counter of versions; `undefined` while
   * the store has to be read.
   */
  completeFrom: Sequence | 'uncounted' | undefined;
  /** The users who are online, page by page. */
  readonly pages = new RosterPages();

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
    const before = this.online.get(userId);
    this.tombstones.delete(userId);
    if (isOnline) {
      const page = before === undefined ? this.pages.add(userId) : before.page;
      this.online.set(userId, { storeVersion: known.storeVersion, publishedVersion: known.publishedVersion, page });
      return;
    }
    if (before !== undefined) this.pages.remove(userId, before.page);
    this.online.delete(userId);
    this.tombstones.set(userId, known);
    for (const [oldest, { storeVersion }] of this.tombstones) {
      if (this.tombstones.size <= MAX_TOMBSTONES) break;
      this.tombstones.delete(oldest);
      if (storeVersion > this.forgottenVersion) this.forgottenVersion = storeVersion;
    }
  }

  /** The users who are online, in no particular order. Users who come online during the iteration are included. */
  onlineIds(): IterableIterator<string> {
    return this.online.keys();
  }

  /** The users who are online, and those who have left, as far as that is remembered. */
  knownIds(): Set<string> {
    return new Set([...this.online.keys(), ...this.tombstones.keys()]);
  }

  see(version: number): void {
    if (version > this.highestVersion) this.highestVersion = version;
  }

  /**
   * The cursor with which a client that has all changes up to `version` can resume later, on any router.
   *
   * @param seen - the highest version of which the client has any change. A router that has not received it yet would show older
   * statuses
   */
  cursor(version: number = this.highestVersion, seen: number = version): string | undefined {
    const { completeFrom } = this;
    if (completeFrom === undefined || completeFrom === 'uncounted') return undefined;
    return `${completeFrom.epoch}.${version}${seen > version ? `.${seen}` : ''}`;
  }

  /**
   * The users whose status has changed since a cursor, out of `ids` or of all; an iterator, so that no list has to be kept in
   * memory. `later`: this router has not yet received all changes up to the cursor. `undefined`: the cursor is invalid, is of
   * another epoch, or is older than what this router remembers.
   */
  changedSince(cursor: string, ids: Set<string> | undefined): IterableIterator<string> | 'later' | undefined {
    const [epoch, version, last = version] = cursor.split('.');
    const [whole, seen] = [Number(version), Number(last)];
    const { completeFrom } = this;
    if (completeFrom === undefined || completeFrom === 'uncounted' || epoch !== completeFrom.epoch) return undefined;
    if (!(whole >= completeFrom.version && whole >= this.forgottenVersion && seen >= whole)) return undefined;
    return seen > this.highestVersion ? 'later' : this.walk(whole, ids);
  }

  clear(): void {
    this.pages.clear();
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
