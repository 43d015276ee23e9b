/** For how long a worker, or a thread in another one's place, may take to load the app. */
import type { Config } from './settings.js';

/** In gthread --timeout counts from here on, s. */
const GTHREAD_TIMEOUT = 30;

/**
 * In ms; 0 = for ever. In gthread --timeout is a request's: a short one must not end what starts on a busy machine, so it counts from
 * its default on. A worker may be silent for so long, too.
 */
export function bootMs({ timeout, workerClass }: Pick<Config, 'timeout' | 'workerClass'>): number {
  if (timeout === 0) return 0;
  return 1000 * (workerClass === 'gthread' ? Math.max(timeout, GTHREAD_TIMEOUT) : timeout);
}
