/** The most users of a page, and the number below which it is joined to the next one. */
const PAGE_USERS = 500;
const FEW_USERS = 100;

/** Some of the users online. One that was joined to the next page is empty, and that page still follows it. @internal */
export interface RosterPage {
  readonly userIds: ReadonlySet<string>;
  readonly next: RosterPage | undefined;
  /** The number of the last change of its users. */
  readonly changedAt: number;
  /** The number of the last change by which it got the users of another page. */
  readonly joinedAt: number;
}

class Page implements RosterPage {
  previous: Page | undefined;
  next: Page | undefined;
  /** Whether its users are on the next page now. */
  isJoined = false;
  changedAt = 0;
  joinedAt = 0;
  readonly userIds = new Set<string>();
}

/**
 * The users who are online, on pages of at most 500, in the order in which they came. A user stays in place, or moves to a later
 * page, until they go offline. So whoever goes through the pages, at whatever speed, meets everybody who is online all the time.
 * @internal
 */
export class RosterPages {
  private first = new Page();
  private last = this.first;
  private count = 0;

  /** The number of changes until now. */
  get changes(): number {
    return this.count;
  }

  get start(): RosterPage {
    return this.first;
  }

  /** Adds a user who has come online. Returns the page, by which the user is found again. */
  add(userId: string): RosterPage {
    if (this.last.userIds.size >= PAGE_USERS) this.append();
    this.last.userIds.add(userId);
    this.touch(this.last);
    return this.last;
  }

  /** Removes a user who has gone offline. `from`: what `add` returned. */
  remove(userId: string, from: RosterPage): void {
    let page = from as Page;
    while (page.isJoined) page = page.next as Page;
    page.userIds.delete(userId);
    this.touch(page);
    const { next } = page;
    const fits = next !== undefined && page.userIds.size + next.userIds.size <= PAGE_USERS;
    if (fits && page.userIds.size < FEW_USERS) this.join(page, next);
  }

  clear(): void {
    this.first = new Page();
    this.last = this.first;
  }

  private touch(page: Page): void {
    this.count += 1;
    page.changedAt = this.count;
  }

  private append(): void {
    const page = new Page();
    page.previous = this.last;
    this.last.next = page;
    this.last = page;
  }

  /** Moves the users of a page to the next one, before those who are there. */
  private join(page: Page, next: Page): void {
    const ids = [...page.userIds, ...next.userIds];
    page.userIds.clear();
    next.userIds.clear();
    for (const id of ids) next.userIds.add(id);
    this.touch(next);
    next.joinedAt = next.changedAt;
    page.isJoined = true;
    next.previous = page.previous;
    if (page.previous === undefined) this.first = next;
    else page.previous.next = next;
    page.previous = undefined;
  }
}
