/** The clock of a store: the time of day, which may be set back, and the time that has passed, which is not. @internal */
export class SteadyClock {
  /** The wall clock when it was last read, for timestamps. */
  wall: number;
  /** The time that has passed. It never decreases, so that no lease lasts longer where the wall clock was set back. */
  elapsed = 0;

  constructor(private readonly now: () => number) {
    this.wall = now();
  }

  read(): void {
    const wall = this.now();
    if (wall > this.wall) this.elapsed += wall - this.wall;
    this.wall = wall;
  }

  /** Converts a value of `elapsed` to the time of day. */
  wallTime(at: number | null): number | null {
    return at === null ? null : this.wall - (this.elapsed - at);
  }
}
