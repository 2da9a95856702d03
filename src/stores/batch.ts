import type { PresenceUpdate } from '../public/types';

/** A counter that is added to, here or in a script, must stay exact. @internal */
export const MAX_VERSION = 2 ** 52;

/** What travels between routers, and stands in the log: changes of one partition, made in one step. @internal */
export interface Batch {
  /** Tells the data from those that were there before a loss. */
  readonly epoch: string;
  /** The version of the first change; each following one has the next. */
  readonly first: number;
  /** When, by the clock of the server, in milliseconds. */
  readonly at: number;
  readonly changes: ReadonlyArray<{ readonly update: PresenceUpdate; readonly lastSeen: number }>;
  /** Of the text: the same in the log as in the message. */
  readonly digest: string;
}

/** The version of the last change. @internal */
export const lastOf = ({ first, changes }: Batch): number => first + changes.length - 1;

/** How far Redis itself says that a partition has come. @internal */
export interface Head {
  readonly epoch: string;
  readonly version: number;
}
