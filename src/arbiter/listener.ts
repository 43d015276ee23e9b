/**
 * A socket that listens, made here (sock.ts) or inherited: from systemd, from whoever named it in `fd://N`, from the arbiter
 * that this one replaces (USR2). Closing it is for each process itself. The file of a unix socket is removed by the process
 * that made it, if it is still the same file; that of an inherited one stays, unless it is said to be ours.
 */
import { resolve } from 'node:path';
import { TunicornError } from '../errors.js';
import { type Family, native, SOCK_STREAM } from '../native/binding.js';
import { inodeOf, unlinkIfSame } from './unix-socket.js';

/** A socket that listens. */
export interface Listener {
  readonly fd: number;
  /** As in logs: `http://127.0.0.1:8000`, `http://[::1]:8000`, `unix:/run/app.sock`. */
  readonly name: string;
  readonly family: 'tcp' | 'unix';
  /** Closes the socket; `unlink`: removes a unix socket's file too, if it is ours, also where an earlier call has left it. */
  close(unlink: boolean): void;
}

/** Closes listeners; `unlink`: removes unix socket files. Never throws. */
export function closeSockets(listeners: readonly Listener[], unlink: boolean): void {
  for (const listener of listeners) listener.close(unlink);
}

/** Code ERR_TUNICORN_LISTEN, exit status 1. */
export function listenError(message: string, cause?: unknown): TunicornError {
  return new TunicornError('ERR_TUNICORN_LISTEN', message, { exitCode: 1, cause });
}

/** A TCP socket's name in logs. */
export function tcpName(family: Family, address: string, port: number): string {
  return `http://${family === 'tcp6' ? `[${address}]` : address}:${port}`;
}

export function tcpListener(fd: number, name: string): Listener {
  let open = true;
  return {
    fd,
    name,
    family: 'tcp',
    close() {
      if (open) native.close(fd);
      open = false;
    },
  };
}

/**
 * @param path its file, in logs as it is written here.
 * @param inode of the file that is ours to remove; null: there is none.
 */
export function unixListener(fd: number, path: string, inode: string | null): Listener {
  let open = true;
  let file = inode;
  // A reload may change the current folder.
  const whole = resolve(path);
  return {
    fd,
    name: `unix:${path}`,
    family: 'unix',
    close(unlink) {
      // The file goes first: who finds it gone gets ENOENT at once instead of a refused connection.
      if (unlink && file !== null) {
        unlinkIfSame(whole, file);
        file = null;
      }
      if (open) native.close(fd);
      open = false;
    },
  };
}

const NOT_ADOPTED: Record<string, string> = {
  EBADF: 'no such descriptor is open',
  ENOTSOCK: 'it is no socket',
  EAFNOSUPPORT: 'it is neither a TCP nor a unix socket',
};

/**
 * Takes a listening socket that this process has inherited: makes it non-blocking, and keeps it from processes that are not
 * given it.
 * @param options.ours the file of a unix socket is this server's to remove. Default false: it belongs to whoever made it.
 * @throws {TunicornError} ERR_TUNICORN_LISTEN, exit status 1: not open, no stream socket, or one that does not listen. The
 *   descriptor is as it was.
 */
export function adoptSocket(fd: number, { ours = false }: { ours?: boolean } = {}): Listener {
  const refuse = (why: string) => listenError(`cannot listen at fd://${fd}: ${why}`);
  const check = (result: number): number => {
    if (result >= 0) return result;
    const reason = native.errnoName(result);
    throw refuse(NOT_ADOPTED[reason] ? `${NOT_ADOPTED[reason]} (${reason})` : reason);
  };
  if (check(native.socketType(fd)) !== SOCK_STREAM) throw refuse('it is no stream socket');
  // A socket unit with Accept=yes passes connections.
  if (check(native.accepting(fd)) !== 1) throw refuse('the socket does not listen');
  const bound = native.getSockName(fd);
  if (typeof bound === 'number') throw refuse(NOT_ADOPTED[native.errnoName(bound)] ?? native.errnoName(bound));
  check(native.adopt(fd));
  const { family, address, port } = bound;
  if (family !== 'unix') return tcpListener(fd, tcpName(family, address, port));
  // An abstract name has no file.
  return unixListener(fd, address, ours && !address.startsWith('@') ? inodeOf(address) : null);
}
