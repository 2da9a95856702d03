import type { Mutant } from './mutant';

const CLOCK = 'src/testing/fake-clock.ts';
const SOCKET = 'src/testing/fake-socket.ts';

/** Faults in the helpers for tests of users. */
export const TESTING: readonly Mutant[] = [
  {
    id: 'timers-out-of-order',
    fault: 'The fake clock runs timers in the order in which they were set.',
    file: CLOCK,
    find: 'if (timer.due <= until && (soonest === undefined || timer.due < soonest.due)) soonest = timer;',
    put: 'if (timer.due <= until && soonest === undefined) soonest = timer;',
    tests: ['test/testing/fakes.test.ts'],
  },
  {
    id: 'timers-at-the-end',
    fault: 'A timer of the fake clock runs at the end of an advance, and not at its own time.',
    file: CLOCK,
    find: 'if (!keepTime) elapsed = Math.max(elapsed, timer.due);',
    put: 'if (!keepTime) elapsed = Math.max(elapsed, until);',
    tests: ['test/testing/fakes.test.ts'],
  },
  {
    id: 'timers-moved-by-the-wall-clock',
    fault: 'Setting the fake clock moves its running timers.',
    file: CLOCK,
    find: 'offset = now - elapsed;',
    put: 'elapsed = now - offset;',
    tests: ['test/testing/fakes.test.ts'],
  },
  {
    id: 'cleared-timer-runs',
    fault: 'A timer that was cleared while another one ran at the same time runs all the same.',
    file: CLOCK,
    find: 'timers.delete(timer as Timer);',
    put: '',
    tests: ['test/testing/fakes.test.ts'],
  },
  {
    id: 'no-time-between-timers',
    fault: 'Promises that a timer of the fake clock awaits are not settled when the next timer runs.',
    file: CLOCK,
    find: 'timer.run(); await settle();',
    put: 'timer.run();',
    tests: ['test/testing/fakes.test.ts'],
  },
  {
    id: 'closed-twice',
    fault: 'A fake socket that is closed twice emits close twice.',
    file: SOCKET,
    find: 'if (this.readyState === CLOSED) return;',
    put: '',
    tests: ['test/testing/fakes.test.ts'],
  },
  {
    id: 'drop-is-a-close',
    fault: 'A fake socket that loses its connection closes cleanly, so that no test of a grace has one.',
    file: SOCKET,
    find: 'this.close(1006);',
    put: 'this.close();',
    tests: ['test/testing/fakes.test.ts'],
  },
  {
    id: 'always-answers',
    fault: 'A fake socket that is to answer no pings answers them, so a phone that died is never tested.',
    file: SOCKET,
    find: "if (this.answersPings) this.emit('pong', Buffer.alloc(0));",
    put: "this.emit('pong', Buffer.alloc(0));",
    tests: ['test/testing/fakes.test.ts'],
  },
];
