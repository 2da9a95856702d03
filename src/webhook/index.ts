/**
 * Changes as signed HTTP requests.
 * @module voiceping-presence/webhook
 */

import { createHash } from 'node:crypto';
import { URL } from 'node:url';
import { checkedFlag, checkedMs } from '../config/validation';
import { checkNames, optionError, shown } from '../public/errors';
import type { ChangeBatch } from '../public/types';
import { WebhookError } from './errors';
import { Poster } from './poster';
import { secretsOf, signaturesOf } from './signature';

export { WebhookError } from './errors';

/** The options of `createWebhook`. */
export interface WebhookOptions {
  /** Where changes are posted to: `https:`, or `http:`. Without user and password, which go into `headers`. */
  url: string | URL;
  /**
   * The secret of the Standard Webhooks scheme: `whsec_` and 24 to 64 bytes in base64, as `openssl rand -base64 32` makes them. While it
   * is replaced, a list of both: requests then bear two signatures, and the receiver may verify either.
   */
  secret: string | readonly string[];
  /** How long a request may take until its response begins, in milliseconds. Less than `timeoutMs` of `deliver`. @default 15_000 */
  timeoutMs?: number;
  /** Further headers, such as `authorization`. They cannot replace those of the scheme. */
  headers?: { readonly [name: string]: string };
  /**
   * Whether the receiver may have a private, link-local or loopback address. By default a name that leads to one, at the moment of the
   * connection, is refused, so that nobody who may choose the address reaches into your network.
   * @default false
   */
  allowPrivate?: boolean;
}

const OPTIONS = ['url', 'secret', 'timeoutMs', 'headers', 'allowPrivate'];
const RESERVED = /^(webhook-.*|content-.*|host|connection|transfer-encoding)$/i;

/**
 * Makes a handler for `presence.changes.deliver` that posts each batch as JSON: `{ changes, cursor, gap, users, part, asOf, more }`. Requests are
 * signed by the Standard Webhooks scheme (https://www.standardwebhooks.com): `webhook-id`, which stays the same when a batch is sent
 * again, `webhook-timestamp` and `webhook-signature`.
 *
 * A status of 200 to 299 is done. 410 ends the delivery until `deliver` is called with `resume: true`. 429 and 503 with `Retry-After`
 * are sent again after that time. Everything else is sent again with a growing wait, also a redirect. The body of the response is
 * not read.
 *
 * @throws TypeError `ERR_PRESENCE_OPTIONS`
 *
 * @example
 * presence.changes.deliver('billing', createWebhook({ url: 'https://billing.example/presence', secret: process.env.WEBHOOK_SECRET }));
 */
export function createWebhook(options: WebhookOptions): (batch: ChangeBatch) => Promise<void> {
  checkNames(options, OPTIONS);
  const url = toUrl(options.url);
  const secrets = secretsOf(options.secret);
  const headers = toHeaders(options.headers ?? {});
  const poster = new Poster({
    url,
    timeoutMs: checkedMs('timeoutMs', options.timeoutMs, 1, 15_000),
    allowPrivate: checkedFlag('allowPrivate', options.allowPrivate, false),
  });
  return async (batch: ChangeBatch): Promise<void> => {
    const body = JSON.stringify(batch);
    const id = `msg_${createHash('sha256').update(body).digest('hex').slice(0, 32)}`;
    const timestamp = String(Math.floor(Date.now() / 1_000));
    const { status, retryAfter } = await poster.post(body, {
      ...headers,
      'content-type': 'application/json',
      'user-agent': 'voiceping-presence',
      'webhook-id': id,
      'webhook-timestamp': timestamp,
      'webhook-signature': signaturesOf(secrets, `${id}.${timestamp}.${body}`),
    });
    if (status >= 200 && status <= 299) return;
    throw refusal(url, status, retryAfter);
  };
}

function refusal({ host }: URL, status: number, retryAfter: string | undefined): WebhookError {
  if (status === 410) return new WebhookError(`${host} answered 410: it wants no more`, { ended: true });
  if (status >= 300 && status <= 399) {
    return new WebhookError(
      `${host} answered ${status}, a redirect, which is not followed: give the address that it leads to`,
    );
  }
  const ms = status === 429 || status === 503 ? waitOf(retryAfter) : undefined;
  return new WebhookError(`${host} answered ${status}`, ms === undefined ? {} : { retryAfterMs: ms });
}

/** RFC 9110, section 10.2.3: seconds, or a date. */
function waitOf(retryAfter: string | undefined): number | undefined {
  if (retryAfter === undefined) return undefined;
  const ms = /^\d+$/.test(retryAfter) ? Number(retryAfter) * 1_000 : Date.parse(retryAfter) - Date.now();
  return ms > 0 ? ms : undefined;
}

function toUrl(given: unknown): URL {
  const rule = 'it is the address of the receiver, such as https://example.com/presence';
  let url: URL;
  try {
    url = new URL(String(given));
  } catch {
    throw optionError(`url is ${shown(given)}; ${rule}`);
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') throw optionError(`url is ${shown(url.href)}; ${rule}`);
  if (url.username !== '' || url.password !== '') {
    throw optionError('url has a user or a password; give headers: { authorization } instead');
  }
  return url;
}

function toHeaders(given: { readonly [name: string]: string }): { [name: string]: string } {
  if (typeof given !== 'object' || given === null) throw optionError(`headers is ${shown(given)}; it is an object`);
  const headers: { [name: string]: string } = {};
  for (const name of Object.keys(given)) {
    const value: unknown = given[name];
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name) || RESERVED.test(name)) {
      throw optionError(`headers has ${shown(name)}; that is no name of a header, or one that the request has already`);
    }
    // RFC 9110, section 5.5.
    if (typeof value !== 'string' || !/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
      throw optionError(`headers.${name} is not a text that can be sent`);
    }
    headers[name.toLowerCase()] = value;
  }
  return headers;
}
