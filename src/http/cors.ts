import { optionError, shown } from '../public/errors';

/** The origins that browsers may call from, or `true` for any. @internal */
export type Cors = readonly string[] | true | undefined;

/** @throws TypeError `ERR_PRESENCE_OPTIONS` @internal */
export function checkCors(cors: Cors): void {
  if (cors === undefined || cors === true) return;
  if (!Array.isArray(cors)) throw optionError(`cors is ${shown(cors)}; it is a list of origins, or true for any`);
  for (const origin of cors as readonly unknown[]) {
    // Browsers send scheme, host and port without a path, so an origin with a trailing slash would never match.
    if (typeof origin !== 'string' || !/^[a-z][a-z0-9+.-]*:\/\/[^/?#\s]+$/.test(origin)) {
      throw optionError(`cors has ${shown(origin)}; an origin is like https://example.com, without a path`);
    }
  }
}

/** The headers by which a browser lets a page of `origin` read the response. @internal */
export function corsHeaders(cors: Cors, origin: string | undefined): { [name: string]: string } {
  if (cors === undefined) return {};
  if (cors === true) return { 'access-control-allow-origin': '*' };
  // Caches must know that the response depends on the origin, even where it is refused.
  const vary = { vary: 'Origin' };
  return origin !== undefined && cors.includes(origin) ? { 'access-control-allow-origin': origin, ...vary } : vary;
}
