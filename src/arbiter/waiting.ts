/**
 * How the arbiter's loop waits: until it is woken, for some time, or for a promise, but never beyond a signal that ends the arbiter.
 * Event handlers only wake it.
 */
import type { SignalQueue } from './signals.js';
import { now } from './worker-handle.js';

/** The loop comes round at least this often, ms. */
export const ROUND_MS = 1000;

export class Waiting {
  readonly #signals: Pick<SignalQueue, 'ending'>;
  #wake: (() => void) | null = null;
  #woken = false;

  constructor(signals: Pick<SignalQueue, 'ending'>) {
    this.#signals = signals;
  }

  /** Callable from any event handler. */
  wakeup(): void {
    this.#woken = true;
    this.#wake?.();
  }

  /** Until wakeup(), `ms` at most; at once if it was woken since the last sleep. */
  async sleep(ms: number): Promise<void> {
    if (!this.#woken) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.max(1, ms));
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = null;
    }
    this.#woken = false;
  }

  /** False if a signal that ends the arbiter came meanwhile. */
  async pause(ms: number): Promise<boolean> {
    const until = now() + ms;
    while (now() < until && !this.#signals.ending) await this.sleep(until - now());
    return !this.#signals.ending;
  }

  /** Waits for a promise, but not beyond a signal that ends the arbiter: undefined then. @throws what it rejects with. */
  async unlessEnding<T>(promise: Promise<T>): Promise<T | undefined> {
    let settled = false;
    const watched = promise.finally(() => {
      settled = true;
      this.wakeup();
    });
    // Nobody waits for it any more if a signal comes first.
    watched.catch(() => {});
    while (!settled && !this.#signals.ending) await this.sleep(ROUND_MS);
    return settled ? await watched : undefined;
  }
}
