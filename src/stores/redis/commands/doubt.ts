import type { ChangeReceiver } from '../../change-receiver';
import type { StoredStatus } from '../../port';
import type { Partition } from '../keyspace';

/** The state of the data in each answer to a query, see lua/proof.lua. @internal */
export interface DataState {
  readonly e: string;
  readonly seq: number;
  readonly awaited: 0 | 1;
}

/** @internal */
export interface DoubtOptions {
  receiverOf(partition: Partition): ChangeReceiver;
  /** The data are not those of the last beat. A beat is due, so that the routers learn of it. */
  onOther(): void;
}

/**
 * Decides whether data were lost or set back, so that a user who is missing in them may be on a router that has not registered
 * the user again.
 * @internal
 */
export class Doubt {
  constructor(private readonly options: DoubtOptions) {}

  /** Called before a query. Returns a function that judges its answer: whether the data are in doubt. */
  judge(partition: Partition): (state: DataState) => boolean {
    // The answer must not be older than what is known now.
    const { beaten } = partition;
    const highest = this.options.receiverOf(partition).highestVersion;
    return ({ e, seq, awaited }) => {
      // Without a beat through this store, there are no data to compare with.
      if (beaten === undefined) return false;
      const isOther = e !== beaten.epoch || seq < highest;
      if (isOther) this.options.onOther();
      return isOther || awaited === 1;
    };
  }
}

/** What a record alone does not prove. @internal */
export interface Open {
  /** Whether a user who was published as online is online. `key`: only if there is a presence key. */
  readonly proof: 'yes' | 'key' | 'no';
  /** A live router may not have beaten yet. */
  readonly isUnsure: boolean;
  /** The data were lost or set back, see `Doubt`. */
  readonly isInDoubt: boolean;
}

/** The status of a user whose record leaves something open, given whether there is a presence key. @internal */
export function decided(user: StoredStatus, open: Open, isKeyed: boolean): StoredStatus {
  if (open.proof === 'no' || (open.proof === 'key' && !isKeyed)) {
    const offline = { ...user, online: false, isPublished: true };
    const isUnsure = open.isInDoubt || (open.isUnsure && open.proof === 'key');
    return isUnsure ? { ...offline, isUnsure } : offline;
  }
  return open.isInDoubt && !user.online ? { ...user, isUnsure: true } : user;
}
