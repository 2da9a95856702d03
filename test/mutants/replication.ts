import type { Mutant } from './mutant';

const ASIDE = 'src/replication/set-aside.ts';
const SURE = 'src/replication/until-sure.ts';

export const REPLICATION: readonly Mutant[] = [
  {
    id: 'refused-user-hammers',
    fault: 'A user whom the store refuses each time is tried again ten times a second.',
    file: ASIDE,
    find: '{ times: times + 1, until: now + waitMs, waitMs }',
    put: '{ times, until: now + waitMs, waitMs }',
    tests: ['test/core/set-aside.test.ts'],
  },
  {
    id: 'everybody-set-aside',
    fault: 'A store that refuses everybody has every user tried again alone, a minute apart.',
    file: ASIDE,
    find: 'return this.waiting.size >= MOST;',
    put: 'return false;',
    tests: ['test/core/set-aside.test.ts'],
  },
  {
    id: 'set-aside-until-the-clock-catches-up',
    fault: 'A user who was refused once is not tried again for hours after the clock was set back.',
    file: ASIDE,
    find: 'if (until <= now || until - now > waitMs) return one;',
    put: 'if (until <= now) return one;',
    tests: ['test/core/set-aside.test.ts'],
  },
  {
    id: 'set-aside-for-ever',
    fault: 'A user whom the store takes again after a refusal goes on to be told alone, and late.',
    file: ASIDE,
    find: 'this.waiting.delete(one);',
    put: '',
    tests: ['test/core/set-aside.test.ts'],
  },
  {
    id: 'doubt-is-an-answer',
    fault: 'A query right after the store has lost everything says that everybody is offline.',
    file: SURE,
    find: 'while (!isSure(answer)) {',
    put: 'while (answer === undefined) {',
    tests: ['test/core/until-sure.test.ts'],
  },
  {
    id: 'doubt-without-end',
    fault: 'A query waits for ever for a router that does not come back.',
    file: SURE,
    find: 'if (leftMs <= 0 || leftMs > ms) throw unsure();',
    put: '',
    tests: ['test/core/until-sure.test.ts'],
  },
  {
    id: 'doubt-until-the-clock-catches-up',
    fault: 'A query in doubt waits for hours where the clock was set back meanwhile.',
    file: SURE,
    find: 'if (leftMs <= 0 || leftMs > ms) throw unsure();',
    put: 'if (leftMs <= 0) throw unsure();',
    tests: ['test/core/set-aside.test.ts'],
  },
  {
    id: 'doubt-without-a-pause',
    fault: 'A query in doubt asks the store two hundred times a second.',
    file: SURE,
    find: 'clock.setTimeout(resolve, Math.min(PAUSE_MS, ms / 4));',
    put: 'clock.setTimeout(resolve, Math.min(PAUSE_MS, ms / 4) / 10);',
    tests: ['test/core/set-aside.test.ts'],
  },
];
