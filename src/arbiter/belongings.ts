/**
 * What the arbiter's process has from its settings, besides sockets and workers: current folder, title, environment, error log, pid
 * file, certificates, and what it watches. A reload first prepares what another config wants; then it commits, which cannot fail, or
 * rolls back, which leaves everything as it was. An arbiter that another one has started in its place (USR2) has a pid file and a
 * title with `.2` at their end, until it is promoted.
 */
import { resolve } from 'node:path';
import type { Config } from '../config/settings.js';
import { createLogger, type Logger } from '../log.js';
import type { TlsMaterial } from '../messages.js';
import { Environment } from './environment.js';
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
  /** Another one after a change of its file or level. */
  log: Logger;
  readonly #ownsLog: boolean;
  readonly #environment = new Environment();
  readonly #watch = new Watch({ log: () => this.log });
  #config: Config;
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
    this.#suffix = second ? '.2' : '';
    this.#ownsLog = log === undefined;
    this.log = log ?? createLogger({ level: config.loglevel, errorlog: config.errorlog });
  }

  /** For --certfile; null: no TLS. */
  get tls(): TlsMaterial | null {
    return this.#tls;
  }

  /** Takes all but the log, which is there already. @throws {TunicornError} ERR_TUNICORN_PIDFILE, ERR_TUNICORN_TLS */
  start(): void {
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
    let log: Logger | null = null;
    let pidfile = this.#pidfile;
    let tls = this.#tls;
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
      this.#tls = tls;
      this.#show();
    };
    try {
      process.chdir(config.chdir);
      tls = readTls(config);
      log = this.#logFor(config);
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
    process.title = `tunicorn: master [${procName ?? app}${this.#suffix}]`;
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
    const path = `${pidfile}${this.#suffix}`;
    return this.#pidfile?.path === resolve(path) ? this.#pidfile : new Pidfile(path);
  }
}
