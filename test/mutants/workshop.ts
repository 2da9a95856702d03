import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { type Mutant, planted } from './mutant';

/** Not copied, since the tests generate it or do not need it. */
const LEFT_OUT = new Set(['node_modules', '.git', '.built', '.recipes', 'coverage', 'dist']);
/** The time limits of one test, and of a run, since a fault may make a test wait for ever. */
const TEST_MS = 15_000;
const RUN_MS = 120_000;

export type Verdict =
  | { readonly kind: 'green' }
  /** A test has failed. */
  | { readonly kind: 'noticed'; readonly by: string }
  /** The run ended in another way, so it proves nothing. */
  | { readonly kind: 'broken'; readonly why: string };

interface Report {
  readonly numPassedTests: number;
  readonly testResults: ReadonlyArray<{
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: ReadonlyArray<{
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages: readonly string[];
    }>;
  }>;
}

/** A copy of the tree, in which faults can be planted. */
export class Workshop {
  private readonly root: string;

  constructor(private readonly original: string) {
    // The path without symbolic links, which module paths have too.
    this.root = realpathSync(mkdtempSync(join(tmpdir(), 'mutants-')));
    cpSync(original, this.root, { recursive: true, filter: (path) => !LEFT_OUT.has(basename(path)) });
    symlinkSync(realpathSync(join(original, 'node_modules')), join(this.root, 'node_modules'));
  }

  /** Plants a fault, and returns the verdict of its tests. */
  async judge(mutant: Mutant): Promise<Verdict> {
    const { file, text } = planted(this.original, mutant);
    const isLua = file.endsWith('.lua');
    writeFileSync(join(this.root, file), text);
    try {
      if (isLua) await this.embed();
      return await this.test(mutant.tests, mutant.named);
    } finally {
      writeFileSync(join(this.root, file), readFileSync(join(this.original, file)));
      if (isLua) await this.embed();
    }
  }

  /** Runs tests up to the first failure, and returns the verdict. */
  async test(files: readonly string[], named?: string): Promise<Verdict> {
    const output = join(this.root, 'report.json');
    rmSync(output, { force: true });
    const args = [
      join(this.root, 'node_modules/vitest/vitest.mjs'),
      'run',
      ...files,
      '--bail',
      '1',
      '--maxWorkers',
      '1',
      `--testTimeout=${TEST_MS}`,
    ];
    args.push('--reporter=json', `--outputFile=${output}`);
    if (named !== undefined) args.push('-t', named);
    const { code, stderr } = await this.run(process.execPath, args);
    let report: Report;
    try {
      report = JSON.parse(readFileSync(output, 'utf8'));
    } catch {
      return { kind: 'broken', why: `the tests gave no report: ${stderr.slice(-500)}` };
    }
    return this.verdict(report, code, stderr);
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }

  private verdict(report: Report, code: number | null, stderr: string): Verdict {
    for (const { name, assertionResults } of report.testResults) {
      for (const { fullName, status, failureMessages } of assertionResults) {
        if (status !== 'failed') continue;
        const [message = ''] = failureMessages;
        const why = `${relative(this.root, name)}: ${fullName}`;
        if (/^(ReferenceError|SyntaxError)/.test(message)) return { kind: 'broken', why: `${why}: ${message}` };
        return { kind: 'noticed', by: why };
      }
    }
    const failed = report.testResults.find(({ status }) => status !== 'passed');
    if (failed !== undefined) return { kind: 'broken', why: `${relative(this.root, failed.name)}: ${failed.message}` };
    if (code !== 0) return { kind: 'broken', why: `the tests ended with ${code}: ${stderr.slice(-500)}` };
    if (report.numPassedTests === 0) return { kind: 'broken', why: 'no test has run' };
    return { kind: 'green' };
  }

  private async embed(): Promise<void> {
    const { code, stderr } = await this.run('npm', ['run', 'embed']);
    if (code !== 0) throw new Error(`npm run embed failed: ${stderr}`);
  }

  private run(program: string, args: readonly string[]): Promise<{ code: number | null; stderr: string }> {
    return new Promise((resolve, reject) => {
      // A process group of its own, so that a run that hangs can be ended with all of its child processes.
      const child = spawn(program, args, { cwd: this.root, detached: true, stdio: ['ignore', 'ignore', 'pipe'] });
      let stderr = '';
      child.stderr.on('data', (chunk) => {
        stderr += chunk;
      });
      const timer = setTimeout(() => process.kill(-(child.pid as number), 'SIGKILL'), RUN_MS);
      child.on('error', reject);
      child.on('close', (code) => {
        clearTimeout(timer);
        resolve({ code, stderr });
      });
    });
  }
}
