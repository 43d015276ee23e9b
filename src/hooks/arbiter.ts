/**
 * The hooks that the arbiter calls, in its own process. They are called at once, in the arbiter's own order, from wherever it
 * is; what comes of them is seen at the next point where it decides anything (settled): there promises are awaited, and a hook
 * that failed, by a throw or by its promise, is logged and ends the arbiter, as in gunicorn. So none of its verbs waits or throws.
 *
 * Where that would do harm a failure is only logged: once the arbiter stops; and an upgrade (pre_exec) is given up.
 */
import { type HookKey, hooksOf } from '../config/hooks.js';
import type { Config } from '../config/settings.js';
import type { Logger } from '../log.js';
import { hookFailed, hookName, isThenable } from './call.js';
import type { HookChild, HookServer } from './types.js';

/** The arbiter, as it is at the moment. */
export interface ArbiterFacts {
  readonly config: Config;
  readonly log: Logger;
  readonly addresses: string[];
  readonly numWorkers: number;
  /** It ends: nothing that fails now may keep it from that. */
  readonly stopping: boolean;
  /** Waits, but not beyond a signal that ends the arbiter: undefined then. */
  unlessEnding<T>(promise: Promise<T>): Promise<T | undefined>;
}

/** A worker's process: arbiter/worker-handle.ts. */
export interface WorkerProcess {
  readonly pid: number | undefined;
  readonly settings: Config;
  readonly booted: boolean;
  readonly exit: { code: number | null; signal: NodeJS.Signals | null } | null;
}

class Child implements HookChild {
  readonly age: number;
  readonly ppid = process.pid;
  readonly env: Record<string, string> = {};
  readonly #facts: ArbiterFacts;
  #process: WorkerProcess | null = null;

  constructor(age: number, facts: ArbiterFacts) {
    this.age = age;
    this.#facts = facts;
  }

  started(process: WorkerProcess): void {
    this.#process = process;
  }

  get pid(): number | null {
    return this.#process?.pid ?? null;
  }

  get cfg(): Config {
    return this.#process?.settings ?? this.#facts.config;
  }

  get log(): Logger {
    return this.#facts.log;
  }

  get booted(): boolean {
    return this.#process?.booted ?? false;
  }

  get exitCode(): number | null {
    return this.#process?.exit?.code ?? null;
  }

  get exitSignal(): NodeJS.Signals | null {
    return this.#process?.exit?.signal ?? null;
  }
}

class Server implements HookServer {
  readonly pid = process.pid;
  readonly #facts: ArbiterFacts;
  readonly #children: ReadonlyMap<WorkerProcess, Child>;

  constructor(facts: ArbiterFacts, children: ReadonlyMap<WorkerProcess, Child>) {
    this.#facts = facts;
    this.#children = children;
  }

  get cfg(): Config {
    return this.#facts.config;
  }

  get log(): Logger {
    return this.#facts.log;
  }

  get addresses(): string[] {
    return this.#facts.addresses;
  }

  get numWorkers(): number {
    return this.#facts.numWorkers;
  }

  get workers(): HookChild[] {
    return [...this.#children.values()];
  }
}

export class ArbiterHooks {
  readonly #facts: ArbiterFacts;
  readonly #children = new Map<WorkerProcess, Child>();
  readonly #server: Server;
  /** What hooks have left for settled(). They reject with what ends the arbiter. */
  #pending: Promise<unknown>[] = [];
  /** on_starting went well: on_exit shall follow. */
  #started = false;
  #failures = 0;
  /** A hook ends the arbiter. */
  #broken = false;

  constructor(facts: ArbiterFacts) {
    this.#facts = facts;
    this.#server = new Server(facts, this.#children);
  }

  /** Waits for the hooks that were called. @returns false if a signal ended that. @throws {TunicornError} ERR_TUNICORN_HOOK */
  async settled(): Promise<boolean> {
    while (this.#pending.length > 0) {
      const pending = Promise.all(this.#pending).then(() => true);
      this.#pending = [];
      if ((await this.#facts.unlessEnding(pending)) !== true) return false;
    }
    return true;
  }

  /** on_starting. @returns false if a signal ended it. @throws {TunicornError} ERR_TUNICORN_HOOK */
  async onStarting(): Promise<boolean> {
    if (!(await this.settled())) return false;
    this.#call('onStarting', this.#server);
    this.#started = await this.settled();
    return this.#started;
  }

  /** when_ready. @returns false if a signal ended it. @throws {TunicornError} ERR_TUNICORN_HOOK */
  async whenReady(): Promise<boolean> {
    this.#call('whenReady', this.#server);
    return await this.settled();
  }

  /** nworkers_changed. before: null at the start. */
  nworkersChanged(now: number, before: number | null): void {
    if (now !== before) this.#call('nworkersChanged', this.#server, now, before);
  }

  /** on_reload: the new settings hold, no worker has heard of them yet. @throws {TunicornError} ERR_TUNICORN_HOOK */
  async onReload(): Promise<void> {
    this.#call('onReload', this.#server);
    await this.settled();
  }

  /**
   * pre_fork, then `start` with the variables that it wants in the worker's environment: at once, or when its promise resolves.
   * start: returns the process, null if there is none.
   */
  preFork(age: number, start: (env: Record<string, string>) => WorkerProcess | null): void {
    const child = new Child(age, this.#facts);
    const begin = () => {
      const process = start(child.env);
      if (process === null) return;
      child.started(process);
      this.#children.set(process, child);
    };
    const called = this.#call('preFork', this.#server, child);
    if (called === null) begin();
    else this.#leave(called.then(() => this.#broken || this.#facts.stopping || begin()));
  }

  /** child_exit: a worker's process has ended and is no longer among the workers. */
  childExit(process: WorkerProcess): void {
    const child = this.#children.get(process);
    this.#children.delete(process);
    if (child !== undefined && process.pid !== undefined) this.#call('childExit', this.#server, child);
  }

  /** pre_exec. @returns false: it failed, which is logged, or a signal ended it; the upgrade is not to be. Never rejects. */
  async preExec(): Promise<boolean> {
    const hook = hooksOf(this.#facts.config).preExec;
    try {
      const done = Promise.resolve(hook?.(this.#server)).then(() => true);
      return (await this.#facts.unlessEnding(done)) === true;
    } catch (err) {
      this.#log('preExec', err);
      return false;
    }
  }

  /**
   * on_exit, if the arbiter had started and no hook has broken it: gunicorn does not call it then either.
   * @returns false if it failed. Never rejects.
   */
  async onExit(): Promise<boolean> {
    if (!this.#started || this.#broken) return true;
    await this.settled();
    const before = this.#failures;
    this.#call('onExit', this.#server);
    await this.settled();
    return this.#failures === before;
  }

  /** Calls a hook. @returns null: it is over; otherwise a promise, which settled() waits for, too. */
  #call(key: HookKey, ...args: unknown[]): Promise<unknown> | null {
    const hook = hooksOf(this.#facts.config)[key];
    if (hook === undefined) return null;
    let result: unknown;
    try {
      result = hook(...args);
      if (!isThenable(result)) return null;
    } catch (err) {
      result = Promise.reject(err);
    }
    return this.#leave(Promise.resolve(result).catch((err) => this.#failed(key, err)));
  }

  #leave(promise: Promise<unknown>): Promise<unknown> {
    // If a signal comes first, nobody takes it up.
    promise.catch(() => {});
    this.#pending.push(promise);
    return promise;
  }

  #failed(key: HookKey, err: unknown): void {
    this.#log(key, err);
    this.#failures++;
    if (this.#facts.stopping || this.#broken) return;
    this.#broken = true;
    throw hookFailed(key, err, 1);
  }

  #log(key: HookKey, err: unknown): void {
    this.#facts.log.error(`Exception in ${hookName(key)} hook`, err);
  }
}
