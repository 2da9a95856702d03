import { optionError, shown } from '../public/errors';

/** How far a reader of the log has come in one partition. @internal */
export interface Position {
  /** The epoch of the data; in a cursor of several partitions, its hash. */
  readonly epoch: string;
  readonly version: number;
}

/** The longest cursor, in characters. @internal */
export const MAX_CURSOR = 1_024;

/** The longest cursor in a frame, in characters: clients of 0.1.0 drop a frame with a longer one. */
const MAX_SHORT = 256;

const VECTOR = /^v[\w-]+$/;
const SHORT = /^c[\w-]+$/;
/** `<epoch>.<version>`; a frame may add the highest version that its client has seen, which a log needs not. */
const SINGLE = /^([\w-]{1,32})\.(\d{1,16})(\.\d{1,16})?$/;

/** Writes a cursor: the epoch and the version; for several partitions a vector of their hashed epochs and versions, in base64url. @internal */
export function formatCursor(positions: readonly Position[]): string {
  const [only] = positions as [Position];
  if (positions.length === 1) return `${only.epoch}.${only.version}`;
  const bytes: number[] = [];
  for (const { epoch, version } of positions) {
    pushHash(bytes, hashOf(epoch));
    pushNumber(bytes, version);
  }
  return `v${toBase64Url(bytes)}`;
}

/**
 * Writes a cursor for a frame: for several partitions one hash of all epochs, the lowest version, and by how much the others are above it.
 * `undefined` where it would be too long, since the versions are too far apart.
 * @internal
 */
export function formatShortCursor(positions: readonly Position[]): string | undefined {
  if (positions.length === 1) return formatCursor(positions);
  const least = Math.min(...positions.map(({ version }) => version));
  const bytes: number[] = [];
  pushHash(bytes, hashOf(positions.map(({ epoch }) => epoch).join(' ')));
  pushNumber(bytes, least);
  for (const { version } of positions) pushNumber(bytes, version - least);
  const text = `c${toBase64Url(bytes)}`;
  return text.length > MAX_SHORT ? undefined : text;
}

/** The positions of a cursor, beside data of these epochs. A short cursor is of them as a whole, or of none of them. @internal */
export function positionsIn(positions: readonly Position[], epochs: readonly string[]): readonly Position[] {
  const whole = positions[0]?.epoch;
  if (whole === undefined || !whole.startsWith('=')) return positions;
  const isOfThese = whole === `=${hashOf(epochs.join(' '))}`;
  return positions.map(({ version }, index) => ({ epoch: isOfThese ? (epochs[index] as string) : 'lost', version }));
}

function pushHash(bytes: number[], hash: number): void {
  bytes.push(hash >>> 24, (hash >>> 16) & 255, (hash >>> 8) & 255, hash & 255);
}

/** Seven bits a byte, the lowest first; a version may have more bits than a bitwise operator takes. */
function pushNumber(bytes: number[], number: number): void {
  let rest = number;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  bytes.push(rest);
}

function toBase64Url(bytes: readonly number[]): string {
  return Buffer.from(bytes).toString('base64').replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '');
}

/**
 * Reads a cursor.
 *
 * @param count - the number of partitions
 * @throws TypeError `ERR_PRESENCE_OPTIONS` for a text that is no cursor of so many partitions
 * @internal
 */
export function parseCursor(text: string, count: number): readonly Position[] {
  const positions = text.length > MAX_CURSOR ? undefined : count === 1 ? singleOf(text) : vectorOf(text, count);
  if (positions !== undefined) return positions;
  throw optionError(`the cursor is ${shown(text)}; it is one that this store has given`);
}

/** A cursor of data that there never were: whoever goes on from it is told of a gap. @internal */
export function lostCursor(count: number): string {
  return formatCursor(Array.from({ length: count }, () => ({ epoch: 'lost', version: 0 })));
}

/** Whether a position is in these data. A position from a vector knows only the hash of the epoch. @internal */
export function isOf(position: Position, epoch: string): boolean {
  return position.epoch === epoch || position.epoch === `#${hashOf(epoch)}`;
}

function singleOf(text: string): readonly Position[] | undefined {
  const [, epoch, version] = SINGLE.exec(text) ?? [];
  if (epoch === undefined || !Number.isSafeInteger(Number(version))) return undefined;
  return [{ epoch, version: Number(version) }];
}

function vectorOf(text: string, count: number): readonly Position[] | undefined {
  const isShort = SHORT.test(text);
  if (!isShort && !VECTOR.test(text)) return undefined;
  const bytes = Buffer.from(text.slice(1).replace(/-/g, '+').replace(/_/g, '/'), 'base64');
  const positions: Position[] = [];
  let at = 0;
  const hash = (): number => {
    at += 4;
    return at > bytes.length ? Number.NaN : bytes.readUInt32BE(at - 4);
  };
  const number = (): number => {
    let read = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[at] ?? Number.NaN;
      at += 1;
      read += (byte % 128) * factor;
      if (!(byte >= 128)) return read;
    }
  };
  const [all, least] = isShort ? [`=${hash()}`, number()] : ['', 0];
  while (positions.length < count) {
    const epoch = isShort ? all : `#${hash()}`;
    const version = least + number();
    if (!Number.isSafeInteger(version)) return undefined;
    positions.push({ epoch, version });
  }
  return at === bytes.length ? positions : undefined;
}

/** FNV-1a, of 32 bits: two epochs of one partition that are mistaken for each other are one in four billions. */
function hashOf(epoch: string): number {
  if (epoch.startsWith('#')) return Number(epoch.slice(1));
  let hash = 0x811c9dc5;
  for (let at = 0; at < epoch.length; at += 1) hash = Math.imul(hash ^ epoch.charCodeAt(at), 0x01000193);
  return hash >>> 0;
}
