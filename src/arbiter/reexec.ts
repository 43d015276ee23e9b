/**
 * USR2: another arbiter from the same command line, in the folder and environment in which this one was started. It gets the listening
 * sockets by number and starts workers of its own; both serve, side by side, until one of the two is told to go:
 *
 *     USR2 ─> new arbiter, pid file with .2 ─┬ WINCH and QUIT, or TERM, to the old one ─> the new one is promoted
 *                                            ├ it ends early: the old one goes on, and may be told USR2 again
 *                                            └ TERM to the new one: as before
 *
 * While both live neither removes the socket files, and USR2 is refused by both.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Logger } from '../log.js';
import type { Origin } from '../origin.js';
import { bequeath, type Inherited } from './inherited.js';

/** The child's first descriptor behind its standard streams. */
const FIRST_FD = 3;
/** They name the sockets of the first arbiter; which of ours are the service manager's is said anew. */
const NOT_OURS = ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID'];

export interface Bequest {
  log: Logger;
  /** The listening sockets, and their addresses as they stand in the settings. */
  sockets: { fd: number; bind: string }[];
  /** For its standard output and error. */
  streams: readonly [out: number, err: number];
  /** More variables. */
  env: Readonly<Record<string, string>>;
  /** Asked before another arbiter is started: pre_exec. Must not reject. */
  allowed: () => Promise<boolean>;
  /** Called when the new arbiter's process is gone, with how it ended. */
  onEnd: (how: string) => void;
}

/** Who was before this arbiter, and who comes after it. */
export class Succession {
  readonly #origin: Origin;
  #parent: Inherited | null;
  #child: ChildProcess | null = null;

  /** @param parent what the arbiter that started this one has left to it; null: none did. */
  constructor(origin: Origin, parent: Inherited | null) {
    this.#origin = origin;
    this.#parent = parent;
  }

  /** What this arbiter has from the one that started it, as long as that one lives. */
  get inherited(): Inherited | null {
    return this.#parent;
  }

  /** Pid of the new arbiter; undefined: there is none. */
  get child(): number | undefined {
    return this.#child?.pid;
  }

  /** No other arbiter serves at the same sockets. */
  get alone(): boolean {
    return this.#child === null && this.#parent?.pid !== process.ppid;
  }

  /** As in logs. */
  get name(): string {
    return this.#parent === null ? 'Master' : 'Master.2';
  }

  /** To be asked now and then. @returns true once: when the arbiter that started this one has gone. */
  promoted(): boolean {
    if (this.#parent === null || this.#parent.pid === process.ppid) return false;
    this.#parent = null;
    return true;
  }

  /** Starts another arbiter, unless there are two already. Never throws: what goes wrong is logged. */
  async upgrade({ log, sockets, streams, env: more, allowed, onEnd }: Bequest): Promise<void> {
    if (this.#child !== null || this.#parent !== null) {
      log.warning(`USR2 signal ignored. ${this.#child !== null ? 'Child' : 'Parent'} exists.`);
      return;
    }
    if (!(await allowed())) return;
    const { args, cwd, env } = this.#origin;
    const surroundings = { ...env };
    for (const name of NOT_OURS) delete surroundings[name];
    const binds = sockets.map(({ bind }) => bind);
    try {
      const child = spawn(process.execPath, args, {
        cwd,
        env: { ...surroundings, ...more, ...bequeath(binds, FIRST_FD) },
        stdio: ['inherit', ...streams, ...sockets.map(({ fd }) => fd)],
      });
      const over = (how: string) => {
        if (this.#child !== child) return;
        this.#child = null;
        onEnd(how);
      };
      this.#child = child;
      child.once('error', (err) => over(err.message));
      child.once('exit', (code, signal) => over(`pid: ${child.pid}, ${signal ?? `status ${code}`}`));
      if (child.pid !== undefined) log.info(`Starting a new arbiter with pid: ${child.pid}`);
    } catch (err) {
      this.#child = null;
      log.error('Cannot start a new arbiter', err);
    }
  }
}
