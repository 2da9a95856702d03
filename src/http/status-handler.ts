import { CallbackTimeout, withCallbackDeadline } from '../diagnostics/callback-deadline';
import { internalsOf, reportTo } from '../diagnostics/internals';
import { checkNames, optionError, shown } from '../public/errors';
import { named } from '../public/lookalikes';
import type { Presence, PresenceStatus } from '../public/types';
import { authorized } from './authorized';
import { BODY_TIMEOUT_MS, MAX_BODY_BYTES, readIds, type StatusBody, tooLarge } from './body-ids';
import { checkCors, corsHeaders } from './cors';
import { warnOpen } from './open-warning';
import { isFailure, json, preflight, Refusal, refused, type StatusResponse } from './responses';

/** The options of every `createStatusHandler`. `Request` is the request of the framework, which `authorize` gets. */
export interface StatusHandlerOptions<Request> {
  /**
   * Decides whether a request may see these users. `true` permits it. An error status such as 401 is the response; `false`,
   * and any other value, is a 403. An error is a 500 without its message, and is reported to `onError`. Without an answer
   * within `limits.callbackTimeoutMs` the response is a 503, which is also reported (`ERR_PRESENCE_CALLBACK`).
   *
   * It is called twice: before the body is read, with no ids, so that a refused request costs no memory for its body; and
   * once the body is read, with the ids. Where something in front has already read the body (a body parser, or Fastify), it
   * is called once, with the ids.
   *
   * `'everybody'` declares that the endpoint is meant to be open.
   * @default everybody may, and the process emits one warning (`VP_PRESENCE_OPEN`)
   */
  authorize?: 'everybody' | ((request: Request, userIds: string[]) => boolean | number | Promise<boolean | number>);
  /** The most ids in one request; more are answered with 400. @default 1_000 */
  maxIds?: number;
  /** The origins that browsers may call from, or `true` for any. @default none: no CORS header is sent */
  cors?: readonly string[] | true;
  /** `guide`: a map by user id, with times in ISO 8601. `router`: the list of the VoicePing router. @default 'guide' */
  format?: 'guide' | 'router';
}

/** A request to the neutral core. An adapter translates the request of its framework. */
export interface StatusRequest<Request> {
  /** The method, in upper case. */
  readonly method: string;
  /** The value of a header, by its lower-case name. */
  header(name: string): string | undefined;
  /** Whether something in front has already read the body; then `authorize` is called once, with the ids. @default false */
  readonly isRead?: boolean;
  /** Reads the body. It is called at most once, and waited for at most `BODY_TIMEOUT_MS`. */
  body(): Promise<StatusBody>;
  /** Discards the rest of the body. Called once the response is known. */
  discard?(): void;
  /** The request of the framework. */
  readonly original: Request;
}

const OPTIONS = ['authorize', 'maxIds', 'cors', 'format'];

/**
 * `POST /api/presence/status` of the presence guide ("HTTP API Reference"), for any framework: it turns a request into a
 * response. It ignores the path. Never rejects.
 *
 * @throws TypeError `ERR_PRESENCE_OPTIONS`
 */
export function createStatusCore<Request>(
  presence: Presence,
  options: StatusHandlerOptions<Request> = {},
): (request: StatusRequest<Request>) => Promise<StatusResponse> {
  checkOptions(presence, options);
  const { authorize, maxIds = 1_000, cors, format = 'guide' } = options;
  const { clock } = internalsOf(presence);
  const allow = cors === undefined ? 'POST' : 'OPTIONS, POST';
  if (authorize === undefined) warnOpen(presence);
  const admit = async (original: Request, userIds: string[]): Promise<void> => {
    if (authorize === undefined || authorize === 'everybody') return;
    await authorized(presence, 'the request may not see these users', () => authorize(original, userIds));
  };

  async function answer(request: StatusRequest<Request>): Promise<StatusResponse> {
    if (request.method === 'OPTIONS' && cors !== undefined) {
      return preflight('POST', request.header('access-control-request-headers'));
    }
    if (request.method !== 'POST') {
      const details = `the method is ${request.method.slice(0, 32)}; POST is wanted`;
      throw new Refusal(405, 'Method not allowed', details, { allow });
    }
    const userIds = readIds(await bodyOf(request), maxIds);
    await admit(request.original, userIds);
    const statuses = await presence.getStatuses(userIds);
    return json(200, format === 'router' ? asList(userIds, statuses) : statuses);
  }

  /** Authorizes the request before its body is read, since unauthorized clients must not fill the memory with bodies. */
  async function bodyOf(request: StatusRequest<Request>): Promise<StatusBody> {
    if (request.isRead === true) return request.body();
    checkHead(request);
    await admit(request.original, []);
    try {
      return await withCallbackDeadline(clock, BODY_TIMEOUT_MS, 'body', () => request.body());
    } catch (error) {
      if (!(error instanceof CallbackTimeout)) throw error;
      const details = `the body did not arrive within ${BODY_TIMEOUT_MS} ms`;
      // The rest of the body would be taken for the next request. RFC 9110, section 15.5.9.
      throw new Refusal(408, 'Request timed out', details, { connection: 'close' });
    }
  }

  /** Tells the client that the statuses may be out of date. */
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
      response = refused(error);
    }
    request.discard?.();
    return {
      ...response,
      headers: { ...response.headers, ...corsHeaders(cors, request.header('origin')), ...staleHeader() },
    };
  };
}

function checkOptions<Request>(presence: Presence, options: StatusHandlerOptions<Request>): void {
  if (typeof options === 'function') throw optionError('options is a function; it is an object: { authorize }');
  checkNames(options, OPTIONS);
  const { authorize, maxIds, cors, format } = options;
  if (typeof presence?.getStatuses !== 'function') {
    throw optionError(`presence is ${named(presence)}; it is what createPresence() gave`);
  }
  if (authorize !== undefined && authorize !== 'everybody' && typeof authorize !== 'function') {
    throw optionError(`authorize is ${shown(authorize)}; it is a function, or 'everybody'`);
  }
  if (maxIds !== undefined && (!Number.isInteger(maxIds) || maxIds < 1)) {
    throw optionError(`maxIds is ${shown(maxIds)}; it is an integer of at least 1`);
  }
  if (format !== undefined && format !== 'guide' && format !== 'router') {
    throw optionError(`format is ${shown(format)}; it is 'guide' or 'router'`);
  }
  checkCors(cors);
}

/** Refuses a request whose headers announce a body that is too large or encoded. */
function checkHead<Request>(request: StatusRequest<Request>): void {
  if (Number(request.header('content-length')) > MAX_BODY_BYTES) throw tooLarge();
  const codings = (request.header('content-encoding') ?? '').split(',').map((coding) => coding.trim().toLowerCase());
  const coding = codings.find((name) => name !== '' && name !== 'identity');
  if (coding === undefined) return;
  const details = `the content encoding is ${shown(coding)}; send the body as it is`;
  // The response names the accepted codings. RFC 9110, section 15.5.16.
  throw new Refusal(415, 'Unsupported content encoding', details, { 'accept-encoding': 'identity' });
}

function asList(userIds: string[], statuses: { [userId: string]: PresenceStatus }) {
  const users = userIds.map((userId) => {
    const { status, lastSeen } = statuses[userId] as PresenceStatus;
    return { userId, status, lastSeen: lastSeen === null ? 0 : Date.parse(lastSeen) };
  });
  return { success: true, users, timestamp: Date.now() };
}
