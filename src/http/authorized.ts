import { CallbackTimeout, withCallbackDeadline } from '../diagnostics/callback-deadline';
import { internalsOf, reportTo } from '../diagnostics/internals';
import type { Presence } from '../public/types';
import { Refusal, unavailable } from './responses';

/**
 * Asks `authorize` of the caller. Only `true` permits the request.
 *
 * @param details - what the response says to whoever is not permitted
 * @throws Refusal for everything else
 * @internal
 */
export async function authorized(presence: Presence, details: string, ask: () => unknown): Promise<void> {
  const { clock, callbackTimeoutMs } = internalsOf(presence);
  let verdict: unknown;
  try {
    verdict = await withCallbackDeadline(clock, callbackTimeoutMs, 'authorize', ask);
  } catch (error) {
    reportTo(presence, 'authorize', error);
    if (error instanceof CallbackTimeout) throw unavailable('the request could not be authorized in time');
    throw new Refusal(500, 'Failed to fetch presence status', 'the request could not be authorized');
  }
  if (verdict === true) return;
  const status = typeof verdict === 'number' && verdict >= 400 && verdict <= 599 ? Math.floor(verdict) : 403;
  if (status === 401) {
    const headers = { 'www-authenticate': 'Bearer' };
    throw new Refusal(401, 'Unauthorized', 'credentials are missing or not valid', headers);
  }
  throw new Refusal(status, 'Forbidden', details);
}
