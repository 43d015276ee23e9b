/**
 * Listening sockets: made once by the arbiter, inherited by every worker, closed by each process for itself. An address in
 * use is tried again 5 times, a second apart, as gunicorn does: a predecessor may be about to leave. listener.ts has what
 * comes out of it, unix-socket.ts the files of unix sockets.
 */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { parseAddress } from '../config/validate.js';
import type { Logger } from '../log.js';
import { EADDRINUSE, type Family, native } from '../native/binding.js';
import { listenTcp } from '../native/tcp.js';
import {
  adoptSocket,
  closeSockets,
  type Listener,
  listenError,
  tcpListener,
  tcpName,
  unixListener,
} from './listener.js';
import { bindUnix, clearPath, type FileOptions, inodeOf, unlinkIfSame } from './unix-socket.js';

export { adoptSocket, closeSockets, type Listener } from './listener.js';

export interface SocketOptions extends FileOptions {
  /** Addresses as in the `bind` setting. */
  bind: readonly string[];
  backlog: number;
  /** SO_REUSEPORT: other servers may listen at the same port. Default false. */
  reusePort?: boolean;
  /** Sockets of ours that are closed afterwards: what they hold is free. */
  leaving?: readonly Listener[];
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

/** A socket that listens already. */
interface Inherited {
  family: 'fd';
  fd: number;
}

/**
 * Opens every address of `bind`, in order; `fd://N` is adopted. All or none: if one fails, those that were opened here are closed
 * again; those that were inherited stay open, as there is no other way to get them.
 * @returns the listeners, or null if `pause` gave up.
 * @throws {TunicornError} ERR_TUNICORN_LISTEN, exit status 1: unknown host, address in use or not of this machine, no
 *   permission, a path that is no socket, a descriptor that is no listening socket.
 */
export async function createSockets(options: SocketOptions): Promise<Listener[] | null> {
  const targets = await resolveAll(options.bind);
  const listeners: Listener[] = [];
  const made: Listener[] = [];
  try {
    for (const target of targets) {
      if (target.family === 'fd') {
        listeners.push(inherit(target.fd, options.backlog));
        continue;
      }
      const listener = await listenWithRetries(target, options);
      if (!listener) {
        closeSockets(made, true);
        return null;
      }
      made.push(listener);
      listeners.push(listener);
    }
    return listeners;
  } catch (err) {
    closeSockets(made, true);
    throw err;
  }
}

/** As gunicorn does, with the backlog of the settings rather than that of whoever made the socket. */
function inherit(fd: number, backlog: number): Listener {
  const listener = adoptSocket(fd);
  native.listen(fd, backlog);
  return listener;
}

async function resolveAll(bind: readonly string[]): Promise<(Target | Inherited)[]> {
  const targets = await Promise.all(bind.map(resolveOne));
  for (const target of targets) {
    if (target.family !== 'tcp6') continue;
    // An IPv6 wildcard socket would take the port for IPv4 as well, and the other address could not be bound.
    target.v6Only = targets.some((t) => t.family === 'tcp4' && t.port === target.port && t.port !== 0);
  }
  return targets;
}

async function resolveOne(text: string): Promise<Target | Inherited> {
  const parsed = parseAddress(text);
  if (parsed.family === 'fd') return parsed;
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
  const result = listenOnce(target, options);
  const shared = result === EADDRINUSE && target.family !== 'unix' && shareLeaving(target.port, options.leaving ?? []);
  return shared ? listenOnce(target, { ...options, reusePort: true }) : result;
}

/**
 * Linux refuses 0.0.0.0:P beside 127.0.0.1:P unless both share the port: those that are about to leave do. Clients go to the one with
 * the more precise address meanwhile. False if none has that port.
 */
function shareLeaving(port: number, leaving: readonly Listener[]): boolean {
  const same = leaving.filter(({ fd, family }) => {
    const bound = family === 'tcp' && native.getSockName(fd);
    return typeof bound === 'object' && bound.port === port;
  });
  return same.length > 0 && same.every(({ fd }) => native.setReusePort(fd) >= 0);
}

function listenOnce(target: Target, options: SocketOptions): Listener | number {
  const { family, address, port, v6Only } = target;
  const { backlog, reusePort = false } = options;
  if (family === 'unix') return listenUnix(address, options);
  const fd = listenTcp(family, address, port, { backlog, reusePort, v6Only });
  if (fd < 0) return fd;
  // Port 0 has become a real one.
  const bound = native.getSockName(fd);
  return tcpListener(fd, tcpName(family, address, typeof bound === 'number' ? port : bound.port));
}

function listenUnix(path: string, options: SocketOptions): Listener | number {
  const blocked = clearPath(path);
  if (blocked < 0) return blocked;
  const fd = native.socket('unix');
  if (fd < 0) return fd;
  let result = bindUnix(fd, path, options);
  const inode = result >= 0 ? inodeOf(path) : null;
  if (result >= 0) result = native.listen(fd, options.backlog);
  if (result >= 0) return unixListener(fd, path, inode);
  native.close(fd);
  if (inode !== null) unlinkIfSame(path, inode);
  return result;
}
