import { isPresenceError } from '../public/errors';

/** A response of the neutral core. */
export interface StatusResponse {
  /** The status code. */
  readonly status: number;
  /** The headers, by lower-case name. */
  readonly headers: { readonly [name: string]: string };
  /** JSON, or empty. */
  readonly body: string;
}

const NOT_AVAILABLE = 'Presence is not available';

const UNAVAILABLE: readonly string[] = ['ERR_PRESENCE_DISABLED', 'ERR_PRESENCE_CLOSED'];

/** Browsers send long lists of headers, but none that is longer than this. */
const MAX_ECHOED_HEADERS = 4_096;

/** Ends the handling of a request with an error response. @internal */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly error: string,
    readonly details: string,
    readonly headers: { readonly [name: string]: string } = {},
  ) {
    super(details);
  }
}

/** A 400. @internal */
export function invalid(details: string): Refusal {
  return new Refusal(400, 'Invalid request', details);
}

/** A 503. @internal */
export function unavailable(details: string): Refusal {
  return new Refusal(503, NOT_AVAILABLE, details);
}

/** Whether an error is a failure to report, rather than a refusal or an unavailable presence. @internal */
export function isFailure(error: unknown): boolean {
  return !(error instanceof Refusal) && !(isPresenceError(error) && UNAVAILABLE.includes(error.code));
}

/** The response to a request whose handling threw. @internal */
export function refused(error: unknown): StatusResponse {
  if (error instanceof Refusal) {
    return json(error.status, { error: error.error, details: error.details }, error.headers);
  }
  if (isPresenceError(error)) {
    if (UNAVAILABLE.includes(error.code)) return json(503, { error: NOT_AVAILABLE, details: error.message });
    if (error.code === 'ERR_PRESENCE_OPTIONS') {
      return json(500, { error: 'The status endpoint is not set up', details: error.message });
    }
  }
  return json(500, { error: 'Failed to fetch presence status', details: detailsOf(error) });
}

/** The details for a client, who must not see the message of a store: it may name hosts, paths and keys. */
function detailsOf(error: unknown): string {
  if (!isPresenceError(error)) return 'unexpected error';
  if (error.code !== 'ERR_PRESENCE_STORE' && error.code !== 'ERR_PRESENCE_LAYOUT') return error.message;
  return error.kind === 'slow' ? 'the store did not answer in time' : 'the store failed';
}

/** @internal */
export function json(
  status: number,
  value: unknown,
  headers: { readonly [name: string]: string } = {},
): StatusResponse {
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

/** The response to a CORS preflight. Fetch Standard, "CORS-preflight request". @internal */
export function preflight(method: string, asked: string = 'content-type'): StatusResponse {
  const isSafe = asked.length <= MAX_ECHOED_HEADERS && /^[\w!#$%&'*+.^`|~, -]+$/.test(asked);
  return {
    status: 204,
    headers: {
      'access-control-allow-methods': method,
      'access-control-allow-headers': isSafe ? asked : 'content-type',
      'access-control-max-age': '600',
    },
    body: '',
  };
}
