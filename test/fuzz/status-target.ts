import type { FakeSocket } from 'voiceping-presence/testing';
import { createStatusCore, type StatusRequest } from '../../src/http/status-handler';
import { router } from '../core/world';
import type { Random } from '../random';
import { HONEST, hostileMessage, hostileText } from './mutate';
import { isStatus, isTime, shown, type Target, Violations } from './target';

type StatusBody = Awaited<ReturnType<StatusRequest<unknown>['body']>>;

const MAX_IDS = 100;
const REFUSALS = [400, 403, 413];

interface Status {
  readonly userId: unknown;
  readonly status: unknown;
  readonly lastSeen: unknown;
}

/** The status handler, and bodies of strangers. */
export async function statusTarget(dice: Random): Promise<Target> {
  const { connect, presence } = await router();
  const phones = new Map<string, FakeSocket>();
  for (const userId of HONEST) phones.set(userId, await connect(userId));
  for (const userId of HONEST.slice(6)) phones.get(userId)?.close();
  const truth = (userId: string): string => (phones.get(userId)?.readyState === 1 ? 'online' : 'offline');

  const violations = new Violations();
  const counts = { accepted: 0, refused: 0, ignored: 0 };
  const answers = (['guide', 'router'] as const).map((format) => {
    return createStatusCore(presence, { maxIds: MAX_IDS, format, authorize: (_request, ids) => !ids.includes('x') });
  });

  function body(): StatusBody {
    const message = {
      userIds: dice.chance(0.5) ? HONEST : [dice.pick(HONEST), dice.below(1_000), `u${dice.below(99)}`],
    };
    return dice.pick<() => StatusBody>([
      () => ({ parsed: hostileMessage(dice, message) }),
      () => ({ bytes: hostileText(dice, message) }),
      () => ({ bytes: hostileText(dice, message).toString() }),
    ])();
  }

  function checkStatuses(text: string, given: StatusBody): void {
    const value = JSON.parse(text);
    const statuses: Status[] = Array.isArray(value.users) ? value.users : Object.values(value);
    violations.check(statuses.length <= MAX_IDS, 'more statuses than may be asked for', given);
    for (const { userId, status, lastSeen } of statuses) {
      const isWell = isStatus(status) && (lastSeen === null || typeof lastSeen === 'number' || isTime(lastSeen));
      violations.check(isWell, 'a status that is none', given);
      if (HONEST.includes(String(userId))) violations.check(status === truth(String(userId)), 'a wrong status', given);
    }
  }

  return {
    counts,
    floors: { accepted: 200, refused: 200, ignored: 0 },
    async feed(frames) {
      for (let frame = 0; frame < frames; frame += 1) {
        const given = body();
        const request = { method: 'POST', header: () => undefined, body: async () => given, original: {} };
        const { status, body: text } = await dice
          .pick(answers)(request)
          .catch((error: unknown) => {
            throw new Error(`the status handler threw for ${shown(given)}: ${(error as Error).stack}`);
          });
        if (status === 200) {
          counts.accepted += 1;
          checkStatuses(text, given);
          continue;
        }
        counts.refused += 1;
        violations.check(REFUSALS.includes(status), `an answer ${status}`, given);
        violations.check(typeof JSON.parse(text).error === 'string', 'a refusal without words', given);
      }
    },
    check: async () => violations.list(),
  };
}
