/**
 * The house of the workers, in gunicorn's words: spawn, manage (start or stop until their number is the wanted one), murder
 * (those that hang), reap (those that ended), kill. The arbiter's loop calls it, and tend() does where that loop waits for something; nothing here waits, but for one turn of the event loop. What a
 * worker's process does by itself only arrives here as fields of its handle and a place in the list of those that ended.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { bootMs } from '../config/boot-time.js';
import { folderAt } from '../config/folders.js';
import type { Config } from '../config/settings.js';
import { APP_LOAD_ERROR, WORKER_BOOT_ERROR } from '../errors.js';
import type { ArbiterHooks } from '../hooks/arbiter.js';
import type { Logger } from '../log.js';
import type { TlsMaterial } from '../messages.js';
import { needsProcess } from './reload.js';
import type { Listener } from './sock.js';
import { ROUND_MS } from './waiting.js';
import { now, WorkerHandle } from './worker-handle.js';

/** A worker whose graceful_timeout is over answers 503 to what it still has in hand, and ends: so much later it is killed, ms. */
export const LAST_WORDS_MS = 2000;
/** A worker that ends before it has booted, or sooner than this afterwards, unasked, has crashed at the start. */
const CRASH_MS = 1000;
/** That many crashes in a row are replaced at once; then the pause between two starts doubles up to the longest. */
const FREE_CRASHES = 3;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2000;

/** Ends the loop: the arbiter cannot go on. */
export class HaltServer extends Error {
  readonly exitCode: number;

  constructor(reason: string, exitCode: number) {
    super(reason);
    this.exitCode = exitCode;
  }
}

/** What the workers need of their arbiter, as it is at the moment. */
export interface Master {
  readonly config: Config;
  readonly tls: TlsMaterial | null;
  readonly log: Logger;
  readonly listeners: readonly Listener[];
  /** Listeners of --status-bind. */
  readonly status: readonly Listener[];
  /** The operator's functions for the arbiter's process. */
  readonly hooks: ArbiterHooks;
  /** Wakes the loop. */
  wakeup(): void;
}

export class Workers {
  /** The arbiter ends: whatever happens to a worker is no failure, and none is replaced. */
  stopping = false;
  readonly #master: Master;
  readonly #script: string;
  readonly #all = new Set<WorkerHandle>();
  /** Workers whose process is gone, not yet reaped. */
  #ended: WorkerHandle[] = [];
  /** Those whose pre_fork is not over. */
  #forking = 0;
  /** The workers are kept at their number: from the first manage() on. */
  #managed = false;
  /** What tend() has met with. */
  #failure: unknown = null;
  #age = 0;
  #wanted: number;
  #anyBooted = false;
  #lastRound = now();
  #crashes = 0;
  #spawnNotBefore = 0;

  /** @param script path of what the workers run. */
  constructor(master: Master, script: string) {
    this.#master = master;
    this.#script = script;
    this.#wanted = master.config.workers;
  }

  /** How many there shall be. */
  get wanted(): number {
    return this.#wanted;
  }

  set wanted(n: number) {
    const before = this.#wanted;
    this.#wanted = n;
    this.#master.hooks.nworkersChanged(n, before);
  }

  /** How many processes there are. */
  get size(): number {
    return this.#all.size;
  }

  /** How many have booted and shall go on. */
  get serving(): number {
    return this.#active.filter((w) => w.booted).length;
  }

  /** Those that shall go on. */
  get #active(): WorkerHandle[] {
    return [...this.#all].filter((w) => w.active);
  }

  /**
   * Starts or stops workers until their number is the wanted one; the oldest leave first, but none that serves before
   * enough others do.
   */
  manage(): void {
    this.#managed = true;
    const current = this.#active.filter((w) => !w.outdated).length + this.#forking;
    for (let n = current; n < this.wanted && now() >= this.#spawnNotBefore; n++) this.spawn();
    const rank = (w: WorkerHandle) => (!w.outdated ? 2 : w.booted ? 1 : 0);
    const active = this.#active.sort((a, b) => rank(a) - rank(b) || a.age - b.age);
    while (active.length > this.wanted) {
      const [worker, ...others] = active;
      if (worker.booted && others.filter((w) => w.booted).length < this.wanted) break;
      worker.retire();
      active.shift();
    }
  }

  /** What the loop does in each round, for when it waits for something else. What would end the arbiter is kept for rethrow(). */
  async tend(): Promise<void> {
    if (!this.#managed || this.stopping || this.failed) return;
    try {
      this.reap();
      await this.murder();
      this.manage();
    } catch (err) {
      this.#failure = err;
    }
  }

  /** tend() has met with something that ends the arbiter. */
  get failed(): boolean {
    return this.#failure !== null;
  }

  /** @throws what tend() has met with. */
  rethrow(): void {
    const failure = this.#failure;
    this.#failure = null;
    if (failure !== null) throw failure;
  }

  /** Has every worker take up another config: by fresh threads, or by a new process where that is not possible. */
  reload(config: Config): void {
    const folder = folderAt(config.chdir);
    for (const worker of this.#active) {
      if (worker.folder !== folder || needsProcess(worker.config, config)) worker.outdated = true;
      else worker.reload(config, this.#master.tls);
    }
    this.manage();
  }

  /** Has every worker open its log files again. */
  reopenLogs(): void {
    for (const worker of this.#all) worker.reopenLogs();
  }

  /** Starts one worker, when pre_fork is over. If the system has no room for it, the next try waits a little. */
  spawn(): void {
    const age = this.#age++;
    this.#forking++;
    this.#master.hooks.preFork(age, (env) => {
      this.#forking--;
      return this.#start(age, env);
    });
  }

  /** @returns null if the system has no room for it. */
  #start(age: number, env: Record<string, string>): WorkerHandle | null {
    const { log } = this.#master;
    let worker: WorkerHandle;
    try {
      worker = this.#newWorker(age, env);
    } catch (err) {
      log.error('Cannot start a worker', err);
      this.#crashed();
      return null;
    }
    this.#all.add(worker);
    if (worker.pid !== undefined) log.info(`Booting worker with pid: ${worker.pid}`);
    return worker;
  }

  #newWorker(age: number, env: Record<string, string>): WorkerHandle {
    const { config, tls, listeners, status } = this.#master;
    return new WorkerHandle({
      workerMain: this.#script,
      config,
      tls,
      listeners,
      status,
      age,
      env,
      relieves: this.#serving,
      onNews: () => this.#master.wakeup(),
      onExit: (gone) => {
        this.#ended.push(gone);
        this.#master.wakeup();
      },
    });
  }

  /** Kills workers that gave no sign of life, did not boot, or did not leave in time: ABRT first, KILL a round later. */
  async murder(): Promise<void> {
    const { config, log } = this.#master;
    // After a stop of the whole process group (Ctrl-Z) nobody could notify: that time counts against no worker.
    const gap = now() - this.#lastRound;
    this.#lastRound = now();
    // Let the event loop read the messages that have arrived before judging their absence.
    await turn();
    const timeout = bootMs(config);
    for (const worker of this.#all) {
      if (!worker.alive) continue;
      if (gap > 2 * ROUND_MS) worker.excuse(gap);
      const grace = config.gracefulTimeout * 1000 + LAST_WORDS_MS;
      const graceOver = worker.stoppedAt !== null && now() - worker.stoppedAt > grace;
      const silent = timeout > 0 && now() - worker.lastNotify > timeout;
      const slowBoot = timeout > 0 && !worker.booted && now() - worker.spawnedAt > timeout;
      if (graceOver) {
        worker.kill('SIGKILL');
      } else if (worker.abortedAt !== null) {
        if (now() - worker.abortedAt >= ROUND_MS) worker.kill('SIGKILL');
      } else if (silent || slowBoot) {
        log.critical(`WORKER TIMEOUT (pid:${worker.pid})${silent ? '' : ': it did not finish booting'}`);
        worker.abort();
      }
    }
  }

  /**
   * Takes note of the workers that ended.
   * @throws {HaltServer} if one of them could not boot, and no other one serves.
   */
  reap(): void {
    const ended = this.#ended;
    this.#ended = [];
    for (const worker of ended) this.#all.delete(worker);
    for (const worker of ended) this.#anyBooted ||= worker.booted;
    for (const worker of ended) {
      this.#reapOne(worker, ended);
      this.#master.hooks.childExit(worker);
    }
  }

  #reapOne(worker: WorkerHandle, ended: readonly WorkerHandle[]): void {
    const { log } = this.#master;
    const { pid } = worker;
    const { code, signal, error } = worker.exit!;
    const unasked = worker.active && worker.abortedAt === null && !this.stopping;
    if (error) {
      log.error(`Cannot start a worker: ${error.message}`);
    } else if (signal !== null) {
      const memory = signal === 'SIGKILL' && unasked ? ' Perhaps out of memory?' : '';
      log[unasked ? 'error' : 'info'](`Worker (pid:${pid}) was sent ${signal}!${memory}`);
    } else if (code !== 0) {
      log.error(`Worker (pid:${pid}) exited with code ${code}`);
    } else {
      log.info(`Worker exiting (pid: ${pid})`);
    }
    if (!unasked) return;
    if (!worker.booted) {
      const told = code === WORKER_BOOT_ERROR || code === APP_LOAD_ERROR;
      if (told && this.#serving) return this.#fallBack(ended);
      if (code === APP_LOAD_ERROR) throw new HaltServer('App failed to load.', APP_LOAD_ERROR);
      // A script that breaks before it can tell why ends with node's own code; if no worker ever booted, none will.
      if (told || (code !== null && code !== 0 && !this.#anyWorkerBooted())) {
        throw new HaltServer('Worker failed to boot.', WORKER_BOOT_ERROR);
      }
    }
    if (worker.bootedAt !== null && (code === 0 || now() - worker.bootedAt > CRASH_MS)) this.#crashes = 0;
    else this.#crashed();
  }

  /** Some worker can take requests, and is not about to leave. */
  get #serving(): boolean {
    return this.#active.some((w) => w.booted);
  }

  /** A new worker cannot boot while old ones serve: after a reload they stay, as if there had been none. */
  #fallBack(ended: readonly WorkerHandle[]): void {
    const old = this.#active.filter((w) => w.outdated);
    if (old.length === 0) return this.#crashed();
    for (const worker of [...this.#active, ...ended]) if (!worker.booted && !worker.outdated) worker.stop('SIGQUIT');
    for (const worker of old) worker.outdated = false;
    this.#master.log.error(`The reload has failed: the old workers go on (pid: ${old.map((w) => w.pid).join(', ')})`);
  }

  #anyWorkerBooted(): boolean {
    for (const worker of this.#all) this.#anyBooted ||= worker.booted;
    return this.#anyBooted;
  }

  /** Crashes in a row at the start of a worker make the next starts wait a little. */
  #crashed(): void {
    this.#crashes++;
    if (this.#crashes <= FREE_CRASHES) return;
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (this.#crashes - FREE_CRASHES - 1));
    const told = now() < this.#spawnNotBefore;
    this.#spawnNotBefore = now() + pause;
    setTimeout(() => this.#master.wakeup(), pause + 1).unref();
    if (told) return;
    this.#master.log.warning(`Workers crash at their start (${this.#crashes} in a row): waiting ${pause} ms`);
  }

  /** Tells every worker to leave. last: no other arbiter's workers go on. */
  stop(signal: 'SIGTERM' | 'SIGQUIT', last: boolean): void {
    for (const worker of this.#all) worker.stop(signal, last);
  }

  /** Kills every worker that lives. */
  kill(): void {
    for (const worker of this.#all) worker.kill('SIGKILL');
  }
}
