import { readFileSync } from 'node:fs';
import type { Pool } from 'pg';
import type { ChangeHandler } from 'voiceping-presence';

const SCHEMA = new URL('sessions.sql', import.meta.url);

/** Makes the tables and functions that are not there yet. */
export async function createTables(pool: Pool): Promise<void> {
  await pool.query(readFileSync(SCHEMA, 'utf8'));
}

/**
 * Records who was online from when to when, in PostgreSQL. Begin the delivery with a listing, so that those who are online already are
 * known:
 *
 *     presence.changes.deliver('sessions', toSessions(pool), { from: 'listing' });
 */
export function toSessions(pool: Pool): ChangeHandler {
  // A call that has timed out may arrive after the next one, with the same token.
  let calls = 0;
  return async ({ changes, users, ...batch }, { token }) => {
    calls += 1;
    const number = calls;
    const written = {
      ...batch,
      changes: changes.map(stored),
      ...(users === undefined ? {} : { users: users.map(stored) }),
    };
    await pool.query('select presence_record_batch($1, $2, $3)', [JSON.stringify(written), token, number]);
  };
}

/** An id as it stands in the tables: PostgreSQL has no NUL, and one such id would hold up all others. */
export function storedId(userId: string): string {
  return userId.replace(/[\\\0]/g, (char) => (char === '\0' ? '\\0' : '\\\\'));
}

function stored<T extends { userId: string }>(of: T): T {
  return { ...of, userId: storedId(of.userId) };
}
