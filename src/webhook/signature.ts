import { createHmac } from 'node:crypto';
import { optionError } from '../public/errors';

const PREFIX = 'whsec_';
/** Standard Webhooks, "Symmetric keys": 24 to 64 bytes. */
const LEAST_BYTES = 24;
const MOST_BYTES = 64;
const MOST_SECRETS = 4;

/** The keys of one secret, or of several while they are replaced. @throws TypeError `ERR_PRESENCE_OPTIONS` @internal */
export function secretsOf(given: string | readonly string[]): readonly Buffer[] {
  const rule = `whsec_ and ${LEAST_BYTES} to ${MOST_BYTES} bytes in base64`;
  const secrets: readonly unknown[] = Array.isArray(given) ? given : [given];
  if (secrets.length === 0 || secrets.length > MOST_SECRETS) {
    throw optionError(
      `secret is a list of ${secrets.length}; it is one secret, or up to ${MOST_SECRETS} while they are replaced`,
    );
  }
  return secrets.map((secret) => {
    // What it is stands in no error: it is a secret.
    if (typeof secret !== 'string') throw optionError(`secret is no string; it is ${rule}`);
    const text = secret.startsWith(PREFIX) ? secret.slice(PREFIX.length) : secret;
    const key = Buffer.from(text, 'base64');
    const isBase64 = /^[A-Za-z0-9+/]+={0,2}$/.test(text);
    if (!isBase64 || key.length < LEAST_BYTES || key.length > MOST_BYTES) {
      throw optionError(`secret has ${secret.length} characters that are not ${rule}`);
    }
    return key;
  });
}

/** The value of `webhook-signature`: a signature by each key, separated by spaces. @internal */
export function signaturesOf(keys: readonly Buffer[], signed: string): string {
  return keys.map((key) => `v1,${createHmac('sha256', key).update(signed).digest('base64')}`).join(' ');
}
