/**
 * Future: the outcome of something that another thread does, with the contract of Python's concurrent.futures.Future as far
 * as Node has a use for it. Nobody waits by blocking; callbacks run on the thread that completes the future, in the
 * order they were added, and one that throws is reported without stopping the others.
 *
 *     PENDING --setResult--> FINISHED      PENDING --setException--> FINISHED      PENDING --cancel--> CANCELLED
 */
import { TunicornError } from '../errors.js';

export type FutureState = 'PENDING' | 'CANCELLED' | 'FINISHED';

export class Future<T> {
  private current: FutureState = 'PENDING';
  private value: T | undefined;
  private error: unknown;
  private failed = false;
  private callbacks: Array<(future: Future<T>) => void> = [];
  private readonly onWatch: (() => void) | undefined;

  /** onWatch: called at the first addDoneCallback, for sources that tell the outcome only when asked. */
  constructor(onWatch?: () => void) {
    this.onWatch = onWatch;
  }

  get state(): FutureState {
    return this.current;
  }

  done(): boolean {
    return this.current !== 'PENDING';
  }

  cancelled(): boolean {
    return this.current === 'CANCELLED';
  }

  /** Gives up on the outcome; false if it is there already. What the other thread does is not stopped by this. */
  cancel(): boolean {
    if (this.current === 'CANCELLED') return true;
    if (this.current !== 'PENDING') return false;
    this.finish('CANCELLED');
    return true;
  }

  /** The result. Throws the exception, or ERR_TUNICORN_FUTURE_PENDING / _CANCELLED where there is no result. */
  result(): T {
    if (this.current !== 'FINISHED') throw this.none();
    if (this.failed) throw this.error;
    return this.value as T;
  }

  /** The exception, or null if it ended well. Throws as result() where it has not ended. */
  exception(): unknown {
    if (this.current !== 'FINISHED') throw this.none();
    return this.failed ? this.error : null;
  }

  /** fn gets the future when it is done, at once if it is. */
  addDoneCallback(fn: (future: Future<T>) => void): void {
    if (this.current !== 'PENDING') {
      run(fn, this);
      return;
    }
    this.callbacks.push(fn);
    if (this.callbacks.length === 1) this.onWatch?.();
  }

  /** False if it was done or cancelled before. */
  setResult(value: T): boolean {
    if (this.current !== 'PENDING') return false;
    this.value = value;
    this.finish('FINISHED');
    return true;
  }

  /** False if it was done or cancelled before. */
  setException(error: unknown): boolean {
    if (this.current !== 'PENDING') return false;
    this.error = error;
    this.failed = true;
    this.finish('FINISHED');
    return true;
  }

  private finish(state: FutureState): void {
    this.current = state;
    const { callbacks } = this;
    this.callbacks = [];
    for (const fn of callbacks) run(fn, this);
  }

  private none(): TunicornError {
    return this.current === 'CANCELLED'
      ? new TunicornError('ERR_TUNICORN_FUTURE_CANCELLED', 'The future was cancelled.')
      : new TunicornError(
          'ERR_TUNICORN_FUTURE_PENDING',
          'The future is not done: add a callback with addDoneCallback.',
        );
  }
}

function run<T>(fn: (future: Future<T>) => void, future: Future<T>): void {
  try {
    fn(future);
  } catch (error) {
    // As concurrent.futures: a callback's error is not the future's. It surfaces as an uncaught exception.
    queueMicrotask(() => {
      throw error;
    });
  }
}
