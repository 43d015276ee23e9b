/**
 * daemon: the command starts itself again in a session of its own, without a terminal, and ends. The second one knows by an
 * environment variable that it is that, and takes the variable out again.
 */
import { spawn } from 'node:child_process';
import { isatty } from 'node:tty';
import type { Config } from './config/settings.js';

const MARK = 'TUNICORN_DAEMON';
/** gunicorn's for daemons. */
const UMASK = 0o022;

/** True in the process that detach() started. Call it once, before the environment is read: the mark is gone afterwards. */
export function isDetached(): boolean {
  const marked = process.env[MARK] !== undefined;
  delete process.env[MARK];
  return marked;
}

/**
 * Starts this command again in the background, in the same folder and with the same arguments. Its standard streams are
 * /dev/null; with enable_stdio_inheritance those that are no terminal stay.
 * @throws an error of the system, if no process can be started.
 */
export async function detach({ enableStdioInheritance }: Config): Promise<void> {
  const stream = (fd: number) => (enableStdioInheritance && !isatty(fd) ? 'inherit' : 'ignore');
  process.umask(UMASK);
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    detached: true,
    stdio: ['ignore', stream(1), stream(2)],
    env: { ...process.env, [MARK]: '1' },
  });
  await new Promise<void>((done, fail) => child.once('spawn', done).once('error', fail));
  child.unref();
}
