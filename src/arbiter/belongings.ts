/**
 * What the arbiter's process has from its settings, besides sockets and workers: current folder, title, environment, error log,
 * pid file and what it watches. A reload first prepares what another config wants; then it commits, which cannot fail, or rolls back, which
 * leaves everything as it was.
 */
import { resolve } from 'node:path';
import type { Config } from '../config/settings.js';
import { createLogger, type Logger } from '../log.js';
import { Environment } from './environment.js';
import { giveLogs } from './owner.js';
import { Pidfile } from './pidfile.js';
import { Watch } from './watch.js';

/** A change that is ready: one of the two has to be called. */
export interface Change {
  commit(): void;
  rollback(): void;
}

export class Belongings {
  /** Another one after a change of its file or level. */
  log: Logger;
  readonly #ownsLog: boolean;
  readonly #environment = new Environment();
  readonly #watch = new Watch({ log: () => this.log });
  #config: Config;
  #pidfile: Pidfile | null = null;

  /**
   * @param log default: one made from the config.
   * @throws {TunicornError} ERR_TUNICORN_LOG if the error log cannot be opened.
   */
  constructor(config: Config, log?: Logger) {
    this.#config = config;
    this.#ownsLog = log === undefined;
    this.log = log ?? createLogger({ level: config.loglevel, errorlog: config.errorlog });
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
    let pidfile = this.#pidfile;
    const rollback = () => {
      log?.close();
      if (pidfile !== this.#pidfile) pidfile?.unlink();
      process.chdir(before);
    };
    const commit = () => {
      if (log) {
        this.log.close();
        this.log = log;
      }
      if (pidfile !== this.#pidfile) this.#pidfile?.unlink();
      this.#pidfile = pidfile;
      this.#config = config;
      this.#show();
    };
    try {
      process.chdir(config.chdir);
      log = this.#logFor(config);
      pidfile = this.#pidfileFor(config);
    } catch (err) {
      rollback();
      throw err;
    }
    return { commit, rollback };
  }

  /** Removes the pid file. */
  unlink(): void {
    this.#pidfile?.unlink();
  }

  /** The environment is as it was; the log closes, if it was made here. */
  close(): void {
    this.#watch.close();
    this.#environment.restore();
    if (this.#ownsLog) this.log.close();
  }

  #show(): void {
    const { procName, app, rawEnv } = this.#config;
    process.title = `tunicorn: master [${procName ?? app}]`;
    this.#environment.apply(rawEnv);
    giveLogs(this.#config, this.log);
    this.#watch.follow(this.#config);
  }

  /** The error log that a config wants; null: the present one. */
  #logFor({ loglevel: level, errorlog, chdir }: Config): Logger | null {
    const old = this.#config;
    const moved = errorlog !== old.errorlog || (errorlog !== '-' && chdir !== old.chdir);
    return this.#ownsLog && (moved || level !== old.loglevel) ? createLogger({ level, errorlog }) : null;
  }

  /** The pid file that a config wants: the present one if its path stays. */
  #pidfileFor({ pidfile }: Config): Pidfile | null {
    if (pidfile === null) return null;
    return this.#pidfile?.path === resolve(pidfile) ? this.#pidfile : new Pidfile(pidfile);
  }
}
