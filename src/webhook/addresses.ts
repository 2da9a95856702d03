import { type LookupAddress, type LookupOptions, lookup } from 'node:dns';
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { WebhookError } from './errors';

/** Whether an address is one of the public internet. What an IPv6 address embeds counts, too. @internal */
export function isPublic(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  // Maps ::ffff:10.0.0.1 to 10.0.0.1.
  const parsed = ipaddr.process(address);
  // Of IPv6 only 2000::/3 is given to anybody (RFC 4291, section 2.4; IANA). Elsewhere an address may embed one of IPv4.
  if (parsed instanceof ipaddr.IPv6 && !parsed.match(ipaddr.IPv6.parse('2000::'), 3)) return false;
  return parsed.range() === 'unicast';
}

type Callback = (error: Error | null, address?: string | LookupAddress[], family?: number) => void;

/**
 * A `lookup` for `http.request` that gives only public addresses. It runs at the moment of the connection, so a name that changes
 * its address afterwards gains nothing.
 * @internal
 */
export function lookupPublic(hostname: string, options: LookupOptions, done: Callback): void {
  lookup(hostname, { ...options, all: true }, (error, found) => {
    if (error !== null) {
      done(error);
      return;
    }
    const addresses = found as unknown as LookupAddress[];
    const allowed = addresses.filter(({ address }) => isPublic(address));
    const [first] = allowed;
    if (first === undefined) done(notPublic(hostname));
    else if (options.all === true) done(null, allowed);
    else done(null, first.address, first.family);
  });
}

/** An address in a URL needs no look-up, so it is checked by itself. @throws WebhookError @internal */
export function checkLiteral(hostname: string): void {
  const address = hostname.replace(/^\[|\]$/g, '');
  if (isIP(address) !== 0 && !isPublic(address)) throw notPublic(hostname);
}

function notPublic(hostname: string): WebhookError {
  return new WebhookError(`${hostname} has no public address; allowPrivate: true lets it have another one`);
}
