import jwt from 'jsonwebtoken';
import { companyOf, type User } from './access';

/** How tokens are checked. */
export interface Authentication {
  /** With a secret, tokens are JWTs that it has signed. Without one a token is the user id, and everybody is believed. */
  secretKey?: string | undefined;
  /** The `iss` that a token must have. @default any */
  issuer?: string | undefined;
  /** The `aud` that a token must have. @default any */
  audience?: string | undefined;
  /**
   * In seconds: a token needs an `iat`, and ends so long after it, or at its `exp` if that is sooner.
   * @default none: a token without `exp`, as many of the existing router are, is good until the secret changes
   */
  maxTokenAgeS?: number | undefined;
}

const ID_CLAIMS = ['uid', 'user_id', 'userId', 'sub', 'id'];
const DASHBOARD_ROLES: readonly unknown[] = ['dashboard', 'web'];

/**
 * Who a token names.
 *
 * @throws whatever is wrong with the token
 */
export function userOf(token: string, authentication: Authentication): User {
  if (authentication.secretKey !== undefined) return verified(token, authentication.secretKey, authentication);
  const isDashboard = /^(web_)?dashboard/.test(token);
  return { userId: toId(token), track: !isDashboard, watch: isDashboard, company: companyOf(token), seesAll: true };
}

/** The id comes from the verified token, never from what a client says beside it. */
function verified(token: string, secretKey: string, { issuer, audience, maxTokenAgeS }: Authentication): User {
  const payload: unknown = jwt.verify(token, secretKey, {
    // Only this: a public key could otherwise be taken for a secret, and `none` for a signature.
    algorithms: ['HS256'],
    ...(issuer !== undefined && { issuer }),
    ...(audience !== undefined && { audience }),
    ...(maxTokenAgeS !== undefined && { maxAge: maxTokenAgeS }),
  });
  // Some tokens of the existing router are just the id, in quotes.
  const claims = (typeof payload === 'string' ? { id: payload.replace(/^"(.*)"$/, '$1') } : payload) as Claims;
  const userId = toId(ID_CLAIMS.map((name) => claims[name]).find((id) => ['string', 'number'].includes(typeof id)));
  const company = claims['company'] === undefined ? companyOf(userId) : toCompany(claims['company']);
  const expiresAt = endOf(claims, maxTokenAgeS);
  return {
    userId,
    track: !DASHBOARD_ROLES.includes(claims['role']),
    company,
    seesAll: false,
    ...(expiresAt !== undefined && { expiresAt }),
  };
}

type Claims = Readonly<Record<string, unknown>>;

/** In milliseconds; claims are in seconds. */
function endOf({ exp, iat }: Claims, maxTokenAgeS: number | undefined): number | undefined {
  const ends = [exp, maxTokenAgeS !== undefined && typeof iat === 'number' ? iat + maxTokenAgeS : undefined];
  const known = ends.filter((end) => typeof end === 'number');
  return known.length === 0 ? undefined : Math.min(...known) * 1000;
}

/** As presence has it; refused here already, so that a client with any other id is not let in at all. */
function toId(id: unknown): string {
  const text = Number.isSafeInteger(id) || typeof id === 'string' ? String(id) : '';
  const bytes = Buffer.from(text);
  if (bytes.toString() !== text || bytes.length === 0 || bytes.length > 256) {
    throw new Error(`the token names no user: one of ${ID_CLAIMS.join(', ')} is 1 to 256 bytes of UTF-8`);
  }
  return text;
}

function toCompany(company: unknown): string {
  // With an underscore it would be a part of another company, or none.
  if (typeof company !== 'string' || !/^[^_]+$/.test(company)) throw new Error('company is a name without underscores');
  return company;
}
