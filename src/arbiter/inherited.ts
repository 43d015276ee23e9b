/**
 * What an arbiter has from the one that started it in its place (USR2, reexec.ts): the pid of that one and its listening sockets,
 * by number, in gunicorn's manner in the environment. They are taken out of it: no worker and no program of the app shall take them for its
 * own.
 *
 *     TUNICORN_PID=4711  TUNICORN_FD=3,4  TUNICORN_BIND=["127.0.0.1:8000","unix:/run/app.sock"]
 */
import { resolve } from 'node:path';
import { TunicornError } from '../errors.js';
import { native } from '../native/binding.js';
import { inodeOf, type Listener, unlinkIfSame } from './sock.js';

export interface Inherited {
  /** The arbiter that lives already. */
  pid: number;
  /** File descriptors, and the addresses as they stand in the settings of that arbiter; '' where it has not said. */
  sockets: { fd: number; bind: string }[];
}

/** Reads and removes the variables. @returns null if there are none. */
export function takeInheritance(env: NodeJS.ProcessEnv = process.env): Inherited | null {
  const { TUNICORN_PID, TUNICORN_FD = '', TUNICORN_BIND } = env;
  delete env.TUNICORN_PID;
  delete env.TUNICORN_FD;
  delete env.TUNICORN_BIND;
  if (TUNICORN_PID === undefined || !/^[1-9]\d*$/.test(TUNICORN_PID)) return null;
  const binds = readBinds(TUNICORN_BIND);
  const fds = TUNICORN_FD.split(',').filter((text) => /^\d+$/.test(text));
  return { pid: Number(TUNICORN_PID), sockets: fds.map((fd, i) => ({ fd: Number(fd), bind: binds[i] ?? '' })) };
}

/** The variables for a child that gets these sockets as its descriptors from `first` on. */
export function bequeath(binds: readonly string[], first: number): Record<string, string> {
  return {
    TUNICORN_PID: String(process.pid),
    TUNICORN_FD: binds.map((_, i) => first + i).join(','),
    TUNICORN_BIND: JSON.stringify(binds),
  };
}

function readBinds(text = '[]'): string[] {
  try {
    const read: unknown = JSON.parse(text);
    return Array.isArray(read) ? read.map(String) : [];
  } catch {
    return [];
  }
}

/**
 * A listening socket that this process has from its parent.
 * @throws {TunicornError} ERR_TUNICORN_LISTEN, exit status 1: the descriptor is no socket.
 */
export function adoptSocket(fd: number): Listener {
  const at = native.getSockName(fd);
  if (typeof at === 'number') {
    throw new TunicornError('ERR_TUNICORN_LISTEN', `file descriptor ${fd} is no socket: ${native.errnoName(at)}`);
  }
  const { family, address, port } = at;
  const unix = family === 'unix';
  const path = resolve(address);
  const inode = unix ? inodeOf(path) : null;
  const host = family === 'tcp6' ? `[${address}]` : address;
  let open = true;
  return {
    fd,
    name: unix ? `unix:${address}` : `http://${host}:${port}`,
    family: unix ? 'unix' : 'tcp',
    close(unlink) {
      if (!open) return;
      open = false;
      if (unlink && inode !== null) unlinkIfSame(path, inode);
      native.close(fd);
    },
  };
}
