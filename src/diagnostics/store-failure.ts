import type { StoreErrorKind } from '../public/errors';
import { printable, withoutCredentials } from '../public/printable';

interface Row {
  readonly kind: StoreErrorKind;
  readonly words: RegExp;
  /** The link is fine, and the server at its end is the wrong one: another connection may reach the right one. */
  readonly isElsewhere?: true;
}

/**
 * The one table of what servers and clients say. The first row that fits counts. Words of Redis are looked for anywhere:
 * up to Redis 6 they stand behind what Lua says, and clients put words of their own before them.
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

/** Errors may lead to each other. */
const MOST_CAUSES = 8;
const MOST_WORDS = 300;

interface ErrorLike {
  readonly code?: unknown;
  readonly message?: unknown;
  readonly cause?: unknown;
  /** Of a Cluster of ioredis. */
  readonly lastNodeError?: unknown;
  /** Of an AggregateError: one for each address that was tried. */
  readonly errors?: unknown;
  /** Of ioredis: what was sent, with all that is in it. */
  command?: { readonly name?: unknown; readonly args?: unknown };
}

/** From the outermost to the innermost. */
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

/** What an error says of itself; of one that has tried several addresses, what each of them said. */
function textOf({ message, code, errors }: ErrorLike): string {
  if (typeof message === 'string' && message !== '') return message;
  const tried = Array.isArray(errors) ? errors.slice(0, 4).map((one: unknown) => (one as Error | null)?.message) : [];
  const texts = tried.filter((text, index) => typeof text === 'string' && tried.indexOf(text) === index);
  return texts.length > 0 ? texts.join(', ') : String(code ?? '');
}

/** Without what may be secret: credentials in a URL, and what a server repeats of a command that it does not know. */
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
 * What failed beneath, in its own words and without secrets, and what kind of failure it is. Of an error that has causes
 * the innermost one that is known counts, else the innermost.
 * @internal
 */
export function storeFailure(error: unknown): { readonly kind: StoreErrorKind; readonly words: string } {
  const causes = causesOf(error).reverse();
  const layout = causes.find(({ code }) => code === 'ERR_PRESENCE_LAYOUT');
  if (layout !== undefined) return { kind: 'layout', words: withoutSecrets(textOf(layout)) };
  for (const cause of causes) {
    const row = rowOf(cause);
    // What the store itself adds is said by the kind.
    if (row !== undefined) {
      return { kind: row.kind, words: withoutSecrets(textOf(cause).replace(/^not connected to Redis: (?!its )/, '')) };
    }
  }
  const words = causes.map(textOf).find((text) => text !== '');
  return { kind: 'other', words: withoutSecrets(words ?? 'no reason was given') };
}

/**
 * Whether a server says that it will not do this, however often it is asked, and that another one might: it is a replica,
 * or cut off from its own. A connection made anew may reach the right one.
 * @internal
 */
export function isElsewhere(error: unknown): boolean {
  return causesOf(error).some((cause) => rowOf(cause)?.isElsewhere === true);
}

/**
 * Takes out of errors of ioredis what was sent: ids, and the password where AUTH was refused. They are printed with the
 * error by whoever prints errors whole.
 * @internal
 */
export function withoutArguments(error: unknown): unknown {
  for (const cause of causesOf(error)) {
    const { command } = cause;
    if (typeof command !== 'object' || command?.args === undefined) continue;
    try {
      cause.command = { name: command.name };
    } catch {
      // Frozen: no error of ioredis.
    }
  }
  return error;
}
