import { reportTo } from '../diagnostics/internals';
import { checkNames, isPresenceError, optionError, shown } from '../errors';
import { toUserId } from '../ids';
import type { Presence, PresenceStatus, UserId } from '../types';

/** A body of more bytes is answered 413. */
export const MAX_BODY_BYTES = 1_048_576;

/** Past this a sender that does not stop is cut off. @internal */
export const MAX_DISCARDED_BYTES = 16 * MAX_BODY_BYTES;

/** What every `createStatusHandler` takes. `Request` is the request of the framework, as `authorize` gets it. */
export interface StatusHandlerOptions<Request> {
  /**
   * May this request see these users? `true` lets it; `false` is a 403, an error status such as 401 is that one, and
   * whatever else it gives is a 403 too. What it throws is a 500, without its words, and reaches `onError`.
   * @default everybody may
   */
  authorize?: (request: Request, userIds: string[]) => boolean | number | Promise<boolean | number>;
  /** More ids than this in one request are a 400. @default 1_000 */
  maxIds?: number;
  /** Origins that browsers may ask from, or `true` for any. @default none: no CORS header is sent */
  cors?: readonly string[] | true;
  /** `guide`: a map by user id, times in ISO 8601. `router`: the list that the existing router's clients know. @default 'guide' */
  format?: 'guide' | 'router';
}

/** What may come of reading the body of a request. */
export type StatusBody = { readonly parsed: unknown } | { readonly bytes: Uint8Array | string } | 'tooLarge' | 'ended';

/** A request as the neutral core sees it. Frameworks translate theirs into it. */
export interface StatusRequest<Request> {
  /** In upper case. */
  readonly method: string;
  /** By its lower-case name. */
  header(name: string): string | undefined;
  /** The body: parsed already, or its bytes. `tooLarge` where there are more than `MAX_BODY_BYTES`; `ended` where it broke off. */
  body(): Promise<StatusBody>;
  /** The request of the framework. */
  readonly original: Request;
}

/** An answer as the neutral core gives it. */
export interface StatusResponse {
  /** The status code. */
  readonly status: number;
  /** By lower-case name. */
  readonly headers: { readonly [name: string]: string };
  /** JSON, or empty. */
  readonly body: string;
}

const UNAVAILABLE: readonly string[] = ['ERR_PRESENCE_DISABLED', 'ERR_PRESENCE_CLOSED'];

const FATAL = { fatal: true };

const OPTIONS = ['authorize', 'maxIds', 'cors', 'format'];

/** Ends the handling of a request with an error answer. */
class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly error: string,
    readonly details: string,
  ) {
    super(details);
  }
}

/**
 * `POST /api/presence/status` of the guide ("HTTP API Reference"), for any framework: a request in, an answer out.
 * Looks at the method, never at the path. Never rejects.
 *
 * @throws TypeError `ERR_PRESENCE_OPTIONS`
 */
export function createStatusCore<Request>(
  presence: Presence,
  options: StatusHandlerOptions<Request> = {},
): (request: StatusRequest<Request>) => Promise<StatusResponse> {
  checkOptions(presence, options);
  const { authorize, maxIds = 1_000, cors, format = 'guide' } = options;
  const allow = cors === undefined ? 'POST' : 'OPTIONS, POST';

  async function answer(request: StatusRequest<Request>): Promise<StatusResponse> {
    if (request.method === 'OPTIONS' && cors !== undefined) return preflight(request);
    if (request.method !== 'POST') {
      throw new Refusal(405, 'Method not allowed', `the method is ${request.method.slice(0, 32)}; POST is wanted`);
    }
    const userIds = readIds(await request.body(), maxIds);
    await admit(request.original, userIds);
    const statuses = await presence.getStatuses(userIds);
    return json(200, format === 'router' ? asList(userIds, statuses) : statuses);
  }

  async function admit(request: Request, userIds: string[]): Promise<void> {
    if (authorize === undefined) return;
    let verdict: unknown;
    try {
      verdict = await authorize(request, userIds);
    } catch (error) {
      reportTo(presence, 'authorize', error);
      throw new Refusal(500, 'Failed to fetch presence status', 'the request could not be authorized');
    }
    if (verdict === true) return;
    const status = typeof verdict === 'number' && verdict >= 400 && verdict <= 599 ? Math.floor(verdict) : 403;
    if (status === 401) throw new Refusal(401, 'Unauthorized', 'credentials are missing or not valid');
    throw new Refusal(status, 'Forbidden', 'the request may not see these users');
  }

  function corsHeaders(request: StatusRequest<Request>): { [name: string]: string } {
    if (cors === undefined) return {};
    if (cors === true) return { 'access-control-allow-origin': '*' };
    const origin = request.header('origin');
    // Caches must know that the answer depends on it, also where it is refused.
    const vary = { vary: 'Origin' };
    return origin !== undefined && cors.includes(origin) ? { 'access-control-allow-origin': origin, ...vary } : vary;
  }

  /** Whoever is told must know that it may be out of date. */
  function staleHeader(): { [name: string]: string } {
    const { status, asOf } = presence.health?.() ?? { status: 'ok', asOf: null };
    if (status !== 'stale') return {};
    const exposed: { [name: string]: string } =
      cors === undefined ? {} : { 'access-control-expose-headers': 'X-Presence-Stale' };
    return { 'x-presence-stale': asOf ?? 'unknown', ...exposed };
  }

  return async (request) => {
    let response: StatusResponse;
    try {
      response = await answer(request);
    } catch (error) {
      if (isFailure(error)) reportTo(presence, 'query', error);
      response = refused(error, allow);
    }
    return { ...response, headers: { ...response.headers, ...corsHeaders(request), ...staleHeader() } };
  };
}

function checkOptions<Request>(presence: Presence, options: StatusHandlerOptions<Request>): void {
  checkNames(options, OPTIONS);
  const { authorize, maxIds, cors, format } = options;
  if (typeof presence?.getStatuses !== 'function') {
    throw optionError(`presence is ${shown(presence)}; it is what createPresence() gave`);
  }
  if (authorize !== undefined && typeof authorize !== 'function') {
    throw optionError(`authorize is ${shown(authorize)}; it is a function`);
  }
  if (maxIds !== undefined && (!Number.isInteger(maxIds) || maxIds < 1)) {
    throw optionError(`maxIds is ${shown(maxIds)}; it is an integer of at least 1`);
  }
  if (format !== undefined && format !== 'guide' && format !== 'router') {
    throw optionError(`format is ${shown(format)}; it is 'guide' or 'router'`);
  }
  if (cors === undefined || cors === true) return;
  if (!Array.isArray(cors)) throw optionError(`cors is ${shown(cors)}; it is a list of origins, or true for any`);
  for (const origin of cors as readonly unknown[]) {
    // What a browser sends is scheme, host and port, and no path: with a slash at the end it would never match.
    if (typeof origin !== 'string' || !/^[a-z][a-z0-9+.-]*:\/\/[^/?#\s]+$/.test(origin)) {
      throw optionError(`cors has ${shown(origin)}; an origin is like https://example.com, without a path`);
    }
  }
}

function readIds(body: StatusBody, maxIds: number): string[] {
  if (body === 'tooLarge') {
    throw new Refusal(413, 'Request too large', `the body is larger than ${MAX_BODY_BYTES} bytes`);
  }
  const invalid = (details: string) => new Refusal(400, 'Invalid request', details);
  if (body === 'ended') throw invalid('the request ended before its body');
  let value: unknown;
  if ('parsed' in body) {
    value = body.parsed;
  } else {
    try {
      // Two ids that are not UTF-8 must not become one. A byte order mark is passed over: RFC 8259, section 8.1.
      value = JSON.parse(
        typeof body.bytes === 'string' ? body.bytes : new TextDecoder('utf-8', FATAL).decode(body.bytes),
      );
    } catch {
      throw invalid('the body is not valid JSON');
    }
  }
  const userIds = typeof value === 'object' && value !== null ? (value as { userIds?: unknown }).userIds : undefined;
  if (userIds === undefined) throw invalid('userIds is missing; the body is {"userIds": ["123", "456"]}');
  if (!Array.isArray(userIds)) throw invalid(`userIds is ${shown(userIds)}; it is an array of ids`);
  if (userIds.length > maxIds) throw invalid(`userIds has ${userIds.length} ids; at most ${maxIds} are allowed`);
  try {
    return Array.from(
      new Set(
        userIds.map((id: UserId, index) => {
          // It was another number in the text.
          if (typeof id === 'number' && Math.abs(id) > Number.MAX_SAFE_INTEGER) {
            throw invalid(`userIds[${index}] is a number beyond ${Number.MAX_SAFE_INTEGER}; give it as a string`);
          }
          return toUserId(id, 'userIds', index);
        }),
      ),
    );
  } catch (error) {
    throw invalid((error as Error).message);
  }
}

/** Something went wrong, other than with the request. */
function isFailure(error: unknown): boolean {
  return !(error instanceof Refusal) && !(isPresenceError(error) && UNAVAILABLE.includes(error.code));
}

function refused(error: unknown, allow: string): StatusResponse {
  if (error instanceof Refusal) {
    const headers: { [name: string]: string } = {};
    if (error.status === 405) headers['allow'] = allow;
    if (error.status === 401) headers['www-authenticate'] = 'Bearer';
    return json(error.status, { error: error.error, details: error.details }, headers);
  }
  const code = isPresenceError(error) ? error.code : undefined;
  if (code !== undefined && UNAVAILABLE.includes(code)) {
    return json(503, { error: 'Presence is not available', details: (error as Error).message });
  }
  // Words of ours are safe to show; those of anything else may name hosts and paths.
  const details = isPresenceError(error) ? error.message : 'unexpected error';
  return json(500, { error: 'Failed to fetch presence status', details });
}

function json(status: number, value: unknown, headers: { [name: string]: string } = {}): StatusResponse {
  return {
    status,
    headers: {
      'content-type': 'application/json; charset=utf-8',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      ...headers,
    },
    body: JSON.stringify(value),
  };
}

/** An answer to a browser that asks first. Fetch Standard, "CORS-preflight request". */
function preflight<Request>(request: StatusRequest<Request>): StatusResponse {
  const asked = request.header('access-control-request-headers') ?? 'content-type';
  return {
    status: 204,
    headers: {
      'access-control-allow-methods': 'POST',
      'access-control-allow-headers': /^[\w!#$%&'*+.^`|~, -]+$/.test(asked) ? asked : 'content-type',
      'access-control-max-age': '600',
    },
    body: '',
  };
}

function asList(userIds: string[], statuses: { [userId: string]: PresenceStatus }) {
  const users = userIds.map((userId) => {
    const { status, lastSeen } = statuses[userId] as PresenceStatus;
    return { userId, status, lastSeen: lastSeen === null ? 0 : Date.parse(lastSeen) };
  });
  return { success: true, users, timestamp: Date.now() };
}
