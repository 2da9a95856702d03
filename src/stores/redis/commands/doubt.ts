import type { ChangeReceiver } from '../../change-receiver';
import type { StoredStatus } from '../../port';
import type { Partition } from '../keyspace';

/** What each answer to a query says of the data, see lua/proof.lua. @internal */
export interface DataState {
  readonly e: string;
  readonly seq: number;
  readonly awaited: 0 | 1;
}

/** @internal */
export interface DoubtOptions {
  receiverOf(partition: Partition): ChangeReceiver;
  /** The data are not those of the last beat: a router that beats finds out, and so do the others then. */
  onOther(): void;
}

/**
 * Whether data have been lost since, or set back, so that whoever is missing in them may be on a router that has not told
 * them again.
 * @internal
 */
export class Doubt {
  constructor(private readonly options: DoubtOptions) {}

  /** Called before a question is asked; gives what judges the answer. */
  judge(partition: Partition): (state: DataState) => boolean {
    // What is known now the data must know, too, when they are asked.
    const { beaten } = partition;
    const highest = this.options.receiverOf(partition).highestVersion;
    return ({ e, seq, awaited }) => {
      // Nobody has beaten through this store: there is nothing that it could have lost.
      if (beaten === undefined) return false;
      const isOther = e !== beaten.epoch || seq < highest;
      if (isOther) this.options.onOther();
      return isOther || awaited === 1;
    };
  }
}

/** What one record leaves open. @internal */
export interface Open {
  /** Whether the user, who was published as online, is so: `key`: if there is a presence key. */
  readonly proof: 'yes' | 'key' | 'no';
  /** A router that lives may not have beaten yet. */
  readonly isUnsure: boolean;
  /** See `Doubt`. */
  readonly isInDoubt: boolean;
}

/** What is to be said of a user where something is open, once it is known whether there is a key. @internal */
export function decided(user: StoredStatus, open: Open, isKeyed: boolean): StoredStatus {
  if (open.proof === 'no' || (open.proof === 'key' && !isKeyed)) {
    const offline = { ...user, online: false, isPublished: true };
    const isUnsure = open.isInDoubt || (open.isUnsure && open.proof === 'key');
    return isUnsure ? { ...offline, isUnsure } : offline;
  }
  return open.isInDoubt && !user.online ? { ...user, isUnsure: true } : user;
}
