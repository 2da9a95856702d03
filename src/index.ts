/**
 * Presence itself, and the memory store.
 * @module voiceping-presence
 */

export { optionsFromEnv } from './config/env';
export { createPresence } from './presence';
export type { Clock } from './public/clock';
export { isPresenceError, PresenceError, type PresenceErrorCode, type StoreErrorKind } from './public/errors';
export type {
  Attachment,
  ChangeBatch,
  ChangeHandler,
  DeliverOptions,
  DeliveryContext,
  DeliveryInfo,
  ErrorContext,
  ErrorStage,
  Health,
  HealthProblem,
  Identity,
  Logger,
  OnlinePage,
  Presence,
  PresenceChanges,
  PresenceLimits,
  PresenceOptions,
  PresenceStatus,
  PresenceUpdate,
  ReadChanges,
  RouterOptions,
  RouterRef,
  SocketLike,
  Status,
  Transport,
  TransportAttachment,
  UpdateReason,
  UserId,
} from './public/types';
export { memoryStore } from './stores/memory/memory-store';
export type { MemoryStoreOptions } from './stores/memory/options';
export type {
  ChangeLog,
  DeliveryClaim,
  DeliveryStep,
  DropOp,
  JoinOp,
  LeaveOp,
  LoggedChanges,
  OnAnswer,
  PresenceOp,
  PresenceStore,
  RouterDescription,
  Sequence,
  SignOfLife,
  StoredDelivery,
  StoredPage,
  StoredStatus,
  StoredStatuses,
  StoreFeed,
  StoreNode,
  StoreProblem,
} from './stores/port';
export {
  type Decision,
  decide,
  isOnlineNow,
  judgeLease,
  type Lease,
  NEVER_SEEN,
  type OwnerId,
  type Transition,
  type UserEvent,
  type UserRecord,
} from './stores/transitions';
export { MessageType } from './wire/message-type';
