import type { PresenceStatus } from '../public/types';
import { readUser } from './codec';
import type { Listeners } from './listeners';
import type { View } from './view';

/** The most characters of an answer for each id: an id may have 256 bytes, each escaped as six characters, and appears twice. */
const MAX_LENGTH_PER_ID = 4_096;
const MAX_LENGTH = 65_536;

/** Requests to the status endpoint of the router, where it has one. @internal */
export interface StatusEndpoint {
  /** Loads the statuses of listed ids, to show them until the socket delivers them. Only the first call has an effect. */
  load(token: string | undefined): void;
  /** The socket has delivered them, or the client is closed: an answer that comes later is ignored. */
  outdate(): void;
  /** Finds out why the router refuses connections, since browsers do not report it. `judge` gets the HTTP status. */
  check(token: string | undefined, judge: (status: number) => void): void;
}

/** @internal */
export function createStatusEndpoint(url: string | undefined, view: View, listeners: Listeners): StatusEndpoint {
  let isLoaded = false;
  let isOutdated = false;
  let isChecking = false;
  const listed = (): readonly string[] => (view.ids === true ? [] : view.ids);
  return {
    load(token) {
      const isFirst = !isLoaded;
      isLoaded = true;
      if (!isFirst || !url || listed().length === 0) return;
      const show = ({ users }: StatusAnswer): void => {
        if (isOutdated) return;
        const watched = users.filter(view.isWatched);
        for (const user of watched) view.users.set(user.userId, user);
        listeners.tell(watched);
      };
      // A failure is ignored, since the socket delivers the statuses a little later.
      fetchStatuses(url, token, listed()).then(show, () => undefined);
    },
    outdate() {
      isOutdated = true;
    },
    check(token, judge) {
      if (!url || isChecking) return;
      isChecking = true;
      const done = ({ status }: Pick<StatusAnswer, 'status'>): void => {
        isChecking = false;
        judge(status);
      };
      fetchStatuses(url, token, listed()).then(done, () => done({ status: 0 }));
    },
  };
}

/** The answer of a status endpoint. */
interface StatusAnswer {
  /** The HTTP status. */
  readonly status: number;
  /** The users in the answer, without invalid entries. */
  readonly users: PresenceStatus[];
}

/**
 * Asks a status endpoint for the statuses of users.
 *
 * @throws the error of `fetch` or of the parser, and RangeError for an answer that is too long
 */
async function fetchStatuses(
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
  if (response.ok) {
    const answer: unknown = JSON.parse(await textOf(response, MAX_LENGTH + userIds.length * MAX_LENGTH_PER_ID));
    for (const value of Object.values(answer as object)) {
      const user = readUser(value);
      if (user) users.push(user);
    }
  }
  return { status: response.status, users };
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
