/**
 * process.chdir() in a thread, where Node has none: the folder belongs to the process. A program that goes to the folder in which it is
 * already (Next.js's standalone server, started with --chdir) may do so; any other is told what to start it with.
 */
import { realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { TunicornError } from '../errors.js';

/** Replaces it in this thread. In class sync the process's own stays. */
export function takeChdir(): void {
  if (isMainThread) return;
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
