/**
 * Errors that tunicorn raises itself. Each carries a stable `code` (ERR_TUNICORN_...), says what was wrong and,
 * where there is something to do, what to do; `exitCode` is the status of a process that it ends.
 */
export class TunicornError extends Error {
  readonly code: string;
  /** Exit status for the process that this error ends: 1 in general, or one of the constants below. */
  readonly exitCode: number;

  constructor(code: string, message: string, options: { exitCode?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'TunicornError';
    this.code = code;
    this.exitCode = options.exitCode ?? 1;
  }
}

/** Exit status for a wrong command line or setting (argparse's, and so gunicorn's). */
export const USAGE_ERROR = 2;
/** Exit status of a worker that failed to boot: the arbiter stops (gunicorn: Arbiter.WORKER_BOOT_ERROR). */
export const WORKER_BOOT_ERROR = 3;
/** Exit status of a worker whose app could not be loaded: the arbiter stops (gunicorn: Arbiter.APP_LOAD_ERROR). */
export const APP_LOAD_ERROR = 4;
