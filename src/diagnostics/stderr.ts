const noop = (): void => undefined;

/**
 * Writes a line to the standard error output. One that is closed, full or a broken pipe harms nobody: its `error` event,
 * which nobody would hear, ends a process.
 * @internal
 */
export function writeToStderr(line: string): void {
  try {
    const { stderr } = process;
    // A listener only for as long as this write can fail: failures of somebody else's writes are theirs.
    const ignore = (): void => {
      if (stderr.listenerCount('error') === 0) stderr.once('error', noop);
    };
    ignore();
    // A failure is told to the function first, and emitted afterwards.
    stderr.write(`${line}\n`, (error?: Error | null) => {
      if (error !== undefined && error !== null) ignore();
    });
    stderr.removeListener('error', noop);
  } catch {
    // There is nowhere else to say it.
  }
}
