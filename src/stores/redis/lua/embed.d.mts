/** Returns the text of scripts.generated.ts. */
export function embedded(): string;
/** Writes scripts.generated.ts. */
export function embed(): void;
