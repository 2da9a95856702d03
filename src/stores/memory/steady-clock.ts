/** The time of a store, of which the wall clock may step, and durations must not. @internal */
export class SteadyClock {
  /** The wall clock when it was last read, for timestamps. */
  wall: number;
  /** The time that has passed. It only grows, so that no lease lasts longer because the wall clock was set back. */
  elapsed = 0;

  constructor(private readonly now: () => number) {
    this.wall = now();
  }

  read(): void {
    const wall = this.now();
    if (wall > this.wall) this.elapsed += wall - this.wall;
    this.wall = wall;
  }

  /** Converts a time that has passed to the wall clock. */
  wallTime(at: number | null): number | null {
    return at === null ? null : this.wall - (this.elapsed - at);
  }
}
