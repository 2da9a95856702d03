import { type Batch, type Head, MAX_VERSION } from './batch';

interface Following {
  readonly kind: 'following';
  readonly epoch: string;
  /** The version of the last change that was heard. */
  readonly heard: number;
  /** How far the store has said that the versions have come. */
  readonly expected: number;
  /** The version that was heard when an answer was below it, and since when that is so. */
  readonly ahead: { readonly version: number; readonly since: number } | undefined;
}

/** `unstarted` until the first answer: before that there is nothing to have missed. */
type State = { readonly kind: 'unstarted' } | Following;

/**
 * How far one partition was heard, how far it is known to have come, and from where its versions go on after a loss. Pure:
 * it has no clock, and asks nobody.
 * @internal
 */
export class Progress {
  private state: State = { kind: 'unstarted' };

  /** `highest`: what an earlier receiver of the same partition knew. */
  constructor(private highest: number) {}

  /** The highest version that Redis said it had given, or that must not be given any more. */
  get highestVersion(): number {
    return this.highest;
  }

  /** Up to where versions are known to have been given. */
  get knownVersion(): number {
    return this.state.kind === 'following' ? Math.max(this.heard, this.expected) : this.highest;
  }

  get epoch(): string | undefined {
    return this.state.kind === 'following' ? this.state.epoch : undefined;
  }

  get heard(): number {
    return this.state.kind === 'following' ? this.state.heard : 0;
  }

  get expected(): number {
    return this.state.kind === 'following' ? this.state.expected : 0;
  }

  get isBehind(): boolean {
    return this.heard < this.expected;
  }

  /** Whether a batch has the next number. */
  follows({ epoch, first }: Batch): boolean {
    return this.epoch === epoch && first === this.heard + 1;
  }

  /** A version was given. No router has counted as far as a quarter of all versions: somebody forged that one. */
  see(version: number): void {
    if (version > this.highest && version <= MAX_VERSION / 4) this.highest = version;
  }

  /** Other data than before, or the first ones. Routers remember the versions that they were told, so these go on above them. */
  begin({ epoch, version }: Head): void {
    this.see(this.knownVersion);
    this.see(version);
    this.restart({ epoch, version: this.highest });
  }

  /** Follows data from a version on. */
  restart({ epoch, version }: Head): void {
    this.state = { kind: 'following', epoch, heard: version, expected: version, ahead: undefined };
  }

  hear(version: number): void {
    this.follow({ heard: version });
  }

  /** The store has said how far it has come. */
  expect(version: number): void {
    this.see(version);
    this.follow({ expected: Math.max(this.expected, version) });
  }

  /** For how long what was heard has been ahead of what the store says; 0 where it is not. */
  aheadMs(version: number, now: number): number {
    if (this.state.kind !== 'following') return 0;
    const { heard, ahead } = this.state;
    if (heard <= version) {
      this.confirm();
      return 0;
    }
    const current = ahead !== undefined && version < ahead.version ? ahead : { version: heard, since: now };
    this.follow({ ahead: current });
    return now - current.since;
  }

  /** The store was asked, and knows of what was heard. */
  confirm(): void {
    this.follow({ ahead: undefined });
  }

  private follow(change: Partial<Omit<Following, 'kind' | 'epoch'>>): void {
    if (this.state.kind === 'following') this.state = { ...this.state, ...change };
  }
}
