const noop = (): void => undefined;

/**
 * Writes a line to standard error. Where that is closed, full or a broken pipe, the line is lost; without a listener, its
 * `error` event would end the process.
 * @internal
 */
export function writeToStderr(line: string): void {
  try {
    const { stderr } = process;
    // The listener stays only as long as this write can fail, so that it does not hide failures of other writes.
    const ignore = (): void => {
      if (stderr.listenerCount('error') === 0) stderr.once('error', noop);
    };
    ignore();
    // Node passes a failure to the callback first, and emits it afterwards.
    stderr.write(`${line}\n`, (error?: Error | null) => {
      if (error !== undefined && error !== null) ignore();
    });
    stderr.removeListener('error', noop);
  } catch {
    // There is no other place to report it.
  }
}
