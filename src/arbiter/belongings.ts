/**
 * What the arbiter's process has from its settings, besides sockets and workers: current folder, title, environment, error log, metrics,
 * pid file, certificates, and what it watches. A reload first prepares what another config wants; then it commits, which cannot fail, or
 * rolls back, which leaves everything as it was. An arbiter that another one has started in its place (USR2) has a pid file and a
 * title with `.2` at their end, until it is promoted.
 */
import { resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { folderAt } from '../config/folders.js';
import type { Config } from '../config/settings.js';
import { loggerOptions } from '../log/process-logs.js';
import { LogTarget, standardOf } from '../log/target.js';
import { createLogger, type Logger, reopenLogs } from '../log.js';
import type { TlsMaterial } from '../messages.js';
import { native, showTitle } from '../native/binding.js';
import { openStatsd, type Statsd } from '../statsd.js';
import { Environment } from './environment.js';
import { Output } from './output.js';
import { giveLogs } from './owner.js';
import { Pidfile } from './pidfile.js';
import { readTls } from './tls.js';
import { Watch } from './watch.js';

/** A change that is ready: one of the two has to be called. */
export interface Change {
  commit(): void;
  rollback(): void;
}

export class Belongings {
  /** Another one after a change of its settings. */
  log: Logger;
  #statsd: Statsd | null;
  #numWorkers = 0;
  readonly #ownsLog: boolean;
  readonly #environment = new Environment();
  readonly #watch = new Watch({ log: () => this.log });
  readonly #output = new Output(() => this.log);
  #config: Config;
  /** Which folder `chdir` has led to. */
  #folder: string | null;
  #pidfile: Pidfile | null = null;
  #suffix: '' | '.2';
  #tls: TlsMaterial | null = null;

  /**
   * @param log default: one made from the config.
   * @param second another arbiter lives, whose place this one takes. Default false.
   * @throws {TunicornError} ERR_TUNICORN_LOG if the error log cannot be opened.
   */
  constructor(config: Config, log?: Logger, second = false) {
    this.#config = config;
    this.#folder = folderAt(config.chdir);
    this.#suffix = second ? '.2' : '';
    this.#ownsLog = log === undefined;
    this.#statsd = openStatsd(config);
    this.log = log ?? createLogger(loggerOptions(config, this.#statsd));
  }

  /** For --certfile; null: no TLS. */
  get tls(): TlsMaterial | null {
    return this.#tls;
  }

  /** Takes all but the log, which is there already. @throws {TunicornError} ERR_TUNICORN_LOG, ERR_TUNICORN_PIDFILE, ERR_TUNICORN_TLS */
  start(): void {
    checkAccessLog(this.#config);
    this.#tls = readTls(this.#config);
    this.#pidfile = this.#pidfileFor(this.#config);
    this.#show();
  }

  /**
   * Makes ready what another config wants; the process is in its folder already. If it throws, nothing has changed.
   * @throws {TunicornError} ERR_TUNICORN_LOG, ERR_TUNICORN_PIDFILE, ERR_TUNICORN_TLS; or an error if the folder is gone.
   */
  prepare(config: Config): Change {
    const before = this.#config.chdir;
    const folder = folderAt(config.chdir);
    let log: Logger | null = null;
    const statsd = isDeepStrictEqual(metrics(config), metrics(this.#config)) ? this.#statsd : openStatsd(config);
    let pidfile = this.#pidfile;
    let tls = this.#tls;
    const rollback = () => {
      log?.close();
      if (statsd !== this.#statsd) statsd?.close();
      if (pidfile !== this.#pidfile) pidfile?.unlink();
      // One that is gone is left for good.
      if (folderAt(before) !== null) process.chdir(before);
      this.#output.follow(this.#config);
    };
    const commit = () => {
      if (log) {
        this.log.close();
        this.log = log;
      }
      if (statsd !== this.#statsd) {
        this.#statsd?.close();
        this.#statsd = statsd;
        this.#numWorkers = 0;
      }
      if (pidfile?.path !== this.#pidfile?.path) this.#pidfile?.unlink();
      this.#pidfile = pidfile;
      this.#config = config;
      this.#folder = folder;
      this.#tls = tls;
      // A rotation may send HUP: in gunicorn that opens the files, too.
      reopenLogs(this.log);
      this.#show();
    };
    try {
      process.chdir(config.chdir);
      checkAccessLog(config);
      tls = readTls(config);
      // Standard error itself is asked for.
      if (standardOf(config.errorlog, 2) !== undefined) this.#output.close();
      log = this.#logFor(config, statsd, folder !== this.#folder);
      pidfile = this.#pidfileFor(config);
    } catch (err) {
      rollback();
      throw err;
    }
    return { commit, rollback };
  }

  /** The other arbiter has gone: pid file and title lose their `.2`. What fails is logged. */
  promote(): void {
    this.#suffix = '';
    this.#show();
    try {
      if (this.#config.pidfile !== null) this.#pidfile?.rename(this.#config.pidfile);
    } catch (err) {
      this.log.error((err as Error).message);
    }
  }

  /** Standard output and error as they are without --capture-output. */
  get streams(): [out: number, err: number] {
    return this.#output.streams;
  }

  /** USR1: the log files have been renamed. The new ones are the workers' as well, before these open them. */
  reopenLogs(): void {
    reopenLogs(this.log);
    giveLogs(this.#config, this.log);
  }

  /** Metrics of the arbiter: how many workers there are, and, if asked for, connections that wait at these sockets. */
  measure(workers: number, listeners: readonly { fd: number; family: string }[]): void {
    if (this.#statsd === null) return;
    if (workers !== this.#numWorkers) this.#statsd.gauge('gunicorn.workers', workers);
    this.#numWorkers = workers;
    if (!this.#config.enableBacklogMetric) return;
    const waiting = listeners.filter(({ family }) => family === 'tcp').map(({ fd }) => native.acceptQueue(fd));
    this.#statsd.histogram(
      'gunicorn.backlog',
      waiting.reduce((sum, n) => sum + Math.max(0, n), 0),
    );
  }

  /** Removes the pid file. */
  unlink(): void {
    this.#pidfile?.unlink();
  }

  /** The environment is as it was; the log closes, if it was made here. */
  close(): void {
    this.#watch.close();
    this.#output.close();
    this.#environment.restore();
    if (this.#ownsLog) this.log.close();
    this.#statsd?.close();
  }

  #show(): void {
    const { procName, app, rawEnv } = this.#config;
    showTitle(`tunicorn: master [${procName ?? app}${this.#suffix}]`);
    this.#environment.apply(rawEnv);
    giveLogs(this.#config, this.log);
    this.#output.follow(this.#config);
    this.#watch.follow(this.#config);
  }

  /** The error log that a config wants; null: the present one. */
  #logFor(config: Config, statsd: Statsd | null, elsewhere: boolean): Logger | null {
    const old = this.#config;
    const moved = config.errorlog !== '-' && elsewhere;
    const same = isDeepStrictEqual(loggerOptions(config), loggerOptions(old)) && statsd === this.#statsd;
    return this.#ownsLog && (moved || !same) ? createLogger(loggerOptions(config, statsd)) : null;
  }

  /** The pid file that a config wants: the present one if its path stays and it is still there. */
  #pidfileFor({ pidfile }: Config): Pidfile | null {
    if (pidfile === null) return null;
    const path = `${pidfile}${this.#suffix}`;
    return this.#pidfile?.path === resolve(path) && this.#pidfile.held ? this.#pidfile : new Pidfile(path);
  }
}

/** Workers open it, who would only not boot. @throws {TunicornError} ERR_TUNICORN_LOG */
function checkAccessLog({ accesslog }: Config): void {
  if (accesslog !== null) new LogTarget('access log', accesslog, 1).close();
}

/** Settings of the metrics. */
function metrics({ statsdHost, statsdPrefix, dogstatsdTags }: Config): unknown {
  return [statsdHost, statsdPrefix, dogstatsdTags];
}
