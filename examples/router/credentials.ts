import type { IncomingHttpHeaders } from 'node:http';
import jwt from 'jsonwebtoken';
import type { Identity } from 'voiceping-presence';

/** What a client says when it connects. */
export interface Credentials {
  token: string;
  deviceId: string;
}

/** How tokens are checked: with a secret they are JWTs, without one a token is the user id. */
export interface Authentication {
  secretKey: string | undefined;
}

const ID_CLAIMS = ['uid', 'user_id', 'userId', 'sub', 'id'];

/**
 * From headers, as phones send them; else from the subprotocols `[token, deviceId]`, all that a browser can set. Clients
 * differ in whether a space follows the comma.
 */
export function credentialsOf(headers: IncomingHttpHeaders): Credentials | undefined {
  const [token0, deviceId0] = (headers['sec-websocket-protocol'] ?? '').split(/, */);
  const token = header(headers, 'token') ?? header(headers, 'voicepingtoken') ?? token0;
  if (!token) return undefined;
  return { token, deviceId: header(headers, 'device_id') ?? header(headers, 'deviceid') ?? deviceId0 ?? token };
}

/** Headers arrive as Latin-1; an id that was sent as UTF-8 is made whole again. */
function header(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  if (typeof value !== 'string' || value === '') return undefined;
  const utf8 = Buffer.from(value, 'latin1').toString('utf8');
  return utf8.includes('\uFFFD') ? value : utf8;
}

/**
 * Who it is: a phone is tracked, a dashboard watches.
 *
 * @throws whatever is wrong with the token
 */
export function identityOf({ token, deviceId }: Credentials, { secretKey }: Authentication): Identity {
  const { userId, isDashboard } =
    secretKey === undefined
      ? { userId: token, isDashboard: /^(web_)?dashboard/.test(token) }
      : verified(token, secretKey);
  checkId(userId);
  return isDashboard ? { userId, deviceId, track: false, watch: true } : { userId, deviceId };
}

/** As presence has it; refused here already, so that a client with any other id is not let in at all. */
function checkId(userId: string | number): void {
  const bytes = Buffer.from(String(userId));
  const isWhole = typeof userId === 'string' ? bytes.toString() === userId : Number.isInteger(userId);
  if (!isWhole || bytes.length === 0 || bytes.length > 256) throw new Error('an id is 1 to 256 bytes of UTF-8');
}

/** The id comes from the verified token, never from what a client says beside it. */
function verified(token: string, secretKey: string): { userId: string | number; isDashboard: boolean } {
  // Only HMAC: a public key could otherwise be taken for a secret, and `none` for a signature.
  const payload: unknown = jwt.verify(token, secretKey, { algorithms: ['HS256', 'HS384', 'HS512'] });
  if (typeof payload === 'string') return { userId: payload.replace(/^"(.*)"$/, '$1'), isDashboard: false };
  const claims = payload as Record<string, unknown>;
  for (const name of ID_CLAIMS) {
    const id = claims[name];
    if (typeof id === 'string' || typeof id === 'number') {
      return { userId: id, isDashboard: claims['role'] === 'dashboard' || claims['role'] === 'web' };
    }
  }
  throw new Error(`the token names no user; one of the claims ${ID_CLAIMS.join(', ')} is wanted`);
}

/** The same for HTTP: `Authorization: Bearer <token>`. */
export function bearerIdentity(headers: IncomingHttpHeaders, authentication: Authentication): Identity | undefined {
  const token = /^Bearer (.+)$/i.exec(headers.authorization ?? '')?.[1];
  if (token === undefined) return undefined;
  try {
    return identityOf({ token, deviceId: token }, authentication);
  } catch {
    return undefined;
  }
}
