/** The message types of presence. Those below 28 belong to the VoicePing router. */
export const MessageType: {
  /** From a phone, optional. It counts as activity, like any other frame. */
  readonly HEARTBEAT: 30;
  /** To watching clients: a user's status has changed. */
  readonly PRESENCE_UPDATE: 31;
  /** To watching clients: the statuses of many users. */
  readonly PRESENCE_SNAPSHOT: 32;
  /** From a client: a request to watch users. To it: a refusal. */
  readonly PRESENCE_WATCH: 33;
  /** To watching clients: whether the statuses that they show may be out of date. */
  readonly PRESENCE_STALE: 34;
} = { HEARTBEAT: 30, PRESENCE_UPDATE: 31, PRESENCE_SNAPSHOT: 32, PRESENCE_WATCH: 33, PRESENCE_STALE: 34 };
