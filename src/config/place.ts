/** Where in somebody's file an error is: for messages about a file that is not ours. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** A check of the syntax may take so long, ms. */
const CHECK_MS = 5000;
const BROKEN_MODULE = fileURLToPath(new URL('./broken-module.js', import.meta.url));

/**
 * `file:line` of the first syntax error in a module or in what it imports: import() keeps it to itself. '' where nothing is
 * found. Never rejects.
 */
export function syntaxPlace(file: string): Promise<string> {
  const args = /\.[mc]?ts$/.test(file)
    ? ['--check', file]
    : ['--experimental-vm-modules', '--no-warnings', BROKEN_MODULE, file];
  return new Promise((done) => {
    execFile(process.execPath, args, { timeout: CHECK_MS }, (_err, _stdout, stderr) => {
      done(/^(?:file:\/\/)?(\/.+:\d+)$/m.exec(stderr)?.[1] ?? '');
    });
  });
}

/** A frame in a file: `at f (/a/b.js:1:2)`, `at async file:///a/b.mjs?query:1:2`. Node's own have `node:` before their path. */
const FRAME = /^\s*at (?:.*? \(|async )?(?:file:\/\/)?(\/.*?)(?:\?[^:]*)?:(\d+):(\d+)\)?$/;
/** The folder of this server's code. */
const OURS = fileURLToPath(new URL('..', import.meta.url));

/** `file:line:column` of the innermost frame of an error's stack that is in a file of people, neither Node's nor ours; '' if none is. */
export function ownPlace(err: unknown, file: string): string {
  const stack = err instanceof Error ? (err.stack ?? '') : '';
  for (const line of stack.split('\n')) {
    const match = FRAME.exec(line);
    if (match && !match[1].startsWith(OURS)) return `${match[1]}:${match[2]}:${match[3]}`;
  }
  return err instanceof Error ? '' : file;
}
