/**
 * How the arbiter's loop waits: until it is woken, for some time, or for a promise, but never beyond a signal that ends the arbiter.
 * Event handlers only wake it. While it waits for something, what cannot wait goes on (`meanwhile`): a worker that ends is replaced at once,
 * however long a reload's sockets, app or settings take.
 */
import type { SignalQueue } from './signals.js';
import { now } from './worker-handle.js';

/** The loop comes round at least this often, ms. */
export const ROUND_MS = 1000;

export class Waiting {
  readonly #signals: Pick<SignalQueue, 'ending'>;
  readonly #meanwhile: () => Promise<void>;
  #wake: (() => void) | null = null;
  #woken = false;

  /** @param meanwhile called now and then while it waits for something; must not reject. */
  constructor(signals: Pick<SignalQueue, 'ending'>, meanwhile: () => Promise<void>) {
    this.#signals = signals;
    this.#meanwhile = meanwhile;
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
    while (now() < until && !this.#signals.ending) await this.#nap(until - now());
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
    while (!settled && !this.#signals.ending) await this.#nap(ROUND_MS);
    return settled ? await watched : undefined;
  }

  async #nap(ms: number): Promise<void> {
    await this.sleep(Math.min(ms, ROUND_MS));
    await this.#meanwhile();
  }
}
