import { closest } from './closest';
import { printable, withoutCredentials } from './printable';

/**
 * What is wrong with a store. Each kind calls for a different remedy.
 *
 * | kind | what it means |
 * | --- | --- |
 * | `unreachable` | no connection, or a server that does not serve yet: refused, unknown host, TLS, loading, Cluster down |
 * | `auth` | the password is wrong or missing, or the user may not do this |
 * | `full` | no memory or no connections are left |
 * | `readonly` | it accepts reads and no writes: a replica, or a server that cannot save |
 * | `slow` | it did not answer in time |
 * | `layout` | its data were written by another version of this library |
 * | `other` | none of these |
 */
export type StoreErrorKind = 'unreachable' | 'auth' | 'full' | 'readonly' | 'slow' | 'layout' | 'other';

/**
 * The codes that every error of this library carries, in `error.code`.
 *
 * | code | when |
 * | --- | --- |
 * | `ERR_PRESENCE_OPTIONS` | an option, an argument or an environment variable breaks its rule |
 * | `ERR_PRESENCE_INVALID_ID` | an id is not 1 to 256 bytes of UTF-8 or a finite integer, or ids are not in a list |
 * | `ERR_PRESENCE_CLOSED` | the presence was closed |
 * | `ERR_PRESENCE_DISABLED` | the presence was made with `enabled: false` |
 * | `ERR_PRESENCE_STORE` | the store failed, did not answer within `commandTimeoutMs`, or has lost data and cannot tell yet who is offline |
 * | `ERR_PRESENCE_SOCKET` | a socket threw while it was pinged, written to or terminated |
 * | `ERR_PRESENCE_CALLBACK` | a function of the caller (a listener, `identify`, `authorize`) threw, or did not answer in time |
 * | `ERR_PRESENCE_UNSUPPORTED` | the store lacks an optional part, such as the log of changes |
 * | `ERR_PRESENCE_LAYOUT` | the data in Redis were written by another version of this library; this router writes nothing |
 */
export type PresenceErrorCode =
  | 'ERR_PRESENCE_OPTIONS'
  | 'ERR_PRESENCE_INVALID_ID'
  | 'ERR_PRESENCE_CLOSED'
  | 'ERR_PRESENCE_DISABLED'
  | 'ERR_PRESENCE_STORE'
  | 'ERR_PRESENCE_SOCKET'
  | 'ERR_PRESENCE_CALLBACK'
  | 'ERR_PRESENCE_UNSUPPORTED'
  | 'ERR_PRESENCE_LAYOUT';

/**
 * Every CommonJS entry bundles its own copy of the classes, so `instanceof` does not work across entries.
 * A registered symbol does.
 */
const BRAND = Symbol.for('voiceping-presence.error');

/**
 * The store, a socket or a callback failed.
 *
 * `code` says which, see {@link PresenceErrorCode}; `kind` says what is wrong with a store, see {@link StoreErrorKind}. The
 * message names the cause; `cause` holds the underlying error, where there is one.
 */
export class PresenceError extends Error {
  /** What kind of failure it is. */
  readonly code: PresenceErrorCode;
  /** What is wrong with the store; absent where something else failed. */
  declare readonly kind?: StoreErrorKind;
  /** The underlying error; absent where there is none. */
  declare readonly cause?: unknown;

  constructor(code: PresenceErrorCode, message: string, cause?: unknown, kind?: StoreErrorKind) {
    super(message);
    this.name = 'PresenceError';
    this.code = code;
    if (kind !== undefined) this.kind = kind;
    if (cause !== undefined) this.cause = cause;
  }
}

/** Misuse. It is thrown at once, and its message names the option or id, the value and the rule. */
export class PresenceTypeError extends TypeError {
  readonly code: PresenceErrorCode;

  constructor(code: PresenceErrorCode, message: string) {
    super(message);
    this.name = 'TypeError';
    this.code = code;
  }
}

for (const errorClass of [PresenceError, PresenceTypeError]) {
  Object.defineProperty(errorClass.prototype, BRAND, { value: true });
}

/**
 * True for every error that this library throws or reports, from any of its entries.
 *
 * @example
 * try { await presence.getStatuses(ids) } catch (error) {
 *   if (isPresenceError(error) && error.code === 'ERR_PRESENCE_STORE') return showStale();
 *   throw error;
 * }
 */
export function isPresenceError(
  value: unknown,
): value is Error & { readonly code: PresenceErrorCode; readonly kind?: StoreErrorKind; readonly cause?: unknown } {
  return value instanceof Error && (value as { [BRAND]?: true })[BRAND] === true;
}

/** @internal A value as it appears in an error message: quoted, escaped and short. */
export function shown(value: unknown): string {
  if (typeof value === 'string') {
    // An address may contain a password.
    const text = withoutCredentials(value);
    return printable(JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text));
  }
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'an object';
  return String(value);
}

/** @internal */
export function optionError(message: string): PresenceTypeError {
  return new PresenceTypeError('ERR_PRESENCE_OPTIONS', message);
}

/** Throws for an unknown option: a misspelt one would otherwise be ignored in silence. @internal */
export function checkNames(options: unknown, names: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw optionError(`the options are ${shown(options)}; an object is wanted`);
  }
  const unknown = Object.keys(options).find((name) => !names.includes(name));
  if (unknown === undefined) return;
  const meant = closest(unknown, names);
  const hint = meant === undefined ? '' : `: did you mean ${meant}?`;
  throw optionError(`${shown(unknown)} is no option${hint}; there are ${names.join(', ')}`);
}

/** @internal */
export function closedError(): PresenceError {
  return new PresenceError('ERR_PRESENCE_CLOSED', 'presence is closed');
}
