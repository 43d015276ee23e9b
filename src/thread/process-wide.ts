/**
 * What belongs to the process and not to a thread, and what an app's start nevertheless may call: process.chdir(), umask(), setuid() and the like,
 * which Node does not have in threads, and cluster.fork(), which would start the file that runs the thread, again and again.
 */
import cluster from 'node:cluster';
import { realpathSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { resolve } from 'node:path';
import { TunicornError } from '../errors.js';

/** Replaces them in this thread. pool: it is a pool's, or stands for one; in class sync Node's own chdir() and the like stay. */
export function guardProcess(pool: boolean): void {
  if (pool) {
    takeChdir();
    takeUmask();
    takeUser();
  }
  cluster.fork = () => {
    throw new TunicornError(
      'ERR_TUNICORN_CLUSTER',
      'cluster.fork() is not for an app of tunicorn, which starts processes (--workers) and threads (--threads) itself: ' +
        'start the part of the program that listens, or export its handler.',
    );
  };
  // For who imports them by their names.
  syncBuiltinESMExports();
}

/**
 * A program that goes to the folder in which it is already (Next.js's standalone server, started with --chdir) may do so; any
 * other is told what to start it with.
 */
function takeChdir(): void {
  const nodes = process.chdir;
  process.chdir = (directory: string): void => {
    // What is no text is Node's to refuse.
    if (typeof directory !== 'string') return nodes(directory);
    const folder = realpathSync(resolve(directory));
    if (folder === realpathSync(process.cwd())) return;
    throw new TunicornError(
      'ERR_TUNICORN_CHDIR',
      `process.chdir() cannot leave ${process.cwd()} in a thread: start tunicorn with --chdir ${folder}.`,
    );
  };
}

/** As with the folder: who asks for what is so already gets it. */
function takeUmask(): void {
  const nodes = process.umask;
  process.umask = (mask?: string | number): number => {
    const now = nodes();
    const wanted = typeof mask === 'string' ? Number.parseInt(mask, 8) : mask;
    if (wanted === undefined || wanted === now) return now;
    const text = wanted.toString(8).padStart(3, '0');
    throw new TunicornError(
      'ERR_TUNICORN_UMASK',
      `process.umask() cannot change it in a thread: start tunicorn with it (umask ${text} in a shell, UMask= in systemd).`,
    );
  };
}

function takeUser(): void {
  const refuse = (call: string, flags: string): never => {
    throw new TunicornError(
      'ERR_TUNICORN_USER',
      `process.${call}() cannot change it in a thread: start tunicorn with ${flags}.`,
    );
  };
  const taking = (call: string, now: () => number, flag: string) => (id: string | number) => {
    if (Number(id) !== now()) refuse(call, `${flag} ${id}`);
  };
  const { getuid, geteuid, getgid, getegid } = process as Required<NodeJS.Process>;
  Object.assign(process, {
    setuid: taking('setuid', getuid, '--user'),
    seteuid: taking('seteuid', geteuid, '--user'),
    setgid: taking('setgid', getgid, '--group'),
    setegid: taking('setegid', getegid, '--group'),
    setgroups: () => refuse('setgroups', '--user and --group'),
    initgroups: () => refuse('initgroups', '--initgroups'),
  });
}
