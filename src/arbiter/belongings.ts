/**
 * What the arbiter's process has from its settings, besides sockets and workers: current folder, title, environment, error log, metrics
 * and pid file. A reload first prepares what another config wants; then it commits, which cannot fail, or rolls back, which
 * leaves everything as it was.
 */
import { resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Config } from '../config/settings.js';
import { loggerOptions } from '../log/process-logs.js';
import { createLogger, type Logger, reopenLogs } from '../log.js';
import { native } from '../native/binding.js';
import { openStatsd, type Statsd } from '../statsd.js';
import { Environment } from './environment.js';
import { giveLogs } from './owner.js';
import { Pidfile } from './pidfile.js';

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
  #config: Config;
  #pidfile: Pidfile | null = null;

  /**
   * @param log default: one made from the config.
   * @throws {TunicornError} ERR_TUNICORN_LOG if the error log cannot be opened.
   */
  constructor(config: Config, log?: Logger) {
    this.#config = config;
    this.#ownsLog = log === undefined;
    this.#statsd = openStatsd(config);
    this.log = log ?? createLogger(loggerOptions(config, this.#statsd));
  }

  /** Takes all but the log, which is there already. @throws {TunicornError} ERR_TUNICORN_PIDFILE */
  start(): void {
    this.#pidfile = this.#pidfileFor(this.#config);
    this.#show();
  }

  /**
   * Makes ready what another config wants; the process is in its folder already. If it throws, nothing has changed.
   * @throws {TunicornError} ERR_TUNICORN_LOG, ERR_TUNICORN_PIDFILE; or an error if the folder is gone.
   */
  prepare(config: Config): Change {
    const before = this.#config.chdir;
    let log: Logger | null = null;
    const statsd = isDeepStrictEqual(metrics(config), metrics(this.#config)) ? this.#statsd : openStatsd(config);
    let pidfile = this.#pidfile;
    const rollback = () => {
      log?.close();
      if (statsd !== this.#statsd) statsd?.close();
      if (pidfile !== this.#pidfile) pidfile?.unlink();
      process.chdir(before);
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
      if (pidfile !== this.#pidfile) this.#pidfile?.unlink();
      this.#pidfile = pidfile;
      this.#config = config;
      this.#show();
    };
    try {
      process.chdir(config.chdir);
      log = this.#logFor(config, statsd);
      pidfile = this.#pidfileFor(config);
    } catch (err) {
      rollback();
      throw err;
    }
    return { commit, rollback };
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
    this.#environment.restore();
    if (this.#ownsLog) this.log.close();
    this.#statsd?.close();
  }

  #show(): void {
    const { procName, app, rawEnv } = this.#config;
    process.title = `tunicorn: master [${procName ?? app}]`;
    this.#environment.apply(rawEnv);
    giveLogs(this.#config, this.log);
  }

  /** The error log that a config wants; null: the present one. */
  #logFor(config: Config, statsd: Statsd | null): Logger | null {
    const old = this.#config;
    const moved = config.errorlog !== '-' && config.chdir !== old.chdir;
    const same = isDeepStrictEqual(loggerOptions(config), loggerOptions(old)) && statsd === this.#statsd;
    return this.#ownsLog && (moved || !same) ? createLogger(loggerOptions(config, statsd)) : null;
  }

  /** The pid file that a config wants: the present one if its path stays. */
  #pidfileFor({ pidfile }: Config): Pidfile | null {
    if (pidfile === null) return null;
    return this.#pidfile?.path === resolve(pidfile) ? this.#pidfile : new Pidfile(pidfile);
  }
}

/** Settings of the metrics. */
function metrics({ statsdHost, statsdPrefix, dogstatsdTags }: Config): unknown {
  return [statsdHost, statsdPrefix, dogstatsdTags];
}
