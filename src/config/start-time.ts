/** How long a worker, or a thread of one, may take to start: a setting of requests, --timeout, as far as it can be that of starts. */
import type { Config } from './settings.js';

/** Least time in class gthread, seconds. */
const GTHREAD_TIMEOUT = 30;

/**
 * For how long a worker may be silent, or a worker or thread take to start, ms; 0 = for ever. In gthread --timeout is a request's: a
 * short one must end neither a worker that starts on a busy machine, nor a thread whose app takes its time to load, so it counts from
 * its default on.
 */
export function startTime({ timeout, workerClass }: Pick<Config, 'timeout' | 'workerClass'>): number {
  if (timeout === 0) return 0;
  return 1000 * (workerClass === 'gthread' ? Math.max(timeout, GTHREAD_TIMEOUT) : timeout);
}
