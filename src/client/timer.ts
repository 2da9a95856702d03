import { delayOf } from './globals';

/** Calls `run` after `ms`, in place of the function that was set before. Without `run`, none is called. @internal */
export type Timer = (run?: () => void, ms?: number) => void;

/** @internal */
export function createTimer(): Timer {
  let timer: ReturnType<typeof setTimeout> | undefined;
  return (run, ms = 0) => {
    clearTimeout(timer);
    if (run) timer = setTimeout(run, delayOf(ms));
  };
}
