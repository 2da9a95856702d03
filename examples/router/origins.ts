import type { IncomingHttpHeaders } from 'node:http';

/**
 * May the page that opens this WebSocket do so? Browsers send its origin, and let any page connect anywhere. A page of
 * this router may, and those of the list; `*` in it is any page. Phones send no origin.
 */
export function isAllowedOrigin({ origin, host }: IncomingHttpHeaders, allowed: readonly string[]): boolean {
  if (origin === undefined || allowed.includes('*') || allowed.includes(origin)) return true;
  try {
    return new URL(origin).host === host?.toLowerCase();
  } catch {
    // `null`, of a file or a sandboxed frame, is nobody's.
    return false;
  }
}

/** The `connect-src` of pages of this router: itself, over HTTP and WebSocket. Old browsers leave WebSocket out of `'self'`. */
export function connectSources({ host = '' }: IncomingHttpHeaders): string {
  // What is no host could end this directive and begin another one.
  return /^[\w.-]+(:\d+)?$|^\[[\da-f:.]+\](:\d+)?$/i.test(host) ? `'self' ws://${host} wss://${host}` : "'self'";
}
