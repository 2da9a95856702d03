import type { PresenceStatus } from '../public/types';
import { readUser } from './codec';

/** Characters of an answer: an id can be 256 bytes, each of them escaped, and stand there twice. */
const MAX_LENGTH_PER_ID = 4_096;
const MAX_LENGTH = 65_536;

/** What a status endpoint answers. @internal */
export interface StatusAnswer {
  /** Of HTTP. */
  readonly status: number;
  /** What is none in the answer is passed by. */
  readonly users: PresenceStatus[];
}

/**
 * Asks a status endpoint of some users.
 *
 * @throws whatever goes wrong, also for an answer that is too long
 * @internal
 */
export async function fetchStatuses(
  url: string,
  token: string | undefined,
  userIds: readonly string[],
): Promise<StatusAnswer> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) },
    body: JSON.stringify({ userIds }),
  });
  const users: PresenceStatus[] = [];
  const { status } = response;
  if (!response.ok) return { status, users };
  const answer: unknown = JSON.parse(await textOf(response, MAX_LENGTH + userIds.length * MAX_LENGTH_PER_ID));
  for (const value of Object.values(answer as object)) {
    const user = readUser(value);
    if (user) users.push(user);
  }
  return { status, users };
}

/** Never holds much more than `maxLength` characters. @throws RangeError past them */
async function textOf(response: Response, maxLength: number): Promise<string> {
  // Where answers are no streams, as in React Native.
  if (!response.body?.getReader) return response.text();
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text;
    text += decoder.decode(value, { stream: true });
    if (text.length <= maxLength) continue;
    await reader.cancel();
    throw new RangeError('the answer is too long');
  }
}
