/**
 * The arbiter: one process that owns the listening sockets and keeps the wanted number of worker processes, in gunicorn's
 * manner. It runs no user code and touches no connection. `run` is a plain loop: sleep until something happened (at most
 * a second), reap the workers that ended, then either handle one signal or look after the workers. Event handlers (signal,
 * child exit) only enqueue and wake the loop, so each decision is made in one place and in order. However the loop ends,
 * `halt` leaves no worker and no socket file behind; an 'exit' hook does the same if the process itself breaks down.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Config } from '../config/settings.js';
import { APP_LOAD_ERROR, TunicornError, WORKER_BOOT_ERROR } from '../errors.js';
import type { Logger } from '../log.js';
import { version } from '../version.js';
import { preload } from './app-check.js';
import { Belongings, type Change } from './belongings.js';
import { needsProcess, rebind } from './reload.js';
import { SignalQueue, shortName } from './signals.js';
import { closeSockets, createSockets, type Listener } from './sock.js';
import { now, WorkerHandle } from './worker-handle.js';

/** The loop looks after the workers at least this often. */
const ROUND_MS = 1000;
/** Time workers have after QUIT: they leave at once unless they are stuck. */
const QUICK_MS = 2000;
/** Time the kernel has to end what was sent KILL. */
const KILL_MS = 5000;
/** Least time that a gthread worker has to give a sign of life, seconds. */
const GTHREAD_TIMEOUT = 30;
/** A worker that ends sooner than this after its start, unasked, has crashed at the start. */
const CRASH_MS = 1000;
/** That many crashes in a row are replaced at once; then the pause between two starts doubles up to the longest. */
const FREE_CRASHES = 3;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2000;

/** Ends the loop: the arbiter cannot go on. */
class HaltServer extends Error {
  readonly exitCode: number;

  constructor(reason: string, exitCode: number) {
    super(reason);
    this.exitCode = exitCode;
  }
}

export interface ArbiterOptions {
  /** Script that the workers run. Default: tunicorn's own. */
  workerMain?: string;
  /** Default: one made from the config. */
  log?: Logger;
  /** Gives the settings anew, at HUP. Rejects if they are broken: all stays as it is then. Default: the same as before. */
  reread?: () => Promise<Config>;
}

/**
 * For how long a worker may be silent, or boot, ms; 0 = for ever. In gthread --timeout is a request's: a short one must not
 * end a worker that starts on a busy machine, so it counts from its default on.
 */
function workerTimeout({ timeout, workerClass }: Config): number {
  if (timeout === 0) return 0;
  return 1000 * (workerClass === 'gthread' ? Math.max(timeout, GTHREAD_TIMEOUT) : timeout);
}

export class Arbiter {
  #config: Config;
  readonly #own: Belongings;
  readonly #workerMain: string;
  readonly #reread: (() => Promise<Config>) | undefined;
  readonly #signals = new SignalQueue(() => this.wakeup());
  readonly #workers = new Set<WorkerHandle>();
  /** Workers whose process is gone, not yet reaped. */
  #ended: WorkerHandle[] = [];
  #listeners: Listener[] = [];
  /** Listeners of --status-bind: open until the last worker has gone. */
  #status: Listener[] = [];
  #numWorkers: number;
  #workerAge = 0;
  #anyBooted = false;
  #stopping = false;
  #lastRound = now();
  #crashes = 0;
  #spawnNotBefore = 0;
  #wake: (() => void) | null = null;
  #woken = false;
  readonly #lastResort = (): void => {
    for (const worker of this.#workers) worker.kill('SIGKILL');
    closeSockets([...this.#listeners, ...this.#status], true);
    this.#own.unlink();
  };

  /** @throws {TunicornError} ERR_TUNICORN_LOG if the error log cannot be opened. */
  constructor(config: Config, options: ArbiterOptions = {}) {
    this.#config = config;
    this.#numWorkers = config.workers;
    this.#workerMain = options.workerMain ?? fileURLToPath(new URL('../worker/main.js', import.meta.url));
    this.#own = new Belongings(config, options.log);
    this.#reread = options.reread;
  }

  /** The error log: another one after a reload that changes its file or level. */
  get log(): Logger {
    return this.#own.log;
  }

  /** Names of the sockets it listens at, known after start: `http://127.0.0.1:8000`. */
  get addresses(): string[] {
    return this.#listeners.map((l) => l.name);
  }

  /**
   * Serves until a signal or a boot failure ends it.
   * @returns the exit status: 0 after TERM, INT or QUIT; 3 if a worker cannot boot, 4 if the app cannot be loaded; 1
   *   if it cannot listen or on an error of its own. Never rejects.
   */
  async run(): Promise<number> {
    process.on('exit', this.#lastResort);
    this.#signals.install();
    try {
      if (!(await this.start())) return await this.halt();
      this.manageWorkers();
      for (;;) {
        if (this.#signals.empty) await this.#sleep(ROUND_MS);
        this.reapWorkers();
        const signal = this.#signals.shift();
        if (signal === undefined) {
          await this.murderWorkers();
          this.manageWorkers();
        } else {
          this.log.info(`Handling signal: ${shortName(signal)}`);
          if (await this.#handle(signal)) return await this.halt();
        }
      }
    } catch (err) {
      if (err instanceof HaltServer) return await this.halt(err.message, err.exitCode);
      if (err instanceof TunicornError) return await this.halt(err.message, err.exitCode);
      this.log.critical('Unhandled error in the main loop', err);
      return await this.halt('an error of its own', 1);
    } finally {
      this.#signals.uninstall();
      process.removeListener('exit', this.#lastResort);
      this.#own.close();
    }
  }

  /** Opens the sockets. @returns false if a signal ended it meanwhile. @throws {TunicornError} if that is impossible. */
  async start(): Promise<boolean> {
    this.log.info(`Starting tunicorn ${version}`);
    const config = this.#config;
    const { bind, statusBind } = config;
    this.#own.start();
    if (!(await this.#preload(config))) return false;
    const listeners = await createSockets({
      ...config,
      bind: [...bind, ...statusBind],
      log: this.log,
      pause: (ms) => this.#pause(ms),
    });
    if (!listeners) return false;
    this.#listeners = listeners.slice(0, bind.length);
    this.#status = listeners.slice(bind.length);
    this.log.info(`Listening at: ${this.addresses.join(',')} (${process.pid})`);
    if (this.#status.length > 0) this.log.info(`Status at: ${this.#status.map((l) => l.name).join(',')}`);
    this.log.info(`Using worker: ${this.#config.workerClass}`);
    return true;
  }

  /** preload_app. @returns false if a signal ended it meanwhile. @throws {TunicornError} ERR_TUNICORN_PRELOAD */
  async #preload(config: Config): Promise<boolean> {
    if (!config.preloadApp) return true;
    const giveUp = new AbortController();
    const loaded = await this.#unlessEnding(preload(config, this.log, giveUp.signal));
    if (loaded === undefined) giveUp.abort();
    return loaded === true;
  }

  /** Waits for a promise, but not beyond a signal that ends the arbiter: undefined then. @throws what it rejects with. */
  async #unlessEnding<T>(promise: Promise<T>): Promise<T | undefined> {
    let settled = false;
    const watched = promise.finally(() => {
      settled = true;
      this.wakeup();
    });
    // Nobody waits for it any more if a signal comes first.
    watched.catch(() => {});
    while (!settled && !this.#signals.ending) await this.#sleep(ROUND_MS);
    return settled ? await watched : undefined;
  }

  /** False if a signal that ends it came meanwhile. */
  async #pause(ms: number): Promise<boolean> {
    const until = now() + ms;
    while (now() < until && !this.#signals.ending) await this.#sleep(until - now());
    return !this.#signals.ending;
  }

  /** Wakes the loop. Callable from any event handler. */
  wakeup(): void {
    this.#woken = true;
    this.#wake?.();
  }

  /** Carries out a signal. @returns true if the arbiter is to end. */
  async #handle(signal: NodeJS.Signals): Promise<boolean> {
    switch (signal) {
      case 'SIGTERM':
        await this.stop(true);
        return true;
      case 'SIGINT':
      case 'SIGQUIT':
        await this.stop(false);
        return true;
      case 'SIGTTIN':
        this.#numWorkers++;
        this.manageWorkers();
        return false;
      case 'SIGTTOU':
        if (this.#numWorkers > 1) this.#numWorkers--;
        this.manageWorkers();
        return false;
      case 'SIGUSR1':
        this.#own.reopenLogs();
        for (const worker of this.#workers) worker.reopenLogs();
        return false;
      case 'SIGHUP':
        await this.#hangUp();
        return false;
      default:
        this.log.warning(`Signal ${shortName(signal)} is not supported yet`);
        return false;
    }
  }

  /** HUP: reads the settings anew and reloads. Broken ones change nothing, not even the app. */
  async #hangUp(): Promise<void> {
    let config: Config | undefined = this.#config;
    try {
      if (this.#reread) config = await this.#unlessEnding(this.#reread());
    } catch (err) {
      const known = err instanceof TunicornError;
      this.log.error(
        `Hang up: nothing is changed: ${known ? err.message : 'an error of its own'}`,
        known ? err.cause : err,
      );
      return;
    }
    if (config) await this.reload(config);
  }

  /**
   * Has every worker take up the app's present code, and the config if another one is given: by fresh threads while its
   * connections stay, or, where that is not possible (reload.ts), by a new process; the old one then finishes what it has.
   * A config whose addresses cannot be listened at, or whose error log or pid file cannot be opened, is refused, and so is
   * an app that does not load (preload_app): that is logged, and all stays as it is. Never rejects.
   */
  async reload(config: Config = this.#config): Promise<void> {
    this.log.info('Hang up: Master');
    const old = this.#config;
    let change: Change | undefined;
    try {
      change = this.#own.prepare(config);
      if (!(await this.#preload(config)) || !(await this.#rebind(config))) {
        change.rollback();
        return;
      }
    } catch (err) {
      change?.rollback();
      this.log.error('The new settings are refused', err);
      return;
    }
    change.commit();
    this.#config = config;
    // TTIN and TTOU hold as long as the setting itself does not change.
    if (config.workers !== old.workers) this.#numWorkers = config.workers;
    const workers = [...this.#workers];
    this.manageWorkers();
    for (const worker of workers) {
      if (worker.stoppedAt !== null) continue;
      if (!needsProcess(worker.config, config)) worker.reload(config);
      else {
        this.spawnWorker();
        worker.stop('SIGTERM');
      }
    }
  }

  /**
   * Listens at the addresses of another config. @returns false if a signal ended it meanwhile.
   * @throws {TunicornError} ERR_TUNICORN_LISTEN: nothing has changed.
   */
  async #rebind(config: Config): Promise<boolean> {
    const all = (c: Config) => ({ ...c, bind: [...c.bind, ...c.statusBind] });
    const present = [...this.#listeners, ...this.#status];
    const options = { log: this.log, pause: (ms: number) => this.#pause(ms) };
    const listeners = await rebind(present, all(this.#config), all(config), options);
    if (!listeners) return false;
    this.#listeners = listeners.slice(0, config.bind.length);
    this.#status = listeners.slice(config.bind.length);
    if (listeners.some((listener) => !present.includes(listener))) {
      this.log.info(`Listening at: ${this.addresses.join(',')} (${process.pid})`);
    }
    return true;
  }

  /** Starts or stops workers until their number is the wanted one; the oldest leave first. */
  manageWorkers(): void {
    const active = [...this.#workers].filter((w) => w.stoppedAt === null);
    for (let n = active.length; n < this.#numWorkers && now() >= this.#spawnNotBefore; n++) this.spawnWorker();
    active.sort((a, b) => a.age - b.age);
    for (const worker of active.slice(0, Math.max(0, active.length - this.#numWorkers))) worker.retire();
    this.#own.measure(this.#workers.size, this.#listeners);
  }

  /** Starts one worker. If the system has no room for it, the next try waits a little. */
  spawnWorker(): void {
    let worker: WorkerHandle;
    try {
      worker = this.#newWorker();
    } catch (err) {
      this.log.error('Cannot start a worker', err);
      this.#crashed();
      return;
    }
    this.#workers.add(worker);
    if (worker.pid !== undefined) this.log.info(`Booting worker with pid: ${worker.pid}`);
  }

  #newWorker(): WorkerHandle {
    return new WorkerHandle({
      workerMain: this.#workerMain,
      config: this.#config,
      listeners: this.#listeners,
      status: this.#status,
      age: this.#workerAge++,
      relieves: [...this.#workers].some((w) => w.booted && w.stoppedAt === null),
      onExit: (gone) => {
        this.#ended.push(gone);
        this.wakeup();
      },
    });
  }

  /** Kills workers that gave no sign of life, did not boot, or did not leave in time: ABRT first, KILL a round later. */
  async murderWorkers(): Promise<void> {
    // After a stop of the whole process group (Ctrl-Z) nobody could notify: that time counts against no worker.
    const gap = now() - this.#lastRound;
    this.#lastRound = now();
    // Let the event loop read the messages that have arrived before judging their absence.
    await turn();
    const timeout = workerTimeout(this.#config);
    for (const worker of this.#workers) {
      if (!worker.alive) continue;
      if (gap > 2 * ROUND_MS) worker.excuse(gap);
      const graceOver = worker.stoppedAt !== null && now() - worker.stoppedAt > this.#config.gracefulTimeout * 1000;
      const silent = timeout > 0 && now() - worker.lastNotify > timeout;
      const slowBoot = timeout > 0 && !worker.booted && now() - worker.spawnedAt > timeout;
      if (graceOver) {
        worker.kill('SIGKILL');
      } else if (worker.abortedAt !== null) {
        if (now() - worker.abortedAt >= ROUND_MS) worker.kill('SIGKILL');
      } else if (silent || slowBoot) {
        this.log.critical(`WORKER TIMEOUT (pid:${worker.pid})${silent ? '' : ': it did not finish booting'}`);
        worker.abort();
      }
    }
  }

  /**
   * Takes note of the workers that ended.
   * @throws {HaltServer} if one of them could not boot.
   */
  reapWorkers(): void {
    const ended = this.#ended;
    this.#ended = [];
    for (const worker of ended) this.#workers.delete(worker);
    for (const worker of ended) this.#anyBooted ||= worker.booted;
    for (const worker of ended) this.#reap(worker);
  }

  #reap(worker: WorkerHandle): void {
    const { pid } = worker;
    const { code, signal, error } = worker.exit!;
    const unasked = worker.stoppedAt === null && worker.abortedAt === null && !this.#stopping;
    if (error) {
      this.log.error(`Cannot start a worker: ${error.message}`);
    } else if (signal !== null) {
      const memory = signal === 'SIGKILL' && unasked ? ' Perhaps out of memory?' : '';
      this.log[unasked ? 'error' : 'info'](`Worker (pid:${pid}) was sent ${signal}!${memory}`);
    } else if (code !== 0) {
      this.log.error(`Worker (pid:${pid}) exited with code ${code}`);
    } else {
      this.log.info(`Worker exiting (pid: ${pid})`);
    }
    if (this.#stopping) return;
    if (code === WORKER_BOOT_ERROR) throw new HaltServer('Worker failed to boot.', WORKER_BOOT_ERROR);
    if (code === APP_LOAD_ERROR) throw new HaltServer('App failed to load.', APP_LOAD_ERROR);
    // A script that breaks before it can tell why ends with node's own code; if no worker ever booted, none will.
    if (code !== null && code !== 0 && !worker.booted && unasked && !this.#anyWorkerBooted()) {
      throw new HaltServer('Worker failed to boot.', WORKER_BOOT_ERROR);
    }
    if (!unasked) return;
    if (worker.booted && (code === 0 || now() - worker.spawnedAt > CRASH_MS)) this.#crashes = 0;
    else this.#crashed();
  }

  #anyWorkerBooted(): boolean {
    for (const worker of this.#workers) this.#anyBooted ||= worker.booted;
    return this.#anyBooted;
  }

  /** Crashes in a row at the start of a worker make the next starts wait a little. */
  #crashed(): void {
    this.#crashes++;
    if (this.#crashes <= FREE_CRASHES) return;
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (this.#crashes - FREE_CRASHES - 1));
    const told = now() < this.#spawnNotBefore;
    this.#spawnNotBefore = now() + pause;
    setTimeout(() => this.wakeup(), pause + 1).unref();
    if (told) return;
    this.log.warning(`Workers crash at their start (${this.#crashes} in a row): waiting ${pause} ms`);
  }

  /** Sends every worker that lives a signal. */
  killWorkers(signal: NodeJS.Signals): void {
    for (const worker of this.#workers) {
      if (signal === 'SIGTERM' || signal === 'SIGQUIT') worker.stop(signal);
      else worker.kill(signal);
    }
  }

  /**
   * Ends all workers: TERM and up to graceful_timeout for their requests, or QUIT and a moment; then KILL. INT or QUIT
   * during a graceful stop make it quick. Returns when all processes are gone.
   */
  async stop(graceful: boolean): Promise<void> {
    this.#stopping = true;
    closeSockets(this.#listeners, true);
    const patience = this.#config.gracefulTimeout * 1000;
    let limit = now() + (graceful ? patience : Math.min(patience, QUICK_MS));
    this.killWorkers(graceful ? 'SIGTERM' : 'SIGQUIT');
    while (this.#workers.size > 0 && now() < limit) {
      await this.#sleep(limit - now());
      this.reapWorkers();
      for (let s = this.#signals.shift(); s !== undefined; s = this.#signals.shift()) {
        this.log.info(`Handling signal: ${shortName(s)}`);
        if (s !== 'SIGINT' && s !== 'SIGQUIT') continue;
        limit = Math.min(limit, now() + QUICK_MS);
        this.killWorkers('SIGQUIT');
      }
    }
    if (this.#workers.size === 0) return;
    this.log.warning(`Killing ${this.#workers.size} worker(s) that did not leave in time`);
    this.killWorkers('SIGKILL');
    limit = now() + KILL_MS;
    while (this.#workers.size > 0 && now() < limit) {
      await this.#sleep(limit - now());
      this.reapWorkers();
    }
  }

  /** Ends everything that is left and says so. @returns exitCode. */
  async halt(reason?: string, exitCode = 0): Promise<number> {
    await this.stop(exitCode === 0);
    closeSockets(this.#status, true);
    this.#own.unlink();
    this.log.info('Shutting down: Master');
    if (reason !== undefined) this.log.error(`Reason: ${reason}`);
    return exitCode;
  }

  /** Until wakeup(), `ms` at most; at once if it was woken since the last sleep. */
  async #sleep(ms: number): Promise<void> {
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
}
