/**
 * The arbiter: one process that owns the listening sockets and keeps the wanted number of worker processes, in gunicorn's
 * manner. It runs no user code and touches no connection. `run` is a plain loop: sleep until something happened (at most
 * a second), reap the workers that ended, then either handle one signal or look after the workers. Event handlers (signal,
 * child exit) only enqueue and wake the loop, so each decision is made in one place and in order. However the loop ends,
 * `halt` leaves no worker and no socket file behind; an 'exit' hook does the same if the process itself breaks down. While another
 * arbiter serves at the same sockets (USR2, reexec.ts) their files are not this one's to remove.
 */
import { fileURLToPath } from 'node:url';
import { ranFile } from '../config/hooks.js';
import type { Config } from '../config/settings.js';
import { TunicornError } from '../errors.js';
import { ArbiterHooks } from '../hooks/arbiter.js';
import { LeftBehind } from '../hooks/left-behind.js';
import type { Logger } from '../log.js';
import type { TlsMaterial } from '../messages.js';
import { type Origin, origin } from '../origin.js';
import { version } from '../version.js';
import { preload } from './app-check.js';
import { Belongings, type Change } from './belongings.js';
import { takeInheritance } from './inherited.js';
import { Listening } from './listening.js';
import { ServiceNotifier } from './notify.js';
import { Succession } from './reexec.js';
import { mayBeResize, SignalQueue, shortName } from './signals.js';
import type { Listener } from './sock.js';
import { Strays } from './strays.js';
import { ROUND_MS, Waiting } from './waiting.js';
import { now } from './worker-handle.js';
import { HaltServer, LAST_WORDS_MS, type Master, Workers } from './workers.js';

/** Time workers have after QUIT: they leave at once unless they are stuck. */
const QUICK_MS = 2000;
/** Time the kernel has to end what was sent KILL. */
const KILL_MS = 5000;
/** How often a new arbiter looks whether the old one is still there, ms. */
const PARENT_MS = 100;

export interface ArbiterOptions {
  /** Script that the workers run. Default: tunicorn's own. */
  workerMain?: string;
  /** Default: one made from the config. */
  log?: Logger;
  /** Gives the settings anew, at HUP. Rejects if they are broken: all stays as it is then. Default: the same as before. */
  reread?: () => Promise<Config>;
  /** What USR2 starts again. Default: what started this process. */
  origin?: Origin;
}

export class Arbiter implements Master {
  #config: Config;
  readonly #own: Belongings;
  /** The operator's functions for this process. */
  readonly hooks: ArbiterHooks;
  readonly #workers: Workers;
  readonly #reread: (() => Promise<Config>) | undefined;
  readonly #signals = new SignalQueue(() => this.wakeup());
  readonly #waiting: Waiting;
  readonly #strays = new Strays();
  readonly #succession: Succession;
  readonly #service: ServiceNotifier;
  readonly #listening = new Listening();
  readonly #leftBehind = new LeftBehind(() => this.log);
  readonly #lastResort = (): void => {
    this.#workers.kill();
    this.#listening.closeAll(this.#succession.alone);
    this.#own.unlink();
  };

  /** @throws {TunicornError} ERR_TUNICORN_LOG if the error log cannot be opened. */
  constructor(config: Config, options: ArbiterOptions = {}) {
    this.#config = config;
    const inherited = takeInheritance();
    this.#own = new Belongings(config, options.log, inherited !== null);
    this.#succession = new Succession(options.origin ?? origin, inherited);
    this.#service = new ServiceNotifier(() => this.log, inherited !== null);
    this.#reread = options.reread;
    const script = options.workerMain ?? fileURLToPath(new URL('../worker/main.js', import.meta.url));
    this.hooks = new ArbiterHooks(this);
    const workers = new Workers(this, script);
    const signals = this.#signals;
    const over = {
      get ending() {
        return signals.ending || workers.failed;
      },
    };
    this.#workers = workers;
    this.#waiting = new Waiting(over, () => workers.tend());
  }

  /** The settings: others after a reload. */
  get config(): Config {
    return this.#config;
  }

  get tls(): TlsMaterial | null {
    return this.#own.tls;
  }

  get listeners(): readonly Listener[] {
    return this.#listening.http;
  }

  get status(): readonly Listener[] {
    return this.#listening.status;
  }

  /** The error log: another one after a reload that changes its file or level. */
  get log(): Logger {
    return this.#own.log;
  }

  /** Workers that there shall be. */
  get numWorkers(): number {
    return this.#workers.wanted;
  }

  /** It is about to end. */
  get stopping(): boolean {
    return this.#workers.stopping;
  }

  /** Names of the sockets it listens at, known after start: `http://127.0.0.1:8000`. */
  get addresses(): string[] {
    return this.#listening.names;
  }

  /**
   * Serves until a signal or a boot failure ends it.
   * @returns the exit status: 0 after TERM, INT or QUIT; 3 if a worker cannot boot, 4 if the app cannot be loaded; 1
   *   if it cannot listen or on an error of its own. Never rejects.
   */
  async run(): Promise<number> {
    process.on('exit', this.#lastResort);
    this.#signals.install();
    this.#strays.install();
    if (ranFile(this.#config)) this.#leftBehind.watch();
    try {
      if (!(await this.start())) return await this.halt();
      this.#workers.manage();
      for (;;) {
        await this.hooks.settled();
        this.#workers.rethrow();
        if (this.#succession.promoted()) this.#promote();
        if (this.#signals.empty) await this.#waiting.sleep(this.#succession.inherited === null ? ROUND_MS : PARENT_MS);
        this.#workers.reap();
        for (const pid of this.#strays.reap()) this.log.debug(`Reaped a child that is no worker (pid: ${pid})`);
        const signal = this.#signals.shift();
        if (signal === undefined) {
          await this.#workers.murder();
          this.#workers.manage();
          this.#own.measure(this.#workers.size, this.#listening.http);
          this.#service.serving(this.#workers.serving, this.#workers.wanted);
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
      this.#strays.uninstall();
      this.#leftBehind.close();
      process.removeListener('exit', this.#lastResort);
      await this.#service.close();
      this.#own.close();
    }
  }

  /** Opens the sockets. @returns false if a signal ended it meanwhile. @throws {TunicornError} if that is impossible. */
  async start(): Promise<boolean> {
    this.log.info(`Starting tunicorn ${version}`);
    const config = this.#config;
    this.#service.begin();
    this.#own.start();
    this.hooks.nworkersChanged(this.numWorkers, null);
    if (!(await this.#preload(config))) return false;
    if (!(await this.hooks.onStarting())) return false;
    if (!(await this.#listening.open(config, this.#succession.inherited, this.#patience))) return false;
    this.log.info(`Listening at: ${this.addresses.join(',')} (${process.pid})`);
    if (this.status.length > 0) this.log.info(`Status at: ${this.status.map((l) => l.name).join(',')}`);
    this.log.info(`Using worker: ${this.#config.workerClass}`);
    return await this.hooks.whenReady();
  }

  /** preload_app. @returns false if a signal ended it meanwhile. @throws {TunicornError} ERR_TUNICORN_PRELOAD */
  async #preload(config: Config): Promise<boolean> {
    if (!config.preloadApp) return true;
    const giveUp = new AbortController();
    const loaded = await this.#waiting.unlessEnding(preload(config, this.log, giveUp.signal));
    if (loaded === undefined) giveUp.abort();
    return loaded === true;
  }

  /** Waits for a promise, but not beyond a signal that ends the arbiter: undefined then. @throws what it rejects with. */
  unlessEnding<T>(promise: Promise<T>): Promise<T | undefined> {
    return this.#waiting.unlessEnding(promise);
  }

  /** Wakes the loop. Callable from any event handler. */
  wakeup(): void {
    this.#waiting.wakeup();
  }

  /** How to try again where an address is in use. */
  get #patience() {
    return { log: this.log, pause: (ms: number) => this.#waiting.pause(ms) };
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
        this.#workers.wanted++;
        this.#workers.manage();
        return false;
      case 'SIGTTOU':
        if (this.#workers.wanted > 1) this.#workers.wanted--;
        this.#workers.manage();
        return false;
      case 'SIGUSR1':
        this.#own.reopenLogs();
        this.#workers.reopenLogs();
        return false;
      case 'SIGHUP':
        this.#service.reloading();
        await this.#hangUp();
        this.#service.reloaded();
        return false;
      case 'SIGUSR2':
        await this.#upgrade();
        return false;
      case 'SIGWINCH':
        this.#leaveAlone();
        return false;
      default:
        return false;
    }
  }

  /** USR2: another arbiter is started beside this one. */
  async #upgrade(): Promise<void> {
    await this.#succession.upgrade({
      allowed: () => this.hooks.preExec(),
      log: this.log,
      sockets: this.#listening.bequest(this.#config),
      env: this.#listening.variables,
      streams: this.#own.streams,
      onEnd: (how) => {
        this.#listening.cleanUp();
        if (this.#workers.stopping) return;
        this.log.error(`The new arbiter has ended (${how}): this one goes on`);
        // Its workers were to take the place of those that WINCH has sent away.
        if (this.#workers.wanted === 0) this.#workers.wanted = this.#config.workers;
        this.wakeup();
      },
    });
  }

  /** The arbiter that started this one has gone: this one takes its place. */
  #promote(): void {
    this.log.info('Master has been promoted.');
    this.#own.promote();
    this.#listening.cleanUp();
    this.#service.promoted();
  }

  /** WINCH: the workers leave, the arbiter and its sockets stay. HUP brings workers back. */
  #leaveAlone(): void {
    if (mayBeResize()) {
      this.log.debug('SIGWINCH ignored: it may come from the terminal');
      return;
    }
    this.log.info('graceful stop of workers');
    this.#workers.wanted = 0;
    this.#workers.manage();
  }

  /** HUP: reads the settings anew and reloads. Broken ones change nothing, not even the app. */
  async #hangUp(): Promise<void> {
    let config: Config | undefined = this.#config;
    try {
      if (this.#reread) config = await this.#waiting.unlessEnding(this.#reread());
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
   * an app that does not load (preload_app): that is logged, and all stays as it is.
   * @throws {TunicornError} ERR_TUNICORN_HOOK: on_reload or another hook failed, which ends the arbiter.
   */
  async reload(config: Config = this.#config): Promise<void> {
    this.log.info(`Hang up: ${this.#succession.name}`);
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
    if (ranFile(config)) this.#leftBehind.watch();
    // TTIN and TTOU hold as long as the setting itself does not change; what WINCH has sent away comes back.
    if (config.workers !== old.workers || this.#workers.wanted === 0) this.#workers.wanted = config.workers;
    await this.hooks.onReload();
    this.#workers.reopenLogs();
    this.#workers.reload(config);
  }

  /**
   * Listens at the addresses of another config. @returns false if a signal ended it meanwhile.
   * @throws {TunicornError} ERR_TUNICORN_LISTEN: nothing has changed.
   */
  async #rebind(config: Config): Promise<boolean> {
    const before = this.#listening.all;
    const options = { ...this.#patience, unlink: this.#succession.alone };
    if (!(await this.#listening.change(this.#config, config, options))) return false;
    if (this.#listening.all.some((listener) => !before.includes(listener))) {
      this.log.info(`Listening at: ${this.addresses.join(',')} (${process.pid})`);
    }
    return true;
  }

  /**
   * Ends all workers: TERM, up to graceful_timeout for their requests and a moment for the rest, or QUIT and a moment; then KILL. INT or QUIT
   * during a graceful stop make it quick. Returns when all processes are gone.
   */
  async stop(graceful: boolean): Promise<void> {
    this.#workers.stopping = true;
    if (this.#succession.child === undefined) this.#service.stopping();
    this.#listening.closeHttp(this.#succession.alone);
    const patience = this.#config.gracefulTimeout * 1000;
    let limit = now() + (graceful ? patience + LAST_WORDS_MS : Math.min(patience, QUICK_MS));
    this.#workers.stop(graceful ? 'SIGTERM' : 'SIGQUIT', this.#succession.alone);
    while (this.#workers.size > 0 && now() < limit) {
      await this.#waiting.sleep(limit - now());
      this.#workers.reap();
      for (let s = this.#signals.shift(); s !== undefined; s = this.#signals.shift()) {
        this.log.info(`Handling signal: ${shortName(s)}`);
        if (s !== 'SIGINT' && s !== 'SIGQUIT') continue;
        limit = Math.min(limit, now() + QUICK_MS);
        this.#workers.stop('SIGQUIT', true);
      }
    }
    if (this.#workers.size === 0) return;
    this.log.warning(`Killing ${this.#workers.size} worker(s) that did not leave in time`);
    this.#workers.kill();
    limit = now() + KILL_MS;
    while (this.#workers.size > 0 && now() < limit) {
      await this.#waiting.sleep(limit - now());
      this.#workers.reap();
    }
  }

  /** Ends everything that is left and says so. @returns exitCode, or 1 in place of 0 if on_exit failed. */
  async halt(reason?: string, exitCode = 0): Promise<number> {
    await this.stop(exitCode === 0);
    this.#listening.closeAll(this.#succession.alone);
    this.#own.unlink();
    this.log.info(`Shutting down: ${this.#succession.name}`);
    if (reason !== undefined) this.log.error(`Reason: ${reason}`);
    const { child } = this.#succession;
    if (child !== undefined) this.#service.handOver(child);
    return (await this.hooks.onExit()) ? exitCode : exitCode || 1;
  }
}
