import type { PresenceStatus } from '../public/types';
import { readUser } from './codec';

/** The most characters of an answer for each id: an id may have 256 bytes, each escaped as six characters, and appears twice. */
const MAX_LENGTH_PER_ID = 4_096;
const MAX_LENGTH = 65_536;

/** The answer of a status endpoint. @internal */
export interface StatusAnswer {
  /** The HTTP status. */
  readonly status: number;
  /** The users in the answer, without invalid entries. */
  readonly users: PresenceStatus[];
}

/**
 * Asks a status endpoint for the statuses of users.
 *
 * @throws the error of `fetch` or of the parser, and RangeError for an answer that is too long
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

/** Reads a text without holding much more than `maxLength` characters. @throws RangeError for a longer one */
async function textOf(response: Response, maxLength: number): Promise<string> {
  // Responses are not streams in React Native.
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
