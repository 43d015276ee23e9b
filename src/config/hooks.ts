/**
 * The hooks of a configuration file: functions of the operator's, called at moments of the server's life, and ssl_context, which makes a value. This is the one
 * table of their names; a value that is no function is refused (file.ts), a function is passed on untouched, under its
 * camelCase name. The arbiter calls its own (hooks/arbiter.ts); functions cannot cross a process border, so a Config says
 * where workers and threads find theirs.
 */
import type { Config, Env } from './settings.js';
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
  { name: 'ssl_context', key: 'sslContext', place: 'arbiter' },
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
// biome-ignore lint/suspicious/noExplicitAny: hooks/types.ts says what each is given.
export type Hook = (...args: any[]) => unknown;
/** The hooks that a file has, by key. */
export type Hooks = { readonly [K in HookKey]?: Hook };

/** @throws {InvalidValue} unless it is a function. */
export function readHook(value: unknown): Hook {
  if (typeof value === 'function') return value as Hook;
  throw new InvalidValue(`${show(value)} is not a function, which a hook has to be`);
}

/** Where a worker and its threads find their hooks: they import the configuration file themselves. Plain data. */
export interface HookSource {
  /** Absolute path of the configuration file. */
  readonly file: string;
  /** What it is called with if it exports a function: the environment in which the command was given. */
  readonly env: Env;
  /** How often the arbiter has read its settings so far: another number asks for the file to be read again. */
  readonly reading: number;
  /** Hooks that it had when the arbiter read it, by the place in which they run. */
  readonly worker: readonly HookKey[];
  readonly thread: readonly HookKey[];
}

const kept = new WeakMap<Config, Hooks>();
let readings = 0;

/**
 * Keeps the hooks that came with a Config beside it: they change, at a reload, when it does. If there are some for workers or
 * threads, the Config says from now on where they are.
 */
export function keepHooks(config: Config, hooks: Hooks, file: string, env: Env): void {
  kept.set(config, hooks);
  readings++;
  const those = (place: HookPlace) => HOOKS.filter((h) => h.place === place && hooks[h.key]).map((h) => h.key);
  const worker = those('worker');
  const thread = those('thread');
  if (worker.length + thread.length === 0) return;
  config.hookSource = { file, env: { ...env }, reading: readings, worker, thread };
}

/** A configuration file was run in this process for this Config: code of the operator's. */
export function ranFile(config: Config): boolean {
  return kept.has(config);
}

/** The hooks that came with a Config of this process. */
export function hooksOf(config: Config): Hooks {
  return kept.get(config) ?? {};
}
