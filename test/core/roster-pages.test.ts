import { describe, expect, it } from 'vitest';
import { type RosterPage, RosterPages } from '../../src/replication/roster-pages';
import { random } from '../random';

const idsOn = (pages: RosterPages): string[][] => {
  const found: string[][] = [];
  for (let page: RosterPage | undefined = pages.start; page !== undefined; page = page.next) {
    found.push(Array.from(page.userIds));
  }
  return found;
};

describe('the pages of a roster', () => {
  it('have 500 users at most, in the order in which they came', () => {
    const pages = new RosterPages();
    expect(idsOn(pages)).toEqual([[]]);
    const ids = Array.from({ length: 1_234 }, (_, user) => `u${user}`);
    for (const id of ids) pages.add(id);
    expect(idsOn(pages).map(({ length }) => length)).toEqual([500, 500, 234]);
    expect(idsOn(pages).flat()).toEqual(ids);
  });

  it('are joined where few users are left, and whoever stands on one goes on with the next', () => {
    const pages = new RosterPages();
    const places = new Map<string, RosterPage>();
    for (let user = 0; user < 1_500; user += 1) places.set(`u${user}`, pages.add(`u${user}`));
    const [first, second] = [pages.start, pages.start.next as RosterPage];
    const remove = (user: number) => pages.remove(`u${user}`, places.get(`u${user}`) as RosterPage);
    for (let user = 500; user < 950; user += 1) remove(user);
    // The third page is full.
    expect(idsOn(pages).map(({ length }) => length)).toEqual([500, 50, 500]);
    const before = pages.changes;
    for (let user = 1_000; user < 1_060; user += 1) remove(user);
    remove(950);
    expect(idsOn(pages).map(({ length }) => length)).toEqual([500, 489]);
    expect(pages.changes).toBeGreaterThan(before);
    expect(second.userIds.size).toBe(0);
    expect(second.next?.userIds.has('u951')).toBe(true);
    expect(first.next).toBe(second.next);
    expect(second.next?.joinedAt).toBe(pages.changes);
    // Found again, although the page on which they came is empty.
    remove(951);
    expect(idsOn(pages).flat()).not.toContain('u951');
  });

  it('show everybody who is online all the time to walkers of any speed, and nobody who is not', () => {
    const dice = random();
    console.log(`pages of a roster: SEED=${dice.seed}`);
    const pages = new RosterPages();
    const places = new Map<string, RosterPage>();
    const add = (id: string) => places.set(id, pages.add(id));
    const remove = (id: string) => {
      pages.remove(id, places.get(id) as RosterPage);
      places.delete(id);
    };
    for (let user = 0; user < 4_000; user += 1) add(`u${user}`);
    let compared = 0;
    const wrong: string[] = [];
    interface Walker {
      page: RosterPage | undefined;
      readonly speed: number;
      readonly seen: Set<string>;
      /** Who was online when it began, and has not left since. */
      readonly stayed: Set<string>;
    }
    let walkers: Walker[] = [];
    for (let round = 0; round < 6_000; round += 1) {
      if (walkers.length < 20) {
        walkers.push({
          page: pages.start,
          speed: 0.001 + dice.next() / 3,
          seen: new Set(),
          stayed: new Set(places.keys()),
        });
      }
      for (let change = dice.below(20); change > 0; change -= 1) {
        // In waves, so that pages are emptied and joined.
        const id = `u${dice.below(4_000)}`;
        const isComing = dice.chance(round % 1_500 < 700 ? 0.25 : 0.75);
        if (isComing && !places.has(id)) add(id);
        else if (!isComing && places.has(id)) {
          remove(id);
          for (const { stayed } of walkers) stayed.delete(id);
        }
      }
      for (const walker of walkers) {
        if (!dice.chance(walker.speed) || walker.page === undefined) continue;
        expect(walker.page.userIds.size).toBeLessThanOrEqual(500);
        for (const id of walker.page.userIds) {
          if (!places.has(id)) wrong.push(`${id} is shown, who is offline`);
          walker.seen.add(id);
        }
        walker.page = walker.page.next;
        if (walker.page !== undefined) continue;
        for (const id of walker.stayed) if (!walker.seen.has(id)) wrong.push(`${id} was passed by`);
        compared += walker.stayed.size;
      }
      walkers = walkers.filter(({ page }) => page !== undefined);
    }
    expect(idsOn(pages).flat().sort()).toEqual(Array.from(places.keys()).sort());
    expect(wrong).toEqual([]);
    expect(compared).toBeGreaterThan(10_000);
  });
});
