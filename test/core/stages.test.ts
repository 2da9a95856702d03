import { expect, it } from 'vitest';
import { createPresence, type ErrorContext, memoryStore, type StoreFeed } from 'voiceping-presence';

it('what a store says of stages that there are not is of the stage "store"', () => {
  const feeds: StoreFeed[] = [];
  const store = memoryStore();
  const subscribe = store.subscribe.bind(store);
  store.subscribe = (feed) => {
    feeds.push(feed);
    return subscribe(feed);
  };
  const contexts: ErrorContext[] = [];
  createPresence({ store, onError: ({ code }, context) => contexts.push({ ...context, ...{ code } }) });
  for (const stage of ['sweep', 'vacuum', 'constructor', '__proto__', undefined, null]) {
    feeds[0]?.onError(stage as never, new Error('x'));
  }
  expect(contexts).toEqual(
    ['sweep', ...Array(5).fill('store')].map((stage) => ({ stage, code: 'ERR_PRESENCE_STORE' })),
  );
});
