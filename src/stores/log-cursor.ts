import { optionError, shown } from '../public/errors';

/** How far a reader of the log has come in one partition. @internal */
export interface Position {
  /** The epoch of the data; in a cursor of several partitions, its hash. */
  readonly epoch: string;
  readonly version: number;
}

/** The longest cursor, in characters. @internal */
export const MAX_CURSOR = 1_024;

const VECTOR = /^v[\w-]+$/;
/** `<epoch>.<version>`; a frame may add the highest version that its client has seen, which a log needs not. */
const SINGLE = /^([\w-]{1,32})\.(\d{1,16})(\.\d{1,16})?$/;

/** Writes a cursor: the epoch and the version; for several partitions a vector of their hashed epochs and versions, in base64url. @internal */
export function formatCursor(positions: readonly Position[]): string {
  const [only] = positions as [Position];
  if (positions.length === 1) return `${only.epoch}.${only.version}`;
  const bytes: number[] = [];
  for (const { epoch, version } of positions) {
    const hash = hashOf(epoch);
    bytes.push(hash >>> 24, (hash >>> 16) & 255, (hash >>> 8) & 255, hash & 255);
    // Seven bits a byte, the lowest first; a version may have more bits than a bitwise operator takes.
    let rest = version;
    for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
    bytes.push(rest);
  }
  return `v${Buffer.from(bytes).toString('base64').replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '')}`;
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
  if (!VECTOR.test(text)) return undefined;
  const bytes = Buffer.from(text.slice(1).replace(/-/g, '+').replace(/_/g, '/'), 'base64');
  const positions: Position[] = [];
  let at = 0;
  while (positions.length < count) {
    if (at + 5 > bytes.length) return undefined;
    const hash = bytes.readUInt32BE(at);
    let version = 0;
    let factor = 1;
    let byte = 128;
    for (at += 4; byte >= 128; at += 1, factor *= 128) {
      byte = bytes[at] ?? 256;
      if (byte > 255) return undefined;
      version += (byte % 128) * factor;
    }
    if (!Number.isSafeInteger(version)) return undefined;
    positions.push({ epoch: `#${hash}`, version });
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
