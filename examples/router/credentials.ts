import type { IncomingHttpHeaders } from 'node:http';

/** What a client says when it connects. */
export interface Credentials {
  readonly token: string;
  readonly deviceId: string | undefined;
}

/**
 * From headers, as phones send them; else from the subprotocols `[token, deviceId]`, all that a browser can set. Clients
 * differ in whether a space follows the comma.
 */
export function credentialsOf(headers: IncomingHttpHeaders): Credentials | undefined {
  const [token0, deviceId0] = (headers['sec-websocket-protocol'] ?? '').split(/, */);
  const token = header(headers, 'token') ?? header(headers, 'voicepingtoken') ?? token0;
  if (!token) return undefined;
  const deviceId = header(headers, 'device_id') ?? header(headers, 'deviceid') ?? deviceId0;
  // Device ids are logged and shown; a token must not be one.
  return { token, deviceId: deviceId === '' || deviceId === token ? undefined : deviceId };
}

/** The token of a request over HTTP: `Authorization: Bearer <token>`. */
export function bearerOf(headers: IncomingHttpHeaders): string | undefined {
  return /^Bearer (.+)$/i.exec(headers.authorization ?? '')?.[1];
}

/**
 * The subprotocol that the answer names, of `[token, deviceId]`: the device id. A browser gives up the connection if it
 * has offered some and the answer names none. The first is a secret, and answers are logged: it is never named, so a
 * browser that offers nothing but a token is not let in.
 */
export function chooseProtocol(offered: ReadonlySet<string>, headers: IncomingHttpHeaders): string | false {
  const [, deviceId] = offered;
  return deviceId !== undefined && deviceId !== credentialsOf(headers)?.token ? deviceId : false;
}

/** Headers arrive as Latin-1; an id that was sent as UTF-8 is made whole again. */
function header(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  if (typeof value !== 'string' || value === '') return undefined;
  const utf8 = Buffer.from(value, 'latin1').toString('utf8');
  return utf8.includes('\uFFFD') ? value : utf8;
}
