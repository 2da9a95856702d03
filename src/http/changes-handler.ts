import { internalsOf, reportTo } from '../diagnostics/internals';
import { checkNames, isPresenceError, optionError, shown } from '../public/errors';
import { named } from '../public/lookalikes';
import type { ChangeBatch, Presence } from '../public/types';
import { authorized } from './authorized';
import { type Cors, checkCors, corsHeaders } from './cors';
import { invalid, isFailure, json, preflight, Refusal, refused, type StatusResponse, unavailable } from './responses';

/** The options of every `createChangesHandler`. `Request` is the request of the framework, which `authorize` gets. */
export interface ChangesHandlerOptions<Request> {
  /**
   * Decides whether a request may see the changes of all users. `true` permits it. An error status such as 401 is the response;
   * `false`, and any other value, is a 403. An error is a 500 without its message, and is reported to `onError`; without an answer
   * within `limits.callbackTimeoutMs` the response is a 503. There is no default.
   */
  authorize: (request: Request) => boolean | number | Promise<boolean | number>;
  /** The origins that browsers may call from, or `true` for any. @default none: no CORS header is sent */
  cors?: readonly string[] | true;
}

/** A request to the neutral core. An adapter translates the request of its framework. */
export interface ChangesRequest<Request> {
  /** The method, in upper case. */
  readonly method: string;
  /** The path and the query, or a whole URL. */
  readonly url: string;
  /** The value of a header, by its lower-case name. */
  header(name: string): string | undefined;
  /** Whether the client is gone, so that no answer is waited for. */
  isGone?(): boolean;
  /** The request of the framework. */
  readonly original: Request;
}

/** The longest wait of one request, in seconds. Proxies often end a request that is silent for a minute. */
const MOST_WAIT_S = 30;
/** The most requests that wait at once. */
const MOST_WAITING = 1_000;
/** How often a waiting request looks whether its client is still there. */
const LOOK_MS = 1_000;
/** How often it reads the log although no change was heard of. */
const READ_MS = 5_000;
/** Changes are gathered so long, so that a waiting request costs few reads on a busy fleet. */
const GATHER_MS = 100;

/**
 * `GET ?since=&limit=&wait=`: changes after a cursor, as `presence.changes.read` gives them, for any framework. With `wait`, in
 * seconds, the response comes as soon as there are changes, or with none after that time. It ignores the path. Never rejects.
 *
 * @throws TypeError `ERR_PRESENCE_OPTIONS`, also without `authorize`
 */
export function createChangesCore<Request>(
  presence: Presence,
  options: ChangesHandlerOptions<Request>,
): (request: ChangesRequest<Request>) => Promise<StatusResponse> {
  checkOptions(presence, options);
  const { authorize, cors } = options;
  const { clock, untilChange } = internalsOf(presence);
  const allow = cors === undefined ? 'GET' : 'GET, OPTIONS';
  let waiting = 0;

  async function answer(request: ChangesRequest<Request>): Promise<StatusResponse> {
    if (request.method === 'OPTIONS' && cors !== undefined) {
      return preflight('GET', request.header('access-control-request-headers'));
    }
    if (request.method !== 'GET') {
      const details = `the method is ${request.method.slice(0, 32)}; GET is wanted`;
      throw new Refusal(405, 'Method not allowed', details, { allow });
    }
    if (hasBody(request)) {
      // Nobody would read it to its end.
      throw new Refusal(400, 'Invalid request', 'a GET has no body', { connection: 'close' });
    }
    await authorized(presence, 'the request may not see changes', () => authorize(request.original));
    const { since, limit, waitMs } = queryOf(request.url);
    const until = clock.now() + waitMs;
    let readAt = clock.now();
    let batch = await read(since, limit);
    if (waitMs === 0 || !isEmpty(batch)) return json(200, batch);
    if (waiting >= MOST_WAITING) throw unavailable('too many requests are waiting for changes');
    waiting += 1;
    try {
      for (;;) {
        const leftMs = until - clock.now();
        // A longer time than was asked for: the clock was set back.
        if (leftMs <= 0 || leftMs > waitMs || request.isGone?.() === true) return json(200, batch);
        // Messages of changes may be lost, so the log is looked at without one now and then.
        const isChanged = await untilChange(Math.min(leftMs, LOOK_MS));
        if (isChanged) await pause(GATHER_MS);
        else if (leftMs > LOOK_MS && clock.now() - readAt < READ_MS) continue;
        readAt = clock.now();
        batch = await read(batch.cursor, limit);
        if (!isEmpty(batch)) return json(200, batch);
      }
    } finally {
      waiting -= 1;
    }
  }

  function pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      clock.setTimeout(resolve, ms);
    });
  }

  async function read(since: string | undefined, limit: number | undefined): Promise<ChangeBatch> {
    const page = { ...(since === undefined ? {} : { since }), ...(limit === undefined ? {} : { limit }) };
    return presence.changes.read(page).catch((error: unknown) => {
      // What is wrong with the query only the store can tell.
      if (isPresenceError(error) && error.code === 'ERR_PRESENCE_OPTIONS') throw invalid(error.message);
      throw error;
    });
  }

  return async (request) => {
    let response: StatusResponse;
    try {
      response = await answer(request);
    } catch (error) {
      if (isFailure(error)) reportTo(presence, 'query', error);
      response = refused(error);
    }
    return { ...response, headers: { ...response.headers, ...corsHeaders(cors, request.header('origin')) } };
  };
}

function hasBody<Request>({ header }: ChangesRequest<Request>): boolean {
  return Number(header('content-length') ?? 0) > 0 || header('transfer-encoding') !== undefined;
}

function isEmpty({ changes, gap }: ChangeBatch): boolean {
  return !gap && changes.length === 0;
}

function queryOf(url: string): { since: string | undefined; limit: number | undefined; waitMs: number } {
  const at = url.indexOf('?');
  const query = new URLSearchParams(at < 0 ? '' : url.slice(at + 1).replace(/#.*$/, ''));
  for (const name of query.keys()) {
    if (!['since', 'limit', 'wait'].includes(name))
      throw invalid(`${shown(name)} is no parameter; there are since, limit, wait`);
  }
  const numberOf = (name: string, most: number): number | undefined => {
    const text = query.get(name);
    if (text === null) return undefined;
    if (/^\d{1,5}$/.test(text) && Number(text) <= most) return Number(text);
    throw invalid(`${name} is ${shown(text)}; it is an integer up to ${most}`);
  };
  const since = query.get('since');
  return {
    since: since === null || since === '' ? undefined : since,
    limit: numberOf('limit', 10_000),
    waitMs: (numberOf('wait', MOST_WAIT_S) ?? 0) * 1_000,
  };
}

function checkOptions<Request>(presence: Presence, options: ChangesHandlerOptions<Request>): void {
  checkNames(options, ['authorize', 'cors']);
  if (typeof presence?.changes?.read !== 'function') {
    throw optionError(`presence is ${named(presence)}; it is what createPresence() gave`);
  }
  if (typeof options.authorize !== 'function') {
    throw optionError(
      `authorize is ${shown(options.authorize)}; it is a function: whoever reads the changes sees all users come and go`,
    );
  }
  checkCors(options.cors as Cors);
}
