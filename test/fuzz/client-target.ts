import { encode } from '@msgpack/msgpack';
import { readFrame, type Said, SNAPSHOT, STALE, UPDATE, WATCH } from '../../src/client/codec';
import { createView, type View } from '../../src/client/view';
import type { Random } from '../random';
import { HONEST, hostileFrame, routerMessage } from './mutate';
import { guarded, isId, isStatus, isTime, type Target, Violations } from './target';

/** A router may give no cursor that is longer. */
const MAX_CURSOR = 1_024;

const isAbsentOr = (type: string, value: unknown): boolean => value === undefined || typeof value === type;
const isNumber = (value: unknown): boolean => value === undefined || Number.isSafeInteger(value);

/** The frame reader and the view of the client, and a router that means no good. */
export function clientTarget(dice: Random): Target {
  const violations = new Violations();
  const counts = { accepted: 0, refused: 0, ignored: 0 };
  let view = createView(true);

  function checkUser(user: { userId: unknown; status: unknown; lastSeen: unknown }, bytes: Uint8Array): void {
    violations.check(isId(user.userId), 'a user whose id is none', bytes);
    violations.check(isStatus(user.status), 'a user whose status is none', bytes);
    violations.check(user.lastSeen === null || isTime(user.lastSeen), 'a user whose lastSeen is no time', bytes);
  }

  function checkSaid(said: Said, bytes: Uint8Array): void {
    if (said.kind === UPDATE) {
      checkUser(said.user, bytes);
      violations.check(Number.isSafeInteger(said.version), 'an update whose version is none', bytes);
    }
    if (said.kind === SNAPSHOT) {
      for (const user of said.users) checkUser(user, bytes);
      violations.check(isNumber(said.request) && isNumber(said.part), 'a snapshot whose numbers are none', bytes);
      violations.check(isAbsentOr('boolean', said.more), 'a snapshot of which `more` is no boolean', bytes);
      violations.check(isAbsentOr('boolean', said.resumed), 'a snapshot of which `resumed` is no boolean', bytes);
    }
    if (said.kind === UPDATE || said.kind === SNAPSHOT) {
      const { cursor } = said;
      violations.check(
        isAbsentOr('string', cursor) && (cursor?.length ?? 0) <= MAX_CURSOR,
        'a cursor that is none',
        bytes,
      );
    }
    if (said.kind === WATCH) violations.check(isAbsentOr('string', said.error), 'a refusal without words', bytes);
    if (said.kind === STALE) {
      violations.check(
        typeof said.stale === 'boolean' && (said.asOf === null || isTime(said.asOf)),
        'a stale frame that says nothing',
        bytes,
      );
    }
  }

  function show(to: View, bytes: Uint8Array): boolean {
    const said = readFrame(bytes);
    if (said === undefined) return false;
    if (said.kind === UPDATE) to.update(said);
    else if (said.kind === SNAPSHOT) to.show(said);
    checkSaid(said, bytes);
    return true;
  }

  /** Whatever it was shown before: after a snapshot it is right, and so it is after an update. */
  function checkHonest(): void {
    const status = (userId: string): string | undefined => view.users.get(userId)?.status;
    const snapshot = { request: view.asked, part: 0, more: false, resumed: false, cursor: 'a.5' };
    const users = HONEST.slice(0, 6).map((userId) => ({ userId, status: 'online', lastSeen: null }));
    show(view, encode({ messageType: 32, users, ...snapshot }));
    const online = Array.from(view.users.keys()).filter((userId) => status(userId) === 'online');
    violations.check(
      online.sort().join() === HONEST.slice(0, 6).sort().join(),
      'a view wrong after a snapshot',
      online,
    );
    const update = { messageType: 31, fromId: 'honest0', timestamp: new Date(1e12).toISOString() };
    show(view, encode({ ...update, status: 'offline', version: 7 }));
    show(view, encode({ ...update, status: 'online', version: 6 }));
    violations.check(status('honest0') === 'offline', 'a view wrong after an update', status('honest0'));
  }

  return {
    counts,
    floors: { accepted: 200, refused: 0, ignored: 100 },
    async feed(frames) {
      for (let frame = 0; frame < frames; frame += 1) {
        const bytes = hostileFrame(dice, routerMessage(dice));
        if (guarded('the client', bytes, () => show(view, bytes))) counts.accepted += 1;
        else counts.ignored += 1;
      }
      checkHonest();
      // It knows whomever a router names, so another one goes on.
      if (dice.chance(0.2)) view = createView(dice.chance(0.5) ? true : HONEST);
    },
    async check() {
      view = createView(true);
      checkHonest();
      return violations.list();
    },
  };
}
