import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Asks `fn` again and again until it returns something true, and returns that. A throw counts as "not yet".
 * @param options.timeoutMs default 10 s.
 * @param options.what names what was waited for in the error.
 */
export async function until<T>(
  fn: () => T | Promise<T>,
  options: { timeoutMs?: number; what?: string; everyMs?: number } = {},
): Promise<T> {
  const { timeoutMs = 10_000, what = 'the condition', everyMs = 10 } = options;
  const end = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await fn();
      if (value) return value;
      last = undefined;
    } catch (err) {
      last = err;
    }
    if (performance.now() > end) throw new Error(`waited ${timeoutMs} ms for ${what}`, { cause: last });
    await sleep(everyMs);
  }
}

/** Asks until three answers in a row are the same, and returns that. */
export async function settled<T>(fn: () => T, everyMs = 200): Promise<T> {
  let last: T | undefined;
  let same = 0;
  await until(
    () => {
      const now = fn();
      same = now === last ? same + 1 : 0;
      last = now;
      return same >= 2;
    },
    { everyMs, what: 'a steady value' },
  );
  return last as T;
}
