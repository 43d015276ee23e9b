// What an app of this folder tells its test: lines in a file, as every thread has an app of its own.
import { appendFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';

export function noter(folder) {
  return (line) => appendFileSync(join(folder, 'notes'), `${line}\n`);
}

/** Resolves when the test has made the file `name` in the folder; undefined when the signal says that nobody waits. */
export async function opened(folder, name, signal) {
  while (!existsSync(join(folder, name)) && !signal?.aborted) await new Promise((resolve) => setTimeout(resolve, 5));
}
