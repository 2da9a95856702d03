/** The number of letters to insert, delete, replace or swap, to turn one name into the other. */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const changed = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let least = Math.min((row[j] as number) + 1, (next[j - 1] as number) + 1, changed);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        least = Math.min(least, (before[j - 2] as number) + 1);
      }
      next.push(least);
    }
    before = row;
    row = next;
  }
  return row[b.length] as number;
}

const bare = (name: string): string => name.toLowerCase().replace(/[^a-z0-9]/g, '');
const MOST_CHARS = 64;

/** The name that a caller probably meant by a misspelt one, or by one without its unit. @internal */
export function closest(name: string, names: readonly string[]): string | undefined {
  const given = bare(name.slice(0, MOST_CHARS));
  let best: string | undefined;
  // A third of the letters may be wrong; none of a very short name.
  let least = Math.floor(given.length / 3) + 0.5;
  for (const known of names) {
    const wanted = bare(known);
    let far = distance(given, wanted);
    if (given.length >= 2 && wanted.startsWith(given)) far = 0;
    else if (wanted.length >= 3 && given.startsWith(wanted)) far = Math.min(1, far);
    if (far >= least) continue;
    best = known;
    least = far;
  }
  return best;
}
