import type { StoreErrorKind } from '../public/errors';
import { printable, withoutCredentials } from '../public/printable';

interface Row {
  readonly kind: StoreErrorKind;
  readonly words: RegExp;
  /** The connection works and leads to the wrong server: another one may lead to the right server. */
  readonly isElsewhere?: true;
}

/**
 * The kinds of failures, by the error messages of servers and clients. The first row that matches counts. Error codes of
 * Redis may be anywhere in a message: up to Redis 6 they follow a message of Lua, and clients put their own words first.
 */
const ROWS: readonly Row[] = [
  { kind: 'auth', words: /\b(WRONGPASS|NOAUTH|NOPERM|DENIED)\b/ },
  { kind: 'auth', words: /invalid password|no password is set|without any password configured|for 'auth' command/i },
  { kind: 'full', words: /\bOOM\b|\bmax(imum)? (number|daily|requests?|concurrent)\b/ },
  { kind: 'readonly', words: /\b(READONLY|MASTERDOWN|NOREPLICAS)\b/, isElsewhere: true },
  { kind: 'readonly', words: /\bMISCONF\b/ },
  { kind: 'slow', words: /\bBUSY\b|timed out|did not answer|does not answer|has no answer yet|Socket timeout/ },
  { kind: 'other', words: /cluster support disabled/ },
  { kind: 'unreachable', words: /\b(LOADING|CLUSTERDOWN|TRYAGAIN)\b/ },
  {
    kind: 'unreachable',
    words:
      /\b(ECONN\w+|ENOTFOUND|EAI_\w+|EPIPE|EHOST\w+|ENET\w+|ETIMEDOUT|EADDRNOTAVAIL|EPROTO|ENOENT|EACCES|ERR_TLS\w+|ERR_SSL\w+)\b/,
  },
  { kind: 'unreachable', words: /certificate|altnames|\bSSL\b|\bTLS\b|\bCERT_|Protocol error, got/i },
  {
    kind: 'unreachable',
    words:
      /not connected|max retries per request|isn't writeable|isn't ready|Connection is (closed|aborted)|connection close|ended its connection/i,
  },
  {
    kind: 'unreachable',
    words: /(sentinels are unreachable|slots cache|startup nodes|is disconnect(ed|ing)|is ended|No subscriber for)/,
  },
];

/** Causes may form a cycle. */
const MOST_CAUSES = 8;
const MOST_WORDS = 300;

interface ErrorLike {
  readonly code?: unknown;
  readonly message?: unknown;
  readonly cause?: unknown;
  /** Set by a Cluster of ioredis. */
  readonly lastNodeError?: unknown;
  /** Set by an AggregateError: one error for each address that was tried. */
  readonly errors?: unknown;
  /** Set by ioredis: the command that failed, with its arguments. */
  command?: { readonly name?: unknown; readonly args?: unknown };
}

/** The error and its causes, from the outermost to the innermost. */
function causesOf(error: unknown): ErrorLike[] {
  const causes: ErrorLike[] = [];
  for (let at: unknown = error; causes.length < MOST_CAUSES; ) {
    if (typeof at !== 'object' || at === null) {
      if (typeof at === 'string') causes.push({ message: at });
      return causes;
    }
    const like: ErrorLike = at;
    causes.push(like);
    at = like.cause ?? like.lastNodeError;
  }
  return causes;
}

/** The message of an error; for an AggregateError without one, the messages for the addresses that were tried. */
function textOf({ message, code, errors }: ErrorLike): string {
  if (typeof message === 'string' && message !== '') return message;
  const tried = Array.isArray(errors) ? errors.slice(0, 4).map((one: unknown) => (one as Error | null)?.message) : [];
  const texts = tried.filter((text, index) => typeof text === 'string' && tried.indexOf(text) === index);
  return texts.length > 0 ? texts.join(', ') : String(code ?? '');
}

/** Removes possible secrets: credentials in a URL, and the arguments that a server repeats of an unknown command. */
function withoutSecrets(text: string): string {
  const line = withoutCredentials(text)
    .trim()
    .replace(/,? with args beginning with[\s\S]*$/, '');
  return printable(line.length > MOST_WORDS ? `${line.slice(0, MOST_WORDS)}…` : line);
}

function rowOf(error: ErrorLike): Row | undefined {
  const text = `${textOf(error)} ${typeof error.code === 'string' ? error.code : ''}`;
  return ROWS.find(({ words }) => words.test(text));
}

/**
 * The message of the underlying error, without secrets, and the kind of failure. Of an error with several causes, the
 * innermost one that the table knows counts, or else the innermost.
 * @internal
 */
export function storeFailure(error: unknown): { readonly kind: StoreErrorKind; readonly words: string } {
  const causes = causesOf(error).reverse();
  const layout = causes.find(({ code }) => code === 'ERR_PRESENCE_LAYOUT');
  if (layout !== undefined) return { kind: 'layout', words: withoutSecrets(textOf(layout)) };
  for (const cause of causes) {
    const row = rowOf(cause);
    // The prefix that the store adds repeats the kind.
    if (row !== undefined) {
      return { kind: row.kind, words: withoutSecrets(textOf(cause).replace(/^not connected to Redis: (?!its )/, '')) };
    }
  }
  const words = causes.map(textOf).find((text) => text !== '');
  return { kind: 'other', words: withoutSecrets(words ?? 'no reason was given') };
}

/**
 * Whether the error comes from a server that will refuse this for good, where another one may accept it: it is a replica, or
 * has lost its own. A new connection may reach the right server.
 * @internal
 */
export function isElsewhere(error: unknown): boolean {
  return causesOf(error).some((cause) => rowOf(cause)?.isElsewhere === true);
}

/**
 * Removes the arguments of the command from errors of ioredis: they are ids, or the password where AUTH was refused, and
 * loggers that print whole errors would print them.
 * @internal
 */
export function withoutArguments(error: unknown): unknown {
  for (const cause of causesOf(error)) {
    const { command } = cause;
    if (typeof command !== 'object' || command?.args === undefined) continue;
    try {
      cause.command = { name: command.name };
    } catch {
      // The error is frozen, so it is not one of ioredis.
    }
  }
  return error;
}
