/**
 * What belongs to the process and not to a thread, and what an app's start nevertheless may call: process.chdir(), which Node does not
 * have in threads, and cluster.fork(), which would start the file that runs the thread, again and again.
 */
import cluster from 'node:cluster';
import { realpathSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { resolve } from 'node:path';
import { TunicornError } from '../errors.js';

/** Replaces them in this thread. chdir: it is a pool's, or stands for one; in class sync Node's own stays. */
export function guardProcess(chdir: boolean): void {
  if (chdir) takeChdir();
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
