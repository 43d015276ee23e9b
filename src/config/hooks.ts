/**
 * The hooks of a configuration file: functions of the operator's, called at moments of the server's life. This is the one
 * table of their names; a value that is no function is refused (file.ts), a function is passed on untouched, under its
 * camelCase name.
 */
import { InvalidValue, show } from './validate.js';

/** Where a hook is to run: in the process of the arbiter, in that of a worker, in a pool thread. */
export type HookPlace = 'arbiter' | 'worker' | 'thread';

export interface HookEntry {
  /** gunicorn's name, snake_case; ours alone: post_thread_init, thread_exit. */
  readonly name: string;
  readonly key: string;
  readonly place: HookPlace;
}

export const HOOKS = [
  { name: 'on_starting', key: 'onStarting', place: 'arbiter' },
  { name: 'on_reload', key: 'onReload', place: 'arbiter' },
  { name: 'when_ready', key: 'whenReady', place: 'arbiter' },
  { name: 'pre_fork', key: 'preFork', place: 'arbiter' },
  { name: 'post_fork', key: 'postFork', place: 'worker' },
  { name: 'post_worker_init', key: 'postWorkerInit', place: 'worker' },
  { name: 'worker_int', key: 'workerInt', place: 'worker' },
  { name: 'worker_abort', key: 'workerAbort', place: 'worker' },
  { name: 'pre_exec', key: 'preExec', place: 'arbiter' },
  { name: 'pre_request', key: 'preRequest', place: 'thread' },
  { name: 'post_request', key: 'postRequest', place: 'thread' },
  { name: 'child_exit', key: 'childExit', place: 'arbiter' },
  { name: 'worker_exit', key: 'workerExit', place: 'worker' },
  { name: 'nworkers_changed', key: 'nworkersChanged', place: 'arbiter' },
  { name: 'on_exit', key: 'onExit', place: 'arbiter' },
  { name: 'post_thread_init', key: 'postThreadInit', place: 'thread' },
  { name: 'thread_exit', key: 'threadExit', place: 'thread' },
] as const satisfies readonly HookEntry[];

export type HookKey = (typeof HOOKS)[number]['key'];
export type HookName = (typeof HOOKS)[number]['name'];
// biome-ignore lint/suspicious/noExplicitAny: what a hook is given is for the code that calls it to say.
export type Hook = (...args: any[]) => unknown;
/** The hooks that a file has, by key. */
export type Hooks = { readonly [K in HookKey]?: Hook };

/** @throws {InvalidValue} unless it is a function. */
export function readHook(value: unknown): Hook {
  if (typeof value === 'function') return value as Hook;
  throw new InvalidValue(`${show(value)} is not a function, which a hook has to be`);
}
