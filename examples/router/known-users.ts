import { companyOf, type User } from './access';

/** Ids that one company may have here, and all of them together. */
const MAX_OF_A_COMPANY = 10_000;
const MAX_KNOWN = 100_000;

/** Ids that a dashboard can be shown without having heard of them, by company. */
export class KnownUsers {
  private readonly companies = new Map<string | undefined, Set<string>>();
  private size = 0;

  get isFull(): boolean {
    return this.size >= MAX_KNOWN;
  }

  add(userId: string): void {
    const company = companyOf(userId);
    const users = this.companies.get(company) ?? new Set();
    if (this.isFull || users.size >= MAX_OF_A_COMPANY || users.has(userId)) return;
    this.companies.set(company, users.add(userId));
    this.size += 1;
  }

  /** How many a user may see. */
  countOf({ company, seesAll }: User): number {
    if (seesAll) return this.size;
    return company === undefined ? 0 : (this.companies.get(company)?.size ?? 0);
  }

  /** Those whom a user may see. */
  visibleTo({ company, seesAll }: User): string[] {
    if (seesAll) return Array.from(this.companies.values()).flatMap((users) => Array.from(users));
    return company === undefined ? [] : Array.from(this.companies.get(company) ?? []);
  }
}
