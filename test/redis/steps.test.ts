import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Link } from './link';
import { drop, HOUR_MS, join, leave, type Rig, rejoin, startRigs } from './steps';
import { sleep, until } from './wait';

let rigs: Awaited<ReturnType<typeof startRigs>>;
beforeAll(async () => {
  rigs = await startRigs();
});
afterAll(() => rigs.end());
const on = (run: (rig: Rig) => Promise<void>) => rigs.on(run);

describe('a router that has died', () => {
  it('leaves a user who is in grace on another router there', () =>
    on(async (rig) => {
      const [a, b] = [await rig.router('a'), await rig.router('b')];
      await a.apply(join('u'), join('alone'));
      await b.apply(join('u'), join('gone'));
      await a.apply(drop('u', HOUR_MS));
      await rig.die('b');
      await a.beat();
      await rig.reaped('b');
      await until('it is told', () => a.told.includes('gone offline node-down'));
      expect(await a.isOnline('u')).toBe(true);
      expect(a.told.filter((line) => line.includes('offline'))).toEqual(['gone offline node-down']);
    }));

  it('takes its users with it when several have, and nobody else’s', () =>
    on(async (rig) => {
      const routers = [await rig.router('a'), await rig.router('b'), await rig.router('c')] as const;
      const [a, b, c] = routers;
      for (const router of routers) await router.apply(join('all'), join(`of-${router.node.nodeId}`));
      await b.apply(join('b-and-c'));
      await c.apply(join('b-and-c'));
      await rig.die('b', 'c');
      await a.beat();
      await rig.reaped('b');
      await rig.reaped('c');
      const gone = ['of-b offline node-down', 'of-c offline node-down', 'b-and-c offline node-down'];
      await until('all is told', () => gone.every((line) => a.told.includes(line)));
      expect(a.told.filter((line) => line.includes('offline')).sort()).toEqual(gone.sort());
      expect([await a.isOnline('all'), await a.isOnline('of-a')]).toEqual([true, true]);
      // Nothing is left of them, so that no lease is ever made for them again.
      expect((await rig.admin.hkeys(rig.key('nodes'))).sort()).toEqual(['a']);
    }));

  it('gets an error for each call, none of which takes effect; under its next incarnation it registers its users again', () =>
    on(async (rig) => {
      const [a, b] = [await rig.router('a'), await rig.router('b')];
      await b.apply(join('u'), join('gone'));
      await rig.die('b');
      expect(await b.apply(join('late'))).toEqual({ known: false });
      expect(await b.refresh({ userId: 'u', ageMs: 0 })).toEqual({ known: false, missing: [] });
      expect(await a.isOnline('late')).toBe(false);
      expect((await b.beat()).known).toBe(false);
      await b.apply(rejoin('u'));
      await a.beat();
      await rig.reaped('b');
      await until('it is told', () => a.told.includes('gone offline node-down'));
      expect(await a.isOnline('u')).toBe(true);
      // Once more: each life has a name of its own.
      await rig.die('b');
      expect((await b.beat()).known).toBe(false);
      expect(await rig.admin.hkeys(rig.key('nodes'))).toContain('b~2');
    }));

  // A router that found its own entry as another one had made it anew took the data for older ones, and began others, in which
  // changes that were on their way to the rest were dropped.
  it.each([
    ['deleted', (rig: Rig) => rig.admin.del(rig.key('nodes'))],
    ['overwritten', (rig: Rig) => rig.admin.set(rig.key('nodes'), 'junk')],
  ])('each router registers again where the entries of all were %s, in the same data', (what, lose) =>
    on(async (rig) => {
      const [a, b, c] = [await rig.router('a'), await rig.router('b'), await rig.router('c')];
      for (const [at, router] of [a, b, c].entries()) await router.apply(join(`u${at}`));
      const epoch = () => rig.admin.hget(rig.key('meta'), 'epoch');
      const before = await epoch();
      await lose(rig);
      const known = [];
      for (const router of [a, b, c]) known.push((await router.beat()).known);
      expect([known, await epoch()]).toEqual([[false, false, false], before]);
      for (const [at, router] of [a, b, c].entries()) {
        expect(await router.apply(rejoin(`u${at}`))).toEqual({ known: true });
        expect((await router.beat()).known).toBe(true);
      }
      for (const userId of ['u0', 'u1', 'u2']) expect(await a.isOnline(userId)).toBe(true);
      expect([await epoch(), a.told.filter((line) => line.includes('offline'))]).toEqual([before, []]);
      expect(rig.failures.splice(0)).toHaveLength(what === 'deleted' ? 0 : 1);
    }),
  );

  it('is not taken for one that waits, twice in a row', () =>
    on(async (rig) => {
      const [a, b] = [await rig.router('a'), await rig.router('b')];
      await b.apply(join('u'));
      const deadline = async () => Number(await rig.admin.zscore(rig.key('lease'), 'b'));
      // Redis was away: no router had beaten for most of a lease.
      const away = async () => {
        const now = await rig.now();
        await rig.admin.hset(rig.key('meta'), 'at', now - 50_000);
        await rig.admin.zadd(rig.key('lease'), now - 10, 'b');
      };
      await away();
      await a.beat();
      expect(await deadline()).toBeGreaterThan(await rig.now());
      await away();
      await a.beat();
      await rig.reaped('b');
      await until('it is told', () => a.told.includes('u offline node-down'));
    }));

  it('and was the last owner of a user: without a presence key the user is offline, which is published later', () =>
    on(async (rig) => {
      const [a, b] = [await rig.router('a'), await rig.router('b')];
      await a.apply(join('of-a'));
      await b.apply(join('u'), join('keyed'));
      // Leases were extended ten seconds ago, and only this router has beaten since.
      const now = await rig.now();
      await rig.admin.hset(rig.key('meta'), 'extended', `${now - 10_000} ${now + 50_000}`);
      await rig.admin.hset(rig.key('nodes'), 'b', '60000 1 1 0');
      await rig.admin.del(`${rig.prefix}user:u`);
      expect(await a.status('u')).toMatchObject({ online: false, isPublished: true });
      expect([await a.isOnline('of-a'), await a.isOnline('keyed')]).toEqual([true, true]);
      expect(await a.store.count()).toBe(2);
    }));
});

describe('a connection that was lost before the answers came', () => {
  // The beat found an apply that it did not know, and the router continued under a new incarnation.
  it('is no loss: what the client sends again in the same order is done once, and the lease is there', () =>
    on(async (rig) => {
      const client = new Redis({ port: rigs.server.port });
      const a = await rig.router('a', { client });
      await a.apply(join('u'));
      // From then on by its hash.
      await a.refresh({ userId: 'u', ageMs: 0 });
      const evalsha = client.evalsha.bind(client);
      const again: Array<() => unknown> = [];
      const severed = (...args: Parameters<typeof evalsha>) => {
        const executed = evalsha(...args);
        return new Promise((resolve) => again.push(() => executed.then(() => resolve(evalsha(...args)))));
      };
      client.evalsha = severed as typeof evalsha;
      const beat = a.beat();
      await until('the beat is under way', () => again.length === 1);
      const answers = [beat, a.refresh({ userId: 'u', ageMs: 0 }), a.apply(leave('u'), join('v'))];
      await until('all are under way', () => again.length === 3);
      client.evalsha = evalsha;
      for (const send of again) send();
      expect(await Promise.all(answers)).toMatchObject([{ known: true }, { known: true }, { known: true }]);
      expect(await a.beat()).toMatchObject({ known: true });
      await until('it is told', () => a.told.length >= 3);
      expect(a.told).toEqual(['u online connect', 'u offline disconnect', 'v online connect']);
      expect(a.lost()).toBe(0);
    }));
});

describe('a grace', () => {
  it('that has ended ends nothing where another router holds the user', () =>
    on(async (rig) => {
      const [a, b] = [await rig.router('a'), await rig.router('b')];
      await a.apply(join('u'), join('v'));
      await b.apply(join('u'));
      await a.apply(drop('u', 20), drop('v', 20));
      await until('it is over', async () => {
        await a.beat();
        return a.told.includes('v offline timeout');
      });
      expect(await b.isOnline('u')).toBe(true);
      await b.apply(leave('u'));
      await until('it is told', () => a.told.includes('u offline disconnect'));
    }));

  it('is not cut short by a shorter one', () =>
    on(async (rig) => {
      const [a, b] = [await rig.router('a'), await rig.router('b')];
      await a.apply(join('u'), join('v'));
      await b.apply(join('u'));
      await a.apply(drop('u', HOUR_MS), drop('v', 20));
      await b.apply(drop('u', 20));
      await until('the short one is over', async () => {
        await a.beat();
        return a.told.includes('v offline timeout');
      });
      expect(await a.isOnline('u')).toBe(true);
    }));

  it('leaves nothing behind in Redis once the user is back, on whichever router', () =>
    on(async (rig) => {
      const [a, b] = [await rig.router('a'), await rig.router('b')];
      await a.apply(join('u'), join('v'), join('w'));
      await a.apply(drop('u', HOUR_MS), drop('v', HOUR_MS), drop('w', HOUR_MS));
      expect(await rig.admin.zcard(rig.key('grace'))).toBe(3);
      await a.apply(join('u'));
      await b.apply(join('v'));
      const left = await rig.admin.zrange(rig.key('grace'), 0, -1);
      expect(left.map((member) => member.slice(member.indexOf(':') + 1))).toEqual(['w']);
    }));

  it('is given to who was lost with the record, and may be on another router', () =>
    on(async (rig) => {
      const [a, b] = [await rig.router('a'), await rig.router('b')];
      await a.apply(join('u'));
      await b.apply(join('u'));
      await rig.admin.del(await rig.bucketOf('u'));
      await a.apply(rejoin('u'));
      await a.apply(leave('u'));
      await b.apply(rejoin('u'));
      expect(await a.isOnline('u')).toBe(true);
      await until('it is told', () => a.told.length > 1);
      expect(a.told).toEqual(['u online connect', 'u online resync']);
    }));
});

describe('what is lost', () => {
  it('versions continue above all earlier ones, also where no router remembers them', () =>
    on(async (rig) => {
      const a = await rig.router('a');
      await a.apply(join('u'), leave('u'));
      await until('it is told', () => a.versions.length === 2);
      await rig.flush();
      const b = await rig.router('b');
      await b.apply(join('v'));
      await until('it is told', () => b.versions.length === 1);
      expect(b.versions[0]).toBeGreaterThan(Math.max(...a.versions));
    }));

  // The beat that found them missing started a new epoch after it had published, and other routers dropped its messages.
  it.each([
    ['are missing', null],
    ['were counted anew', '~1'],
  ])('where counts %s, what the beat has told is told to those, too, whom its answer reaches first', (_, counting) =>
    on(async (rig) => {
      const link = await Link.start(rigs.server.port);
      const client = new Redis({ port: rigs.server.port });
      client.duplicate = () => new Redis({ port: link.port });
      try {
        const [a, b] = [await rig.router('a'), await rig.router('b', { client })];
        await a.apply(join('u'), join('v'));
        await until('both hear', () => b.told.length === 2);
        const [lostA, lostB] = [a.lost(), b.lost()];
        await a.apply(drop('u', 1));
        await sleep(5);
        link.silence();
        if (counting === null) await rig.admin.del(rig.key('count'));
        else await rig.admin.hset(rig.key('count'), '', counting);
        await a.beat();
        await b.beat();
        link.mend();
        await until('both have heard', () => a.told.length === 3 && b.told.length === 3);
        for (const { told } of [a, b]) expect(told[2]).toBe('u offline timeout');
        await until('both assert whom they hold', async () => {
          await Promise.all([a.beat(), b.beat()]);
          return a.lost() > lostA && b.lost() > lostB;
        });
      } finally {
        link.close();
      }
    }),
  );

  it('no query answers offline before each router of that time has registered all of its users', () =>
    on(async (rig) => {
      const [a, b] = [await rig.router('a'), await rig.router('b')];
      await a.apply(join('of-a'));
      await b.apply(join('of-b'));
      // Each beat says who else is there.
      await a.beat();
      await b.beat();
      await rig.flush();
      expect((await a.beat()).known).toBe(false);
      expect(a.lost()).toBeGreaterThan(0);
      expect(await a.status('of-b')).toMatchObject({ isUnsure: true });
      await a.apply(rejoin('of-a'));
      await a.store.registered?.(a.node);
      expect(await a.status('of-b')).toMatchObject({ isUnsure: true });
      await b.beat();
      await b.apply(rejoin('of-b'));
      await b.store.registered?.(b.node);
      expect(await a.status('of-b')).toMatchObject({ online: true });
      expect((await a.status('nobody')).isUnsure).not.toBe(true);
    }));

  it('data set back to before somebody came: who is missing there is not said to be offline', () =>
    on(async (rig) => {
      const a = await rig.router('a');
      await a.apply(join('before'));
      const seq = await rig.admin.hget(rig.key('meta'), 'seq');
      await a.apply(join('since'));
      await rig.admin.hset(rig.key('meta'), 'seq', String(seq));
      await rig.admin.hdel(await rig.bucketOf('since'), 'since');
      await rig.admin.del(`${rig.prefix}user:since`);
      expect(await a.status('since')).toMatchObject({ isUnsure: true });
      expect(await a.store.count()).toBeUndefined();
    }));

  it('work that was acknowledged and is missing: its router is refused, so that it tells everybody again', () =>
    on(async (rig) => {
      const a = await rig.router('a');
      await a.apply(join('u'));
      await a.apply(join('v'));
      // A failover has lost the second one.
      await rig.admin.hset(rig.key('nodes'), 'a', '60000 0 1 0');
      expect(await a.apply(join('w'))).toEqual({ known: false });
      expect(await a.isOnline('w')).toBe(false);
      expect((await a.beat()).known).toBe(false);
    }));

  it('a call that the client sends again because its answer was lost takes effect once', () =>
    on(async (rig) => {
      const client = new Redis({ port: rigs.server.port });
      const a = await rig.router('a', { client });
      const b = await rig.router('b');
      let isTwice = true;
      for (const name of ['eval', 'evalsha'] as const) {
        const once = client[name].bind(client) as (...args: unknown[]) => Promise<unknown>;
        client[name] = (async (...args: unknown[]) => {
          const answer = await once(...args);
          return isTwice ? once(...args) : answer;
        }) as never;
      }
      await a.apply(join('u'), leave('u'), join('u'));
      isTwice = false;
      await a.apply(leave('u'));
      await until('all is told', () => b.told.includes('u offline disconnect') && b.told.length >= 4);
      expect(b.told).toEqual(['u online connect', 'u offline disconnect', 'u online connect', 'u offline disconnect']);
    }));
});

describe('a router that leaves', () => {
  it('takes along at once whom it still holds, and nobody who is elsewhere, too', () =>
    on(async (rig) => {
      const [a, b] = [await rig.router('a'), await rig.router('b')];
      await b.apply(join('u'), join('both'));
      await a.apply(join('both'));
      await b.store.release(b.node);
      await until('it is told', () => a.told.includes('u offline node-down'));
      expect(await a.isOnline('both')).toBe(true);
      expect(await rig.admin.zrange(rig.key('lease'), 0, -1)).toEqual(['a']);
    }));
});

describe('who subscribes', () => {
  it('receives no earlier changes, also where these arrive later', () =>
    on(async (rig) => {
      const client = new Redis({ port: rigs.server.port });
      const duplicate = client.duplicate.bind(client);
      let held: Array<() => void> | undefined;
      client.duplicate = (overrides) => {
        const connection = duplicate(overrides);
        const emit = connection.emit.bind(connection);
        connection.emit = (event: string, ...values: unknown[]) => {
          if (event !== 'message' || held === undefined) return emit(event, ...values);
          held.push(() => void emit(event, ...values));
          return true;
        };
        return connection;
      };
      const [a, b] = [await rig.router('a', { client }), await rig.router('b')];
      await b.apply(join('early'));
      await until('it is heard', () => a.told.length === 1);
      held = [];
      await b.apply(join('before'));
      // Its answer says how far the changes are.
      await a.beat();
      const told: string[] = [];
      const feed = { onGap() {}, onDue() {}, onLost() {}, onError() {} };
      const end = a.store.subscribe({ ...feed, onTransition: ({ userId }) => told.push(userId) });
      await until('the message is there', () => held?.length === 1);
      const late = held;
      held = undefined;
      for (const arrive of late) arrive();
      await b.apply(join('after'));
      await until('it is heard, too', () => a.told.length === 3 && told.includes('after'));
      end();
      expect(told).toEqual(['after']);
    }));
});
