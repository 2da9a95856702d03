import { connect, type Socket } from 'node:net';
import { setPriority } from 'node:os';
import { random } from '../random';
import { obey, settings } from './child';
import { handshake, type Volley, volleys } from './frames';

// Hostile connections, as a process of its own. Raw sockets and frames that are made before, so that the router has more
// to do with each than the attacker has.

export interface HostileSettings {
  readonly port: number;
  /** The numbers of the connections. */
  readonly first: number;
  readonly count: number;
  /** Frames a second. */
  readonly rate: number;
  /** New connections a second, at the beginning, and whenever the router has closed some. */
  readonly connects: number;
  readonly reconnects: number;
  readonly seed: number;
}

const TICK_MS = 20;
/** Of the frames, those of attackers who do nothing but ask until they are closed. */
const FLOOD_SHARE = 0.2;
const SOURCES = 50;
/** The codes with which the library closes. */
const CODES = [1008, 4008, 4029];

const { port, first, count, rate, connects, reconnects, seed } = settings<HostileSettings>();
const dice = random(seed);
const made = volleys(dice);
let sent = 0;
let opened = 0;
let ended = 0;
const closes: { [code: number]: number } = {};

type Tactic = 'mixed' | 'flood' | 'half-open';

/** One connection, and the next one in its place once it has ended. What it is follows from its number. */
class Attacker {
  /** Reads nothing, ever. */
  readonly isSlow = this.number % 2 === 0;
  readonly tactic: Tactic = this.number % 100 === 5 ? 'flood' : this.number % 100 === 7 ? 'half-open' : 'mixed';
  private socket: Socket | undefined;
  isOpen = false;

  constructor(private readonly number: number) {}

  /** Half of the nobodies are slow, too. */
  private get path(): string {
    const { number } = this;
    if (number % 8 === 2 || number % 8 === 3) return `/${dice.pick(['null', 'never', 'throws'])}${number}`;
    return number % 500 === 9 ? `/dashboard-hostile${number}` : `/hostile${number}`;
  }

  connect(): void {
    // Of many addresses, since each has ports for some ten thousand connections, closed ones included.
    const localAddress = `127.0.0.${2 + (this.number % SOURCES)}`;
    const socket = connect({ port, host: '127.0.0.1', localAddress, noDelay: true });
    this.socket = socket;
    // Before it connects, so that not one byte is read.
    if (this.isSlow) socket.pause();
    else socket.on('data', (data) => this.read(data));
    socket.on('connect', () => {
      opened += 1;
      const text = handshake(this.path);
      socket.write(this.tactic === 'half-open' ? text.slice(0, text.length / 2) : text);
      this.isOpen = true;
      // Frames that come before anybody knows whose they are.
      if (dice.chance(0.5)) this.send(dice.pick(made.watch));
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      if (this.isOpen) ended += 1;
      this.isOpen = false;
      if (!isOver) waiting.push(this);
    });
  }

  /** Told to go, it comes back at once, as far as it may. */
  private read(data: Buffer): void {
    for (const code of CODES) {
      if (!data.includes(Buffer.from([0x88])) || !data.includes(Buffer.from([code >> 8, code & 0xff]))) continue;
      closes[code] = (closes[code] ?? 0) + 1;
      this.socket?.destroy();
      return;
    }
  }

  /** How many frames that is; none where the router takes no more. */
  send({ bytes, frames }: Volley): number {
    const { socket } = this;
    if (socket === undefined || !this.isOpen || this.tactic === 'half-open' || socket.writableLength > 0) return 0;
    socket.write(bytes, (error) => {
      if (!error) sent += frames;
    });
    return frames;
  }

  end(): void {
    if (dice.chance(0.5)) this.socket?.resetAndDestroy();
    else this.socket?.destroy();
  }
}

const attackers = Array.from({ length: count }, (_, index) => new Attacker(first + index));
const flooding = attackers.filter(({ tactic }) => tactic === 'flood');
const mixed = attackers.filter(({ tactic }) => tactic === 'mixed');
const waiting = attackers.slice();
let isOver = false;
/** Frames, and connections, that are due. */
const due = { mixed: 0, flood: 0, connects: 0 };
let isUp = false;
let onUp = (): void => undefined;

function mixedVolley(): Volley {
  const chance = dice.next();
  if (chance < 0.004) return dice.pick(made.big);
  if (chance < 0.008) return dice.pick(made.illegal);
  return dice.pick(chance < 0.2 ? made.watch : chance < 0.3 ? made.fragments : made.chatter);
}

/** One after the other sends, until what is due has been sent or nobody can. */
function inTurn(group: Attacker[], kind: 'mixed' | 'flood', toVolley: () => Volley): void {
  for (let turns = group.length; turns > 0 && due[kind] > 0; turns -= 1) {
    const attacker = group.shift() as Attacker;
    group.push(attacker);
    due[kind] -= attacker.send(toVolley());
  }
}

function tick(seconds: number): void {
  due.connects = Math.min(due.connects + seconds * (isUp ? reconnects : connects), connects);
  for (; due.connects >= 1 && waiting.length > 0; due.connects -= 1) waiting.shift()?.connect();
  if (!isUp && opened >= count) {
    isUp = true;
    onUp();
  }
  // What could not be sent in time is made up for, but not at once.
  due.mixed = Math.min(due.mixed + seconds * rate * (1 - FLOOD_SHARE), rate / 5);
  due.flood = Math.min(due.flood + seconds * rate * FLOOD_SHARE, rate / 5);
  inTurn(flooding, 'flood', () => dice.pick(made.watch));
  inTurn(mixed, 'mixed', mixedVolley);
}

// The router and the honest ones have the machine first.
setPriority(10);
let timer: NodeJS.Timeout | undefined;

const commands = {
  /** Resolves once all have connected. */
  begin(): Promise<void> {
    let at = performance.now();
    timer = setInterval(() => {
      const now = performance.now();
      tick((now - at) / 1_000);
      at = now;
    }, TICK_MS);
    return new Promise<void>((resolve) => {
      onUp = resolve;
    });
  },
  count: () => ({ sent, opened, ended, closes, open: attackers.filter(({ isOpen }) => isOpen).length }),
  end(): void {
    isOver = true;
    clearInterval(timer);
    for (const attacker of attackers) attacker.end();
  },
};
export type HostileCommands = typeof commands;
obey(commands);
