/**
 * Listening sockets: made once by the arbiter, inherited by every worker, closed by each process for itself. An address in
 * use is tried again 5 times, a second apart, as gunicorn does: a predecessor may be about to leave. A unix socket file is
 * replaced if nobody listens at it, gets the permissions gunicorn gives it (all but those of `umask`), and is removed at the
 * end by the process that made it, if it is still the same file.
 */
import { lookup } from 'node:dns/promises';
import { lchownSync, lstatSync, statSync, unlinkSync } from 'node:fs';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { parseAddress } from '../config/validate.js';
import { TunicornError } from '../errors.js';
import type { Logger } from '../log.js';
import { type Family, native } from '../native/binding.js';
import { SAME } from './owner.js';

/** A socket that listens. */
export interface Listener {
  readonly fd: number;
  /** As in logs: `http://127.0.0.1:8000`, `http://[::1]:8000`, `unix:/run/app.sock`. */
  readonly name: string;
  readonly family: 'tcp' | 'unix';
  /** Closes the socket; `unlink`: removes a unix socket's file too. A second call does nothing. */
  close(unlink: boolean): void;
}

export interface SocketOptions {
  /** Addresses as in the `bind` setting. */
  bind: readonly string[];
  backlog: number;
  /** SO_REUSEPORT: other servers may listen at the same port. Default false. */
  reusePort?: boolean;
  /** Permissions that a unix socket's file does not get. Default 0. */
  umask?: number;
  /** User and group that a unix socket's file is given to; null: it stays as it is. Default null. */
  user?: number | null;
  group?: number | null;
  log: Logger;
  /** Waits between two tries; false: give up. */
  pause: (ms: number) => Promise<boolean>;
}

const TRIES = 5;
const PAUSE_MS = 1000;

/** A numeric address, ready to bind. */
interface Target {
  family: Family;
  address: string;
  port: number;
  name: string;
  v6Only: boolean;
}

/**
 * Opens every address of `bind`, in order. All or none: if one fails, those already open are closed again.
 * @returns the listeners, or null if `pause` gave up.
 * @throws {TunicornError} ERR_TUNICORN_LISTEN, exit status 1: unknown host, address in use or not of this machine, no
 *   permission, a path that is no socket.
 */
export async function createSockets(options: SocketOptions): Promise<Listener[] | null> {
  const targets = await resolveAll(options.bind);
  const open: Listener[] = [];
  try {
    for (const target of targets) {
      const listener = await listenWithRetries(target, options);
      if (!listener) {
        closeSockets(open, true);
        return null;
      }
      open.push(listener);
    }
    return open;
  } catch (err) {
    closeSockets(open, true);
    throw err;
  }
}

/** Closes listeners; `unlink`: removes unix socket files. Never throws. */
export function closeSockets(listeners: readonly Listener[], unlink: boolean): void {
  for (const listener of listeners) listener.close(unlink);
}

function listenError(message: string, cause?: unknown): TunicornError {
  return new TunicornError('ERR_TUNICORN_LISTEN', message, { exitCode: 1, cause });
}

async function resolveAll(bind: readonly string[]): Promise<Target[]> {
  const targets = await Promise.all(bind.map(resolveOne));
  for (const target of targets) {
    // An IPv6 wildcard socket would take the port for IPv4 as well, and the other address could not be bound.
    target.v6Only =
      target.family === 'tcp6' && targets.some((t) => t.family === 'tcp4' && t.port === target.port && t.port !== 0);
  }
  return targets;
}

async function resolveOne(text: string): Promise<Target> {
  const parsed = parseAddress(text);
  if (parsed.family === 'unix') {
    return { family: 'unix', address: parsed.path, port: 0, name: `unix:${parsed.path}`, v6Only: false };
  }
  const { host, port } = parsed;
  let address = host;
  if (!isIP(host)) {
    try {
      // The system's order, as getaddrinfo gives it to gunicorn.
      address = (await lookup(host, { verbatim: true })).address;
    } catch (cause) {
      throw listenError(`cannot listen at ${text}: the host '${host}' is not known`, cause);
    }
  }
  const family = isIP(address) === 6 ? 'tcp6' : 'tcp4';
  return { family, address, port, name: tcpName(family, address, port), v6Only: false };
}

function tcpName(family: Family, address: string, port: number): string {
  return `http://${family === 'tcp6' ? `[${address}]` : address}:${port}`;
}

async function listenWithRetries(target: Target, options: SocketOptions): Promise<Listener | null> {
  for (let attempt = 0; ; attempt++) {
    const result = listen(target, options);
    if (typeof result !== 'number') return result;
    const reason = native.errnoName(result);
    if (reason !== 'EADDRINUSE') throw listenError(`cannot listen at ${target.name}: ${explain(reason)}`);
    options.log.error(`Connection in use: ${target.name}`);
    if (attempt === TRIES) throw listenError(`cannot listen at ${target.name}: ${explain(reason)}`);
    options.log.error('Retrying in 1 second.');
    if (!(await options.pause(PAUSE_MS))) return null;
  }
}

const REASONS: Record<string, string> = {
  EADDRINUSE: 'the address is in use by another program',
  EADDRNOTAVAIL: 'this machine does not have that address',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  ENOENT: 'its folder does not exist',
  ENOTDIR: 'its folder does not exist',
  EAFNOSUPPORT: 'the system does not support that kind of address',
  ENOTSOCK: 'a file that is not a socket is in the way',
  EROFS: 'the file system is read-only',
};

function explain(reason: string): string {
  return REASONS[reason] ? `${REASONS[reason]} (${reason})` : reason;
}

/** One try. @returns a listener, or a negative errno with nothing left open. */
function listen(target: Target, options: SocketOptions): Listener | number {
  const { family, address, port } = target;
  const { backlog, reusePort } = options;
  const unix = family === 'unix';
  if (unix) {
    const blocked = clearPath(address);
    if (blocked < 0) return blocked;
  }
  const fd = native.socket(family);
  if (fd < 0) return fd;
  let result = unix ? 0 : native.setReuseAddr(fd);
  if (result >= 0 && reusePort && !unix) result = native.setReusePort(fd);
  if (result >= 0 && target.v6Only) result = native.setV6Only(fd);
  if (result >= 0) result = unix ? bindUnix(fd, address, options) : native.bind(fd, family, address, port);
  const inode = unix && result >= 0 ? inodeOf(address) : null;
  if (result >= 0) result = native.listen(fd, backlog);
  if (result < 0) {
    native.close(fd);
    if (inode !== null) unlinkIfSame(address, inode);
    return result;
  }
  return unix ? unixListener(fd, target, inode) : tcpListener(fd, target);
}

function tcpListener(fd: number, target: Target): Listener {
  const bound = native.getSockName(fd);
  const port = typeof bound === 'number' ? target.port : bound.port;
  let open = true;
  return {
    fd,
    name: tcpName(target.family, target.address, port),
    family: 'tcp',
    close() {
      if (open) native.close(fd);
      open = false;
    },
  };
}

function unixListener(fd: number, target: Target, inode: string | null): Listener {
  let open = true;
  // A reload may change the current folder.
  const path = resolve(target.address);
  return {
    fd,
    name: target.name,
    family: 'unix',
    close(unlink) {
      if (!open) return;
      open = false;
      // The file goes first: who finds it gone gets ENOENT at once instead of a refused connection.
      if (unlink && inode !== null) unlinkIfSame(path, inode);
      native.close(fd);
    },
  };
}

/**
 * Binds with another umask than the process's; 0, gunicorn's default, lets clients of other users, such as a proxy, connect.
 * The file then goes to the user and group of the workers.
 */
function bindUnix(fd: number, path: string, { umask = 0, user, group }: SocketOptions): number {
  const before = process.umask(umask);
  const result = native.bind(fd, 'unix', path, 0);
  process.umask(before);
  if (result < 0) return result;
  try {
    lchownSync(path, user ?? SAME, group ?? SAME);
    return result;
  } catch (err) {
    unlinkSync(path);
    return (err as NodeJS.ErrnoException).errno ?? EACCES;
  }
}

const EADDRINUSE = -98;
const ENOTSOCK = -88;
const ECONNREFUSED = -111;
const EACCES = -13;
const ENOENT = -2;

/** Removes a socket file at which nobody listens. @returns 0, or a negative errno if the path is taken. */
function clearPath(path: string): number {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (!stats) return 0;
  if (!stats.isSocket()) return ENOTSOCK;
  const probe = native.socket('unix');
  if (probe < 0) return probe;
  // Answers at once: a listener takes it or has a full queue (EAGAIN); a socket that nobody listens at refuses.
  const answer = native.connect(probe, 'unix', path, 0);
  native.close(probe);
  if (answer === ENOENT) return 0;
  if (answer === EACCES) return EACCES;
  if (answer !== ECONNREFUSED) return EADDRINUSE;
  try {
    unlinkSync(path);
    return 0;
  } catch (err) {
    return (err as NodeJS.ErrnoException).code === 'ENOENT' ? 0 : ((err as NodeJS.ErrnoException).errno ?? EACCES);
  }
}

export function inodeOf(path: string): string | null {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats ? `${stats.dev}:${stats.ino}` : null;
}

/** A successor may have put its own socket at the same path; that one stays. */
export function unlinkIfSame(path: string, inode: string): void {
  try {
    if (inodeOf(path) === inode) unlinkSync(path);
  } catch {
    // Gone already, or not ours to remove any more.
  }
}
