import { decode } from '@msgpack/msgpack';
import type { FakeSocket } from 'voiceping-presence/testing';
import { readFrame, SNAPSHOT, UPDATE, watchFrame } from '../../src/client/codec';
import { createView, type View } from '../../src/client/view';
import { router } from '../core/world';
import type { Random } from '../random';
import { clientMessage, HONEST, hostileFrame } from './mutate';
import { guarded, type Target } from './target';

const ATTACKERS = 8;

/** A dashboard that nobody may deceive: what it is sent, put together as the client does it. */
interface Honest {
  readonly socket: FakeSocket;
  readonly view: View;
}

/** A router on a fake clock, with honest users who come and go, dashboards that watch them, and attackers. */
export async function routerTarget(dice: Random, wire: 'guide' | 'router', asks: boolean): Promise<Target> {
  let decisions = 0;
  const world = await router({
    wire,
    ...(asks && {
      authorizeWatch: ({ userId }: { userId: unknown }) => {
        decisions += 1;
        if (userId !== 'dashboard' && dice.chance(0.02)) throw new Error('the service is away');
        return String(userId).startsWith('dashboard');
      },
    }),
  });
  const { clock, connect, presence, errors } = world;
  const phones = new Map<string, FakeSocket>();
  for (const userId of HONEST) phones.set(userId, await connect(userId));

  const dashboards: Honest[] = [];
  for (const watch of [true, HONEST]) {
    dashboards.push({
      socket: await connect('dashboard', { track: false, watch }),
      view: createView(watch === true ? true : HONEST),
    });
  }
  if (asks) {
    const asking = { socket: await connect('dashboard', { track: false }), view: createView(true) };
    asking.view.asked = 1;
    asking.socket.receive(watchFrame(true, undefined, 1));
    dashboards.push(asking);
  }
  const read = ({ socket, view }: Honest): void => {
    for (const frame of socket.sent.splice(0)) {
      const said = readFrame(frame);
      if (said?.kind === UPDATE) view.update(said);
      else if (said?.kind === SNAPSHOT) view.show(said);
    }
  };

  const attackers: FakeSocket[] = [];
  const codes = new Map<string, number>();
  const counts = { accepted: 0, refused: 0, ignored: 0 };
  /** A new one in the place of one that was closed; of two, one may watch. */
  const attacker = async (index: number): Promise<FakeSocket> => {
    const known = attackers[index];
    if (known?.readyState === 1) return known;
    const socket = await connect(index % 2 === 0 ? `attacker${index}` : `dashboard${index}`, {
      track: index % 2 === 0,
    });
    attackers[index] = socket;
    return socket;
  };
  const receive = (socket: FakeSocket, frame: Uint8Array): void => {
    const what = dice.next();
    if (what < 0.9) socket.emit('message', frame, true);
    else if (what < 0.94) socket.emit('ping', frame);
    else if (what < 0.97) socket.emit('message', Buffer.from(frame).toString('latin1'));
    else socket.emit('message', dice.pick<unknown>([[frame, frame], frame.buffer, undefined, null, 7, {}]), false);
  };
  const count = (): void => {
    for (const { sent } of attackers) {
      for (const frame of sent.splice(0)) {
        const message = decode(frame) as { messageType?: number; code?: string } | unknown[];
        const body = (Array.isArray(message) ? message[4] : message) as { error?: string; code?: string };
        if (body.error === undefined) continue;
        counts.refused += 1;
        codes.set(String(body.code), (codes.get(String(body.code)) ?? 0) + 1);
      }
    }
  };

  return {
    counts,
    floors: { accepted: asks ? 20 : 0, refused: 50, ignored: 100 },
    async feed(frames) {
      const [decisionsBefore, refusedBefore] = [decisions, counts.refused];
      for (let frame = 0; frame < frames; frame += 1) {
        const socket = await attacker(dice.below(ATTACKERS));
        socket.bufferedAmount = dice.chance(0.1) ? 1e6 : 0;
        const bytes = hostileFrame(dice, clientMessage(dice));
        guarded('the router', bytes, () => receive(socket, bytes));
      }
      // An honest one comes, or goes.
      const userId = dice.pick(HONEST);
      const phone = phones.get(userId) as FakeSocket;
      if (phone.readyState === 1) phone.close();
      else phones.set(userId, await connect(userId));
      await clock.advance(dice.below(2_000));
      count();
      for (const dashboard of dashboards) read(dashboard);
      counts.accepted += decisions - decisionsBefore;
      counts.ignored += frames - (decisions - decisionsBefore) - (counts.refused - refusedBefore);
    },
    async check() {
      for (const socket of attackers) socket.bufferedAmount = 0;
      await clock.advance(20_000);
      const wrong: string[] = [];
      const statuses = await presence.getStatuses(HONEST);
      for (const dashboard of dashboards) read(dashboard);
      for (const userId of HONEST) {
        const truth = phones.get(userId)?.readyState === 1 ? 'online' : 'offline';
        if (statuses[userId]?.status !== truth) wrong.push(`${userId} is ${truth}; asked for, it is not`);
        for (const [index, { view, socket }] of dashboards.entries()) {
          const shown = view.users.get(userId)?.status ?? 'offline';
          if (shown !== truth) wrong.push(`${userId} is ${truth}, and ${shown} on dashboard ${index}`);
          if (socket.readyState !== 1) wrong.push(`dashboard ${index} was closed`);
        }
      }
      const unexpected = errors.filter(({ stage }) => stage !== 'authorize' && stage !== 'send');
      if (unexpected.length > 0) wrong.push(`reported: ${JSON.stringify(unexpected.slice(0, 3))}`);
      // Each refusal says why, in a word that a client can read.
      const wanted = asks ? ['not-allowed', 'malformed', 'too-many-ids', 'too-many-requests'] : ['not-allowed'];
      for (const code of wanted) if (!codes.has(code)) wrong.push(`nobody was refused with the code ${code}`);
      const known = [...wanted, 'too-many-requests', 'timeout', 'unsupported'];
      for (const code of codes.keys()) if (!known.includes(code)) wrong.push(`a refusal has the code ${code}`);
      return wrong;
    },
  };
}
