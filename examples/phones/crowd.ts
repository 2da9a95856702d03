import { Phone } from './phone';

const COMPANIES: ReadonlyArray<readonly [string, string]> = [
  ['harbour', 'amira bogdan chloe dmitri elena farid grace hugo ines jamal kofi lucia mateo nadia'],
  ['nordbau', 'anders birgit claus dorte emil freja gustav hanne ivar jonas karin lars mette'],
  ['acme', 'omar priya quentin rosa sven tara umar vera wanda xavier yuki zoe noor'],
];

/** Ids of forty people, as phones have them: `<company>_<user>`. */
export const CROWD: readonly string[] = COMPANIES.flatMap(([company, names]) =>
  names.split(' ').map((name) => `${company}_${name}`),
);

/** Phones that live: they talk, lose their network, hang, log out, and come back. Returns the function that ends it. */
export function startCrowd(url: string, userIds: readonly string[] = CROWD): () => void {
  const timers = new Set<NodeJS.Timeout>();
  const phones = userIds.map((userId) => new Phone({ url, userId, pingIntervalMs: 10_000 }));

  const later = (run: () => void, ms: number): void => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      run();
    }, ms);
    timers.add(timer);
  };
  const between = (from: number, to: number): number => from + Math.random() * (to - from);

  function live(phone: Phone): void {
    const dice = Math.random();
    let pauseMs = between(2_000, 9_000);
    if (!phone.isConnected) {
      // Still coming back.
    } else if (dice < 0.72) {
      phone.call(userIds[Math.floor(Math.random() * userIds.length)] as string);
    } else if (dice < 0.84) {
      phone.drop();
      pauseMs += 6_000;
    } else if (dice < 0.9) {
      phone.drop(between(15_000, 30_000));
      pauseMs += 30_000;
    } else if (dice < 0.97) {
      phone.close();
      later(() => phone.connect(), between(4_000, 20_000));
      pauseMs += 20_000;
    } else {
      phone.freeze();
      later(() => phone.thaw(), 30_000);
      pauseMs += 36_000;
    }
    later(() => live(phone), pauseMs);
  }

  for (const phone of phones) {
    later(
      () => {
        phone.connect();
        later(() => live(phone), between(3_000, 12_000));
      },
      between(0, 2_500),
    );
  }
  return () => {
    for (const timer of timers) clearTimeout(timer);
    for (const phone of phones) phone.close();
  };
}
