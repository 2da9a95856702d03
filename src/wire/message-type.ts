/** The message types of presence. Below 28 are those of the router. */
export const MessageType: {
  /** From a phone, optional: activity, as any other frame is. */
  readonly HEARTBEAT: 30;
  /** To watchers: a user's status has changed. */
  readonly PRESENCE_UPDATE: 31;
  /** To watchers: the statuses of many users. */
  readonly PRESENCE_SNAPSHOT: 32;
  /** From a client: whom it wants to watch. To it: that it may not. */
  readonly PRESENCE_WATCH: 33;
  /** To watchers: whether what they were told may be out of date. */
  readonly PRESENCE_STALE: 34;
} = { HEARTBEAT: 30, PRESENCE_UPDATE: 31, PRESENCE_SNAPSHOT: 32, PRESENCE_WATCH: 33, PRESENCE_STALE: 34 };
