/**
 * daemon: the command starts itself again in a session of its own, without a terminal, and ends. The second one knows by an
 * environment variable that it is that, and takes the variable out again.
 */
import { type IOType, spawn } from 'node:child_process';
import { fstatSync } from 'node:fs';
import { isatty } from 'node:tty';
import type { Config } from './config/settings.js';
import { parseAddress } from './config/validate.js';

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
 * /dev/null; with enable_stdio_inheritance those that are no terminal stay. Sockets that an address names (fd://N) are passed on.
 * @throws an error of the system, if no process can be started.
 */
export async function detach({ enableStdioInheritance, bind, statusBind }: Config): Promise<void> {
  const stream = (fd: number) => (enableStdioInheritance && !isatty(fd) ? 'inherit' : 'ignore');
  const stdio: (IOType | number)[] = ['ignore', stream(1), stream(2)];
  for (const address of [...bind, ...statusBind].map(parseAddress)) {
    if (address.family === 'fd' && isOpen(address.fd)) stdio[address.fd] = address.fd;
  }
  process.umask(UMASK);
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    detached: true,
    // What lies between them is closed in the daemon.
    stdio: Array.from(stdio, (entry) => entry ?? 'ignore'),
    env: { ...process.env, [MARK]: '1' },
  });
  await new Promise<void>((done, fail) => child.once('spawn', done).once('error', fail));
  child.unref();
}

/** One that is not is the daemon's to complain about. */
function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}
