export type { Clock } from './clock';
export type { StoreErrorKind } from './diagnostics/store-failure';
export { optionsFromEnv } from './environment';
export { isPresenceError, PresenceError, type PresenceErrorCode } from './errors';
export { createPresence } from './presence';
export type {
  DropOp,
  JoinOp,
  LeaveOp,
  OnAnswer,
  PresenceOp,
  PresenceStore,
  Sequence,
  SignOfLife,
  StoredPage,
  StoredStatus,
  StoredStatuses,
  StoreFeed,
  StoreNode,
  StoreProblem,
} from './store';
export { type MemoryStoreOptions, memoryStore } from './stores/memory';
export type {
  Attachment,
  ErrorContext,
  ErrorStage,
  Health,
  HealthProblem,
  Identity,
  Logger,
  OnlinePage,
  Presence,
  PresenceLimits,
  PresenceOptions,
  PresenceStatus,
  PresenceUpdate,
  RouterOptions,
  SocketLike,
  Status,
  UpdateReason,
  UserId,
} from './types';
export { MessageType } from './wire/message-type';
