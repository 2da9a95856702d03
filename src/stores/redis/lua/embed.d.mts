/** The text of scripts.ts. */
export function embedded(): string;
/** Writes it. */
export function embed(): void;
