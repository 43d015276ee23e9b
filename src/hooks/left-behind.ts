/**
 * What the operator's code has left running and what fails only later: a timer of a hook, a promise that nobody awaits. Node would end
 * the process, and with the arbiter the whole service; here it is logged, as a thread's exception is in gunicorn, and everything goes on.
 */
import type { Logger } from '../log.js';
import { listen } from '../own-listeners.js';

export class LeftBehind {
  #watching = false;
  readonly #uncaught: (error: unknown) => void;
  readonly #unhandled: (reason: unknown) => void;

  /** @param log the error log of now. */
  constructor(log: () => Logger) {
    const told = (what: string) => (error: unknown) =>
      log().error(`${what}, perhaps of what a hook has left running`, error);
    this.#uncaught = told('Uncaught exception');
    this.#unhandled = told('Unhandled rejection');
  }

  /** From now on code of the operator's is in this process. */
  watch(): void {
    if (this.#watching) return;
    this.#watching = true;
    listen('uncaughtException', this.#uncaught);
    listen('unhandledRejection', this.#unhandled);
  }

  close(): void {
    this.#watching = false;
    process.off('uncaughtException', this.#uncaught);
    process.off('unhandledRejection', this.#unhandled);
  }
}
