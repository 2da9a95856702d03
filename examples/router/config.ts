import { optionsFromEnv } from 'voiceping-presence';
import type { RouterConfig } from './router';
import { storeFromEnv } from './store';

/** A secret that is shorter can be found by whoever has one token: RFC 7518, section 3.2. */
const MIN_SECRET_BYTES = 32;

/**
 * The settings of README.md, from the environment.
 *
 * @throws Error for a setting that is none: a typing error must not open the router
 */
export function configFromEnv(env: NodeJS.ProcessEnv = process.env): RouterConfig {
  const { USE_AUTHENTICATION = '', SECRET_KEY, TOKEN_MAX_AGE, HOST } = env;
  if (!['', 'false', 'true'].includes(USE_AUTHENTICATION)) {
    throw new Error(`USE_AUTHENTICATION is ${USE_AUTHENTICATION}; it is true or false`);
  }
  const isAuthenticated = USE_AUTHENTICATION === 'true';
  if (isAuthenticated && !SECRET_KEY) throw new Error('USE_AUTHENTICATION is true; SECRET_KEY is required then');
  if (TOKEN_MAX_AGE && !/^[1-9]\d{0,9}$/.test(TOKEN_MAX_AGE)) {
    throw new Error(`TOKEN_MAX_AGE is ${TOKEN_MAX_AGE}; it is in seconds, and at least 1`);
  }
  return {
    port: Number(env['PORT'] || 3000),
    host: HOST || undefined,
    secretKey: isAuthenticated ? SECRET_KEY : undefined,
    issuer: env['JWT_ISSUER'] || undefined,
    audience: env['JWT_AUDIENCE'] || undefined,
    maxTokenAgeS: TOKEN_MAX_AGE ? Number(TOKEN_MAX_AGE) : undefined,
    allowedOrigins: (env['ALLOWED_ORIGINS'] ?? '').split(/[\s,]+/).filter((origin) => origin !== ''),
    presence: { ...optionsFromEnv(env), ...storeFromEnv(env) },
  };
}

/** What somebody who starts it should know; a line each. */
export function warningsFor({ secretKey, host = '127.0.0.1', maxTokenAgeS }: RouterConfig): string[] {
  if (secretKey === undefined) {
    return [`No authentication: this router believes everybody, and listens on ${host}. See USE_AUTHENTICATION.`];
  }
  const warnings: string[] = [];
  if (Buffer.byteLength(secretKey) < MIN_SECRET_BYTES) {
    warnings.push(`SECRET_KEY has fewer than ${MIN_SECRET_BYTES} bytes: whoever has a token can guess it.`);
  }
  if (maxTokenAgeS === undefined) {
    warnings.push('TOKEN_MAX_AGE is not set: a token without exp never ends.');
  }
  return warnings;
}
