import type { Mutant } from './mutant';

const DELIVERY = 'src/deliveries/delivery.ts';
const REPORTER = 'src/diagnostics/error-reporter.ts';
const CHANGES = 'src/deliveries/changes.ts';
const TESTS = ['test/deliveries/deliveries.test.ts'];
const MEMORY = ['test/stores/memory.test.ts'];

/** Faults in the delivery of changes, and in the log from which they come. */
export const DELIVERIES: readonly Mutant[] = [
  {
    id: 'calls-pile-up',
    fault: 'A handler that never ends is called again for ever, and each call holds a batch in memory.',
    file: DELIVERY,
    find: 'if (this.unanswered >= MOST_UNANSWERED)',
    put: 'if (this.unanswered < 0)',
    tests: TESTS,
  },
  {
    id: 'tokens-begin-again',
    fault: 'After the store has lost its data, a sink that keeps the greatest token refuses everything.',
    file: 'src/stores/memory/memory-log.ts',
    find: 'delivery.token = Math.max(delivery.token + 1, Math.ceil(this.host.now()));',
    put: 'delivery.token += 1;',
    tests: TESTS,
  },
  {
    id: 'pages-of-a-listing-look-alike',
    fault: 'A sink cannot tell a listing that begins again from its next page.',
    file: CHANGES,
    find: 'const cursor = isLast ? head : [head, part + 1, listed.cursor].join(LISTING);',
    put: "const cursor = isLast ? head : [head, 1, listed.cursor].join(LISTING).replace('~1~', '~2~');",
    tests: TESTS,
  },
  {
    id: 'deliveries-share-a-kind',
    fault: 'Of two deliveries that fail in the same minute, the log names one.',
    file: REPORTER,
    find: 'return before < MOST_NAMED_DELIVERIES ? key : stage;',
    put: 'return before < 0 ? key : stage;',
    tests: TESTS,
  },
  {
    id: 'delivery-is-no-problem',
    fault: 'A router whose deliveries fail says that it is well.',
    file: REPORTER,
    find: "const isLasting = CODES[stage] === 'ERR_PRESENCE_STORE' || stage === 'delivery';",
    put: "const isLasting = CODES[stage] === 'ERR_PRESENCE_STORE';",
    tests: TESTS,
  },
  {
    id: 'ended-delivery-stays-a-problem',
    fault: 'A router whose receiver wants no more is degraded for ever.',
    file: DELIVERY,
    find: 'if (this.held === undefined) this.host.failures.forget();',
    put: 'if (this.held === undefined) this.refusals += 0;',
    tests: TESTS,
  },
  {
    id: 'position-moves-before-the-handler',
    fault: 'Changes that a handler has refused are never delivered.',
    file: DELIVERY,
    find: 'held.retry = batch;',
    put: 'held.done = batch.cursor;',
    tests: TESTS,
  },
  {
    id: 'position-moves-within-a-listing',
    fault: 'A router that dies within the listing after a gap leaves the rest of it out.',
    file: DELIVERY,
    find: 'if (batch.gap && batch.more === true) return;',
    put: 'if (batch.gap && batch.more === true) { await this.advance(held, { cursor: batch.cursor }); return; }',
    tests: TESTS,
  },
  {
    id: 'another-batch-at-a-retry',
    fault: 'A batch that is sent again has other changes, and so another id.',
    file: DELIVERY,
    find: 'const batch = held.retry ?? (await this.host.read(held.done, this.settings.batch));',
    put: 'const batch = await this.host.read(held.done, this.settings.batch);',
    tests: TESTS,
  },
  {
    id: 'retry-after-ignored',
    fault: 'A receiver that asks for time is called again after a second.',
    file: DELIVERY,
    find: 'retryAfterMs: isWait ? Math.min(retryAfterMs, MOST_RETRY_AFTER_MS) : 0',
    put: 'retryAfterMs: 0',
    tests: TESTS,
  },
  {
    id: 'ended-delivery-goes-on',
    fault: 'A receiver that wants no more is called again.',
    file: DELIVERY,
    find: 'const { isEnded } = adviceOf(error);',
    put: 'const isEnded = false;',
    tests: TESTS,
  },
  {
    id: 'handler-without-deadline',
    fault: 'A handler that never answers ends the delivery for ever, in silence.',
    file: DELIVERY,
    find: 'await withCallbackDeadline(clock, timeoutMs, `the handler of ${name}`, () => this.call(held, batch));',
    put: 'await this.call(held, batch);',
    tests: TESTS,
  },
  {
    id: 'claim-kept-after-close',
    fault: 'A router that is shut down keeps the others from delivering for a lease.',
    file: DELIVERY,
    find: 'await this.advance(held, { isReleased: true }).catch(() => undefined);',
    put: '',
    tests: TESTS,
  },
  {
    id: 'gap-without-listing',
    fault: 'After a gap nobody learns who is online.',
    file: CHANGES,
    find: 'if (read.isGap) return this.list(read.cursor, 0, null);',
    put: '',
    tests: TESTS,
  },
  {
    id: 'log-cut-in-silence',
    fault: 'Whoever is further behind than the log reaches is given what is left, and not told.',
    file: 'src/stores/memory/memory-log.ts',
    find: 'position.version > head || from < oldest',
    put: 'position.version > head',
    tests: TESTS,
  },
  {
    id: 'log-keeps-everything',
    fault: 'The log of a long-lived process takes all of its memory.',
    file: 'src/stores/memory/memory-log.ts',
    find: 'if (!isTooMany && now() - page.lastAt <= logMs) break;',
    put: 'if (now() - page.lastAt <= logMs) break;',
    tests: TESTS,
  },
  {
    id: 'two-hold-a-delivery',
    fault: 'Two routers deliver the same changes.',
    file: 'src/stores/memory/memory-log.ts',
    find: 'if (isHeld || isEnded ||',
    put: 'if (isEnded ||',
    tests: MEMORY,
  },
  {
    id: 'fence-is-open',
    fault: 'A router that stood still moves the position of the one that has taken over.',
    file: 'src/stores/memory/memory-log.ts',
    find: 'delivery.token !== token ||',
    put: '',
    tests: MEMORY,
  },
  {
    id: 'redis-fence-is-open',
    fault: 'On Redis, a router that stood still moves the position of the one that has taken over.',
    file: 'src/stores/redis/lua/advance.lua',
    find: "if token ~= claimed or holder == '' then return '0' end",
    put: "if holder == '' then return '0' end",
    tests: ['test/stores/redis.test.ts'],
  },
  {
    id: 'redis-log-starts-in-the-middle',
    fault: 'A cursor within a step of many changes loses the rest of that step.',
    file: 'src/stores/redis/changes/log-reader.ts',
    find: 'if (before !== undefined && isNext(before)) take(before);',
    put: '',
    tests: ['test/redis/changes.test.ts'],
  },
];

const WEBHOOK = 'src/webhook/index.ts';
const HOOKS = ['test/webhook/webhook.test.ts'];

/** Faults in webhooks. */
export const WEBHOOKS: readonly Mutant[] = [
  {
    id: 'private-address-is-called',
    fault: 'Whoever may name the address of a webhook reaches into the network of the router.',
    file: 'src/webhook/addresses.ts',
    find: "return parsed.range() === 'unicast';",
    put: 'return true;',
    tests: HOOKS,
  },
  {
    id: 'redirect-is-done',
    fault: 'Changes are lost at a receiver that has moved.',
    file: WEBHOOK,
    find: 'if (status >= 200 && status <= 299) return;',
    put: 'if (status >= 200 && status <= 399) return;',
    tests: HOOKS,
  },
  {
    id: 'id-differs-at-a-retry',
    fault: 'A receiver takes a request that comes again for another one.',
    file: WEBHOOK,
    find: "const id = `msg_${createHash('sha256').update(body).digest('hex').slice(0, 32)}`;",
    put: 'const id = `msg_${Math.random()}`;',
    tests: HOOKS,
  },
  {
    id: 'one-secret-signs',
    fault: 'A receiver that knows only the older secret verifies nothing while it is replaced.',
    file: 'src/webhook/signature.ts',
    find: 'return keys.map(',
    put: 'return keys.slice(0, 1).map(',
    tests: HOOKS,
  },
  {
    id: 'long-answer-is-read',
    fault: 'A receiver makes a router read as much as it likes.',
    file: 'src/webhook/poster.ts',
    find: 'if (bytes > MOST_IGNORED_BYTES) response.destroy();',
    put: '',
    tests: HOOKS,
  },
];
