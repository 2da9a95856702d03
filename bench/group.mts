import type { Section } from './report.mjs';

// One group of jobs, in a process of its own: what it leaves behind must not meet the next one.

const [name, quick] = process.argv.slice(2) as [string, string];
const { run } = (await import(`./groups/${name}.mjs`)) as { run(quick: boolean): Promise<Section[]> };
const sections = await run(quick === 'quick');
process.send?.(sections, () => process.exit());
