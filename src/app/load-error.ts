/** Why an app could not be loaded: one code for each step, and gunicorn's exit status. */
import { APP_LOAD_ERROR, TunicornError } from '../errors.js';
import { describe } from './classify.js';

export function loadError(
  what: 'NOT_FOUND' | 'IMPORT' | 'EXPORT' | 'NOT_HANDLER' | 'LISTEN' | 'TLS' | 'EXIT',
  message: string,
  cause?: unknown,
): TunicornError {
  return new TunicornError(`ERR_TUNICORN_APP_${what}`, message, { exitCode: APP_LOAD_ERROR, cause });
}

/** What an app has thrown, in a line. */
export function summary(err: unknown): string {
  return err instanceof Error ? `${err.name}: ${err.message}` : `threw ${describe(err)}`;
}
