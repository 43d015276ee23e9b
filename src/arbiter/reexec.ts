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
import { bequeath } from './inherited.js';

/** The child's first descriptor behind its standard streams. */
const FIRST_FD = 3;
/** A service manager's own sockets: they are handed on as all others are. */
const NOT_OURS = ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES'];

export interface Bequest {
  log: Logger;
  /** The listening sockets, and their addresses as they stand in the settings. */
  sockets: { fd: number; bind: string }[];
  /** Called when the new arbiter's process is gone. */
  onEnd: () => void;
}

export class Reexec {
  readonly #origin: Origin;
  #child: ChildProcess | null = null;

  constructor(origin: Origin) {
    this.#origin = origin;
  }

  /** A new arbiter lives. */
  get running(): boolean {
    return this.#child !== null;
  }

  /** Starts the new arbiter. Never throws: if it cannot be started, that is logged. */
  start({ log, sockets, onEnd }: Bequest): void {
    const { args, cwd, env } = this.#origin;
    const surroundings = { ...env };
    for (const name of NOT_OURS) delete surroundings[name];
    const binds = sockets.map(({ bind }) => bind);
    try {
      const child = spawn(process.execPath, args, {
        cwd,
        env: { ...surroundings, ...bequeath(binds, FIRST_FD) },
        stdio: ['inherit', 'inherit', 'inherit', ...sockets.map(({ fd }) => fd)],
      });
      const over = (how: string) => {
        if (this.#child !== child) return;
        this.#child = null;
        log.error(`The new arbiter ${how}: this one goes on`);
        onEnd();
      };
      this.#child = child;
      child.once('error', (err) => over(`cannot be started: ${err.message}`));
      child.once('exit', (code, signal) => over(`(pid: ${child.pid}) has ended, ${signal ?? `status ${code}`}`));
      if (child.pid !== undefined) log.info(`Starting a new arbiter with pid: ${child.pid}`);
    } catch (err) {
      this.#child = null;
      log.error('Cannot start a new arbiter', err);
    }
  }
}
