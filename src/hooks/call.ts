/** What calls of hooks have in common, wherever they are made. */
import type { HookKey } from '../config/hooks.js';
import { TunicornError } from '../errors.js';

/** gunicorn's name of a hook, 'post_fork' for 'postFork'. */
export function hookName(key: HookKey): string {
  return key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** The error in which a hook ends that must not fail. exitCode: of the process that it ends. */
export function hookFailed(key: HookKey, cause: unknown, exitCode: number): TunicornError {
  const what = cause instanceof Error ? cause.message : 'it threw what is no Error';
  return new TunicornError('ERR_TUNICORN_HOOK', `The hook ${hookName(key)} failed: ${what}`, { exitCode, cause });
}

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as PromiseLike<unknown>).then === 'function';
}
