/** What a group of jobs has found. */
export interface Section {
  readonly id: string;
  readonly title: string;
  /** What is done, and how each takes part. */
  readonly text: string;
  /** Names of the figures, with their units; the first is who did it, or at what size. */
  readonly columns: readonly [string, ...string[]];
  readonly rows: ReadonlyArray<readonly [string, ...Array<number | string | undefined>]>;
  /**
   * Which column is drawn, as bars, which are called as the first column says, and if need be what another one begins with;
   * or, where the first column is a size, all as curves.
   */
  readonly chart?: { readonly column: string; readonly besides?: string } | { readonly curves: true };
  /** Of which columns the first row should have the least, and why another one may have less. */
  readonly compared?: { readonly columns: readonly string[]; readonly why?: { readonly [who: string]: string } };
  /** What the budget may bound, by name. */
  readonly figures: { readonly [name: string]: number };
}

export interface Bound {
  /** A figure of a section: `section.figure`. */
  readonly figure: string;
  readonly what: string;
  readonly atMost?: number;
  readonly atLeast?: number;
  readonly unit: string;
  /** What it is held to where it is known to miss its bound, so that it gets no worse; and why it misses it. */
  readonly known?: { readonly heldTo: number; readonly why: string };
  /** Whether README quotes it. */
  readonly quoted?: boolean;
}

export interface Checked extends Bound {
  /** Undefined where it was not measured. */
  readonly measured: number | undefined;
  readonly isMet: boolean;
  /** Whether it is no worse than it may be: as it is bounded, or where that is known to be missed, as it is held to. */
  readonly isHeld: boolean;
}

export function check(bounds: readonly Bound[], sections: readonly Section[]): Checked[] {
  return bounds.map((bound) => {
    const [id, name] = bound.figure.split('.') as [string, string];
    const measured = sections.find((section) => section.id === id)?.figures[name];
    const isWithin = ({ atMost = Number.POSITIVE_INFINITY, atLeast = Number.NEGATIVE_INFINITY }: Limits): boolean =>
      measured !== undefined && measured <= atMost && measured >= atLeast;
    const { heldTo } = bound.known ?? {};
    const isMet = isWithin(bound);
    const isHeld =
      isMet ||
      (heldTo !== undefined && isWithin(bound.atMost === undefined ? { atLeast: heldTo } : { atMost: heldTo }));
    return { ...bound, measured, isMet, isHeld };
  });
}

type Limits = Pick<Bound, 'atMost' | 'atLeast'>;

/** Each bound that is missed, and why as far as that is known. */
export function missedIn(checked: readonly Checked[]): string[] {
  return checked
    .filter(({ measured, isMet }) => measured !== undefined && !isMet)
    .map(({ what, known, isHeld }) => {
      if (known === undefined) return `${what}: no reason is known`;
      return `${what}: ${known.why}${isHeld ? '' : `; and worse than the ${shown(known.heldTo)} that it is held to`}`;
    });
}

/** Less than so much is noise. */
const NOISE = 0.03;

/** Where another one is ahead of the first row, but for floors, which do less by design; and why. */
export function aheadIn({ columns, rows, compared }: Section): string[] {
  if (compared === undefined) return [];
  const [ours, ...others] = rows;
  return others.flatMap((row) => {
    const [who] = row;
    if (who === '' || who.startsWith('floor:')) return [];
    const better = compared.columns.filter((column) => {
      const at = columns.indexOf(column);
      const [own, other] = [ours?.[at], row[at]];
      return typeof own === 'number' && typeof other === 'number' && other < own * (1 - NOISE);
    });
    if (better.length === 0) return [];
    return [`${who} (${better.join('; ')}): ${compared.why?.[who] ?? 'no reason is known'}`];
  });
}

/** Three digits that count. */
export function shown(figure: number | string | undefined | null): string {
  // Between processes "undefined" becomes null.
  if (figure === undefined || figure === null) return '–';
  if (typeof figure === 'string') return figure;
  if (!Number.isFinite(figure)) return String(figure);
  if (Math.abs(figure) >= 100) return Math.round(figure).toLocaleString('en');
  return String(Number(figure.toPrecision(3)));
}

function limitOf({ atMost, atLeast, unit }: Bound): string {
  return atMost === undefined ? `at least ${shown(atLeast)} ${unit}` : `at most ${shown(atMost)} ${unit}`;
}

export function printSection(section: Section): void {
  const { title, columns, rows } = section;
  const named = rows.map((row) => Object.fromEntries(columns.map((column, index) => [column, shown(row[index])])));
  console.log(`\n${title}`);
  console.table(named);
  for (const line of aheadIn(section)) console.log(`Ahead of us: ${line}`);
}

export function printChecked(checked: readonly Checked[]): void {
  if (checked.length === 0) return;
  console.log('\nThe budget');
  console.table(
    checked.map((bound) => ({
      what: bound.what,
      limit: limitOf(bound),
      measured: shown(bound.measured),
      met: bound.isMet ? 'yes' : bound.measured === undefined ? 'not measured' : 'NO',
    })),
  );
  for (const line of missedIn(checked)) console.log(`Missed: ${line}`);
}

const table = (columns: readonly string[], rows: ReadonlyArray<readonly string[]>): string =>
  [columns, columns.map((_, index) => (index === 0 ? '---' : '---:')), ...rows]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n');

/** The whole report as Markdown. `chartOf` says where the chart of a section is, if it has one. */
export function markdownOf(
  sections: readonly Section[],
  checked: readonly Checked[],
  head: string,
  chartOf: (section: Section) => string | undefined,
): string {
  const parts = sections.map((section) => {
    const chart = chartOf(section);
    const rows = section.rows.map((row) => row.map(shown));
    const ahead = aheadIn(section).map((line) => `- ${line}`);
    return [`## ${section.title}`, section.text, table(section.columns, rows)]
      .concat(ahead.length === 0 ? [] : [`Ahead of us:\n\n${ahead.join('\n')}`])
      .concat(chart === undefined ? [] : [`![${section.title}](${chart})`])
      .join('\n\n');
  });
  const budget = checked.map((bound) => [
    bound.what,
    limitOf(bound),
    `${shown(bound.measured)} ${bound.measured === undefined ? '' : bound.unit}`,
    bound.isMet ? 'yes' : bound.measured === undefined ? 'not measured' : '**no**',
  ]);
  const missed = missedIn(checked).map((line) => `- ${line}`);
  return [head, table(['what', 'limit', 'measured', 'met'], budget)]
    .concat(missed.length === 0 ? [] : [`Missed:\n\n${missed.join('\n')}`], parts)
    .join('\n\n')
    .concat('\n');
}

/** What README quotes, in place of what it quoted before. */
export function quotedIn(readme: string, checked: readonly Checked[]): string {
  const rows = checked
    .filter(({ quoted, measured }) => quoted === true && measured !== undefined)
    .map(({ what, measured, unit }) => [what, `${shown(measured)} ${unit}`]);
  const [open, close] = ['<!-- measured -->\n', '<!-- /measured -->'];
  const [from, to] = [readme.indexOf(open), readme.indexOf(close)];
  if (from < 0 || to < from) throw new Error(`README has no place for what was measured: ${open.trim()} to ${close}`);
  return `${readme.slice(0, from)}${open}\n${table(['what', 'measured'], rows)}\n\n${readme.slice(to)}`;
}

const WIDTH = 720;
const escaped = (text: string): string => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
const text = (x: number, y: number, words: string, more = ''): string =>
  `<text x="${x}" y="${y}" ${more}>${escaped(words)}</text>`;

/** The chart of a section as SVG, legible on light and on dark. */
export function svgOf(section: Section): string | undefined {
  if (section.chart === undefined) return undefined;
  return 'column' in section.chart ? barsOf(section, section.chart) : curvesOf(section);
}

function svg(title: string, height: number, parts: readonly string[]): string {
  const style =
    'text{font:14px system-ui,sans-serif;fill:#24292f}.t{font-weight:600}.a{fill:#57606a;font-size:12px}' +
    '@media(prefers-color-scheme:dark){text{fill:#e6edf3}.a{fill:#9da7b1}}';
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img"><title>${escaped(title)}</title><style>${style}</style>${parts.join('')}</svg>\n`;
}

function barsOf({ title, columns, rows }: Section, { column, besides }: { column: string; besides?: string }): string {
  const at = columns.indexOf(column);
  const nameOf = (row: Section['rows'][number]): string => {
    const more = besides === undefined ? undefined : row[columns.indexOf(besides)];
    return more === undefined ? row[0] : `${row[0]}, ${String(more).split(/[,;]/)[0]}`;
  };
  const bars = rows
    .map((row) => [nameOf(row), row[at], row[0] === rows[0]?.[0]] as const)
    .filter((bar): bar is readonly [string, number | string, boolean] => bar[1] !== undefined && bar[1] !== null);
  const most = Math.max(...bars.map(([, value]) => (typeof value === 'number' ? value : 0)));
  const parts = [text(0, 18, `${title}: ${column}`, 'class="t"')];
  for (const [index, [name, value, isOurs]] of bars.entries()) {
    const y = 34 + index * 30;
    parts.push(text(0, y + 15, name));
    // In words, where there is nothing to measure: "never".
    if (typeof value === 'string') {
      parts.push(text(230, y + 15, value));
      continue;
    }
    const width = Math.max(2, (value / most) * (WIDTH - 320));
    parts.push(
      `<rect x="230" y="${y}" width="${width.toFixed(1)}" height="20" rx="3" fill="${isOurs ? '#1a7f37' : '#8b949e'}"/>`,
    );
    parts.push(text(238 + width, y + 15, shown(value)));
  }
  return svg(title, 40 + bars.length * 30, parts);
}

const COLOURS = ['#1a7f37', '#0969da', '#bc4c00', '#8250df', '#bf3989', '#6e7781', '#9a6700', '#1b7c83'];

/** Both axes grow tenfold a step. */
function curvesOf({ title, columns, rows }: Section): string {
  const sizes = rows.map((row) => Number(row[0].replace(/,/g, '')));
  const names = columns.slice(1);
  const values = rows.flatMap((row) => row.slice(1)).filter((value): value is number => typeof value === 'number');
  const [left, right, top, bottom] = [60, WIDTH - 190, 40, 320];
  const low = Math.floor(Math.log10(Math.min(...values)));
  const high = Math.ceil(Math.log10(Math.max(...values)));
  const first = Math.log10(sizes[0] as number);
  const last = Math.log10(sizes.at(-1) as number);
  const x = (size: number) => left + ((Math.log10(size) - first) / (last - first)) * (right - left);
  const y = (value: number) => bottom - ((Math.log10(value) - low) / (high - low)) * (bottom - top);
  const parts = [text(0, 18, title, 'class="t"')];
  for (let power = low; power <= high; power += 1) {
    const height = y(10 ** power);
    parts.push(`<path d="M${left} ${height}H${right}" stroke="#8b949e" stroke-opacity=".35"/>`);
    parts.push(text(left - 8, height + 4, shown(10 ** power), 'class="a" text-anchor="end"'));
  }
  for (const size of sizes) parts.push(text(x(size), bottom + 20, shown(size), 'class="a" text-anchor="middle"'));
  for (const [index, name] of names.entries()) {
    const points = rows.flatMap((row, place) => {
      const value = row[index + 1];
      return typeof value === 'number' ? [`${x(sizes[place] as number).toFixed(1)},${y(value).toFixed(1)}`] : [];
    });
    const colour = COLOURS[index % COLOURS.length];
    parts.push(`<polyline points="${points.join(' ')}" fill="none" stroke="${colour}" stroke-width="2"/>`);
    parts.push(`<rect x="${right + 16}" y="${top + index * 24}" width="12" height="12" rx="2" fill="${colour}"/>`);
    parts.push(text(right + 34, top + 11 + index * 24, name, 'class="a"'));
  }
  return svg(title, bottom + 34, parts);
}
