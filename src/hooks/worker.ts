/**
 * The hooks that a worker's main thread calls. The configuration file is imported only if it has some.
 *
 *     begin: post_fork ─ app loads ─ post_worker_init ─ serves ─┬ TERM ────────────────────────┬ worker_exit ─ process.exit
 *                                                               └ INT, QUIT: worker_int        │
 *                                                                 ABRT: worker_abort ──────────┘
 *
 * Those at the end are called once each, and a promise that they return is waited for no longer than graceful_timeout.
 */
import type { HookKey, Hooks } from '../config/hooks.js';
import type { Config } from '../config/settings.js';
import { WORKER_BOOT_ERROR } from '../errors.js';
import type { Logger } from '../log.js';
import type { BootMessage } from '../messages.js';
import { hookFailed, hookName, isThenable } from './call.js';
import { LeftBehind } from './left-behind.js';
import type { HookServerView, HookWorker } from './types.js';

/** The worker, as it is at the moment. */
export interface WorkerFacts {
  /** Its config is another one after a reload. */
  readonly boot: BootMessage;
  readonly log: Logger;
  /** False once it is to end. */
  readonly alive: boolean;
}

class ThisWorker implements HookWorker {
  readonly pid = process.pid;
  readonly ppid = process.ppid;
  booted = false;
  readonly #facts: WorkerFacts;

  constructor(facts: WorkerFacts) {
    this.#facts = facts;
  }

  get age(): number {
    return this.#facts.boot.age;
  }

  get cfg(): Config {
    return this.#facts.boot.config;
  }

  get log(): Logger {
    return this.#facts.log;
  }

  get alive(): boolean {
    return this.#facts.alive;
  }
}

class Server implements HookServerView {
  readonly pid = process.ppid;
  readonly addresses: string[];
  readonly #facts: WorkerFacts;

  constructor(facts: WorkerFacts) {
    this.#facts = facts;
    this.addresses = facts.boot.listeners.filter(({ role }) => role === 'http').map(({ name }) => name);
  }

  get cfg(): Config {
    return this.#facts.boot.config;
  }

  get log(): Logger {
    return this.#facts.log;
  }
}

export class WorkerHooks {
  readonly #facts: WorkerFacts;
  readonly #worker: ThisWorker;
  readonly #server: Server;
  #hooks: Hooks = {};
  readonly #called = new Set<HookKey>();
  readonly #leftBehind = new LeftBehind(() => this.#facts.log);

  constructor(facts: WorkerFacts) {
    this.#facts = facts;
    this.#worker = new ThisWorker(facts);
    this.#server = new Server(facts);
  }

  /**
   * Imports the hooks and calls post_fork.
   * @throws {TunicornError} ERR_TUNICORN_HOOK, ERR_TUNICORN_CONFIG_FILE, exit status 3.
   */
  async begin(): Promise<void> {
    // An end that nobody has planned; what is awaited otherwise cannot be then.
    process.once('exit', () => this.workerExit(() => {}));
    await this.#import();
    await this.#must('postFork', this.#server, this.#worker);
  }

  /** The app is loaded: post_worker_init. @throws {TunicornError} ERR_TUNICORN_HOOK, exit status 3. */
  async postWorkerInit(): Promise<void> {
    await this.#must('postWorkerInit', this.#worker);
    this.#worker.booted = true;
  }

  /** The settings have changed while the worker lives. If the file cannot be read, the hooks stay: that is logged. */
  async reload(): Promise<void> {
    try {
      await this.#import();
    } catch (err) {
      this.#facts.log.error('The hooks stay as they are', err);
    }
  }

  async #import(): Promise<void> {
    const source = this.#facts.boot.config.hookSource;
    if (source === undefined || source.worker.length === 0) {
      this.#hooks = {};
      return;
    }
    // In class sync errors that nobody catches are the app's, which is on the same thread.
    if (this.#facts.boot.config.workerClass !== 'sync') this.#leftBehind.watch();
    const { importHooks } = await import('./load.js');
    this.#hooks = await importHooks(source);
  }

  /** worker_int, then `then`: ok is false if it failed, which is logged. */
  workerInt(then: (ok: boolean) => void): void {
    this.#atEnd('workerInt', [this.#worker], then);
  }

  /** worker_abort, as workerInt. */
  workerAbort(then: (ok: boolean) => void): void {
    this.#atEnd('workerAbort', [this.#worker], then);
  }

  /** worker_exit, then `then`, whatever comes of it. */
  workerExit(then: () => void): void {
    this.#atEnd('workerExit', [this.#server, this.#worker], then);
  }

  async #must(key: HookKey, ...args: unknown[]): Promise<void> {
    try {
      await this.#hooks[key]?.(...args);
    } catch (err) {
      throw hookFailed(key, err, WORKER_BOOT_ERROR);
    }
  }

  /** Without a promise `then` is called before this returns. A second call of the same hook does not happen. */
  #atEnd(key: HookKey, args: unknown[], then: (ok: boolean) => void): void {
    const hook = this.#called.has(key) ? undefined : this.#hooks[key];
    this.#called.add(key);
    const { log, boot } = this.#facts;
    const failed = (err: unknown) => {
      if (key === 'workerExit') log.warning('Exception during worker exit', err);
      else log.error(`Exception in ${hookName(key)} hook`, err);
      then(false);
    };
    let result: unknown;
    try {
      result = hook?.(...args);
    } catch (err) {
      return failed(err);
    }
    if (!isThenable(result)) return then(true);
    let over = false;
    const once = (next: () => void) => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      next();
    };
    const late = () => {
      log.warning(`${hookName(key)} has not ended within ${boot.config.gracefulTimeout} s`);
      then(true);
    };
    const timer = setTimeout(() => once(late), boot.config.gracefulTimeout * 1000);
    result.then(
      () => once(() => then(true)),
      (err) => once(() => failed(err)),
    );
  }
}
