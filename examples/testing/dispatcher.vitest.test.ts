import { expect, it } from 'vitest';
import { createPresence, memoryStore } from 'voiceping-presence';
import { fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { Dispatcher } from './dispatcher';

// With vitest: npx vitest run examples/testing

it('tells of users of another router that shares the store, and when that one shuts down', async () => {
  const clock = fakeClock();
  const store = memoryStore({ now: () => clock.now() });
  const [east, west] = [createPresence({ clock, store }), createPresence({ clock, store })];
  const changes: string[] = [];
  west.onUpdate(({ userId, status, reason }) => changes.push(`${userId} ${status} ${reason}`));

  new Dispatcher(east).connect(fakeSocket(), 'acme_u1');
  await clock.advance(0);
  const dispatcher = new Dispatcher(west);
  expect(await dispatcher.call('acme_u1')).toBe('ringing');

  await east.close();
  expect(await dispatcher.call('acme_u1')).toMatch(/^last seen /);
  expect(changes).toEqual(['acme_u1 online connect', 'acme_u1 offline disconnect']);
  await west.close();
});
