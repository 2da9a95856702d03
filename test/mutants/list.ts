import type { Mutant } from './mutant';

/** The list of all mutants, one on each line. */
export function listOf(mutants: { readonly [folder: string]: readonly Mutant[] }): string {
  const count = Object.values(mutants).reduce((sum, { length }) => sum + length, 0);
  const lines = [
    '# Mutants',
    '',
    `${count} faults that \`npm run mutants\` plants, one at a time; a test notices each. \`core\` are the files of \`src\` itself.`,
  ];
  for (const [folder, faults] of Object.entries(mutants)) {
    lines.push('', `## ${folder}`, '');
    for (const { id, fault } of faults) lines.push(`- \`${id}\`: ${fault}`);
  }
  return `${lines.join('\n')}\n`;
}
