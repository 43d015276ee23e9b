/**
 * The addon's calls, typed. They return their result, or -errno; none throws and none blocks (epollWait aside, as long as
 * its timeout says). They may be called from the main thread and from any number of worker threads. Who owns a file
 * descriptor is decided by the callers (see worker/tconn.ts). native-notes.md explains each call.
 */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { getSystemErrorName } from 'node:util';
import { TunicornError } from '../errors.js';

/** Address families of stream sockets. */
export type Family = 'tcp4' | 'tcp6' | 'unix';

export interface SocketAddress {
  family: Family;
  /** Numeric IP or path ('' for an unnamed unix socket, '@name' for an abstract one). */
  address: string;
  /** 0 for unix sockets. */
  port: number;
}

/** What the addon itself exports. */
interface Addon {
  socket(family: number, datagram: number): number;
  /** Two stream sockets that are connected to each other. */
  socketPair(): [number, number] | number;
  bind(fd: number, family: number, address: string, port: number): number;
  connect(fd: number, family: number, address: string, port: number): number;
  listen(fd: number, backlog: number): number;
  setReuseAddr(fd: number): number;
  setReusePort(fd: number): number;
  setV6Only(fd: number): number;
  /** SOCK_STREAM or another type. */
  socketType(fd: number): number;
  /** 1: it listens. */
  accepting(fd: number): number;
  /** Makes an inherited descriptor non-blocking and close-on-exec. */
  adopt(fd: number): number;
  accept(fd: number): number;
  close(fd: number): number;
  dup(fd: number): number;
  dupTo(from: number, to: number): number;
  setNonBlocking(fd: number): number;
  acceptQueue(fd: number): number;
  closeEntry(
    fd: number,
    words: Int32Array,
    index: number,
    bit: number,
    free: number,
    counts: Int32Array,
    counter: number,
  ): number;
  shutdown(fd: number, how: number): number;
  recv(fd: number, into: Uint8Array, offset: number, length: number): number;
  recvHead(fd: number, into: Uint8Array, offset: number, have: number, length: number): number;
  peek(fd: number): number;
  peekBytes(fd: number, into: Uint8Array, length: number): number;
  hangup(fd: number): number;
  /** Bytes that were sent and the other side has not taken yet. */
  outQueue(fd: number): number;
  /** outcome, here and below: stored where useOutcomes() says when all that is given has left; 0 = nothing. */
  send(fd: number, from: Uint8Array, offset: number, length: number, outcome?: number): number;
  /** As send, of the first 64 parts in one system call. */
  sendv(fd: number, parts: readonly Uint8Array[], outcome?: number): number;
  /** Writes to any file, and adds what it has written to words[index] in the same call. */
  writeOut(
    fd: number,
    from: Uint8Array,
    offset: number,
    length: number,
    words: Int32Array,
    index: number,
    socket: number,
  ): number;
  /** Bytes of a regular file; anything else is -EINVAL. */
  fileSize(fd: number): number;
  /** From a file to a socket: bytes sent (0: the file ends there) or -errno. */
  sendfile(fd: number, file: number, offset: number, length: number): number;
  sendString(fd: number, text: string, utf8: number, hold?: number, outcome?: number): number;
  sendHead(
    fd: number,
    head: string,
    body: Uint8Array,
    offset: number,
    length: number,
    hold?: number,
    outcome?: number,
  ): number;
  outboxFlush(slot: number): number;
  getSockName(fd: number): number | { family: number; address: string; port: number };
  getPeerName(fd: number): number | { family: number; address: string; port: number };
  epollCreate(): number;
  epollCtl(epfd: number, op: number, fd: number, events: number, generation: number): number;
  epollWait(epfd: number, out: Int32Array, max: number, timeoutMs: number): number;
  eventfd(): number;
  eventfdWrite(fd: number): number;
  eventfdRead(fd: number): number;
  pollStart(fd: number, callback: () => boolean | undefined, budget: number, drain: number): number;
  pollStop(id: number): number;
  pollPause(id: number, paused: number): number;
  pollRef(id: number, ref: number): number;
  uncaught(error: unknown): number;
  useClock(view: Int32Array): number;
  /** Element fd * stride + at is where a response's outcome is noted, by the call that has sent its last byte. */
  useOutcomes(words: Int32Array, stride: number, at: number): number;
  clock(): number;
  headPut(fd: number, from: Uint8Array, offset: number, length: number): number;
  headTake(fd: number, into: Uint8Array, offset: number, length: number): number;
  headLength(fd: number): number;
  headLine(fd: number): string;
  headNote(fd: number, from: Uint8Array, offset: number, length: number): number;
  loopRegister(slot: number, words?: Int32Array, index?: number): number;
  loopTurns(slot: number): number;
  threadCpu(): number;
  stretchCpu(): number;
  setPolicy(tid: number, policy: number): number;
  /**
   * The word becomes 1 and the eventfd is written when this thread's heap reaches its limit; whoever is woken then has to end
   * the thread, which may use 2 GB more until then. Once in a thread. -ENOSYS: this V8 has no such callback.
   */
  heapGuard(words: Int32Array, index: number, wakeFd: number): number;
  loopIdle(slot: number): number;
  loopCpu(slot: number): number;
  setThreadName(name: string): number;
  /** Bytes that ps shows. For the main thread: showTitle(). */
  setTitle(title: string): number;
  setParentDeathSignal(signal: number): number;
  /** Waits for a child that has ended: its pid, 0 if it lives. For children of which Node has no handle. */
  reap(pid: number): number;
  /** If the process is there after `ms` still, it ends with this status. */
  exitWithin(status: number, ms: number): number;
  maxFds(): number;
  gettid(): number;
}

function load(): Addon {
  // The package's root is two or three folders up: src/native in a checkout, dist/src/native when built.
  const here = dirname(fileURLToPath(import.meta.url));
  const file = join('prebuilds', `${process.platform}-${process.arch}`, 'tunicorn.node');
  const require = createRequire(import.meta.url);
  let cause: unknown;
  for (const root of [join(here, '..', '..', '..'), join(here, '..', '..')]) {
    try {
      return require(join(root, file)) as Addon;
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') cause = err;
    }
  }
  throw new TunicornError(
    'ERR_TUNICORN_NATIVE',
    `the native addon (${file}) is missing or does not load${cause instanceof Error ? `: ${cause.message}` : ''}. ` +
      'Run `npm rebuild tunicorn` (it needs g++, make and python3), or install the package that carries it prebuilt.',
    { cause },
  );
}

const addon = load();
/** Families of sockets: streams, and datagrams between processes, where '@name' is an abstract address. */
type AnyFamily = Family | 'unixDatagram';
const FAMILY: Record<AnyFamily, number> = { tcp4: 4, tcp6: 6, unix: 1, unixDatagram: 2 };

function named(result: number | { family: number; address: string; port: number }): SocketAddress | number {
  if (typeof result === 'number') return result;
  return { ...result, family: result.family === 4 ? 'tcp4' : result.family === 6 ? 'tcp6' : 'unix' };
}

export const native = {
  ...addon,
  /** A non-blocking, close-on-exec socket: a stream, or one of datagrams. */
  socket: (family: Family, datagram = false): number => addon.socket(FAMILY[family], datagram ? 1 : 0),
  /** Numeric IP and port, or a path (port ignored). -EINVAL: not an address of that family. */
  bind: (fd: number, family: AnyFamily, address: string, port = 0): number =>
    addon.bind(fd, FAMILY[family], address, port),
  connect: (fd: number, family: AnyFamily, address: string, port = 0): number =>
    addon.connect(fd, FAMILY[family], address, port),
  getSockName: (fd: number): SocketAddress | number => named(addon.getSockName(fd)),
  getPeerName: (fd: number): SocketAddress | number => named(addon.getPeerName(fd)),
  /** Name of a returned -errno: 'EADDRINUSE'. */
  errnoName: (result: number): string => getSystemErrorName(result),
};

/** What ps and top show for this process, and for its main thread. */
export function showTitle(title: string): void {
  process.title = title;
  native.setTitle(title);
}

/** errno values that callers compare with, as returned (negative). */
export const EAGAIN = -11;
export const ENOENT = -2;
export const EINVAL = -22;
export const EMFILE = -24;
export const ENFILE = -23;
export const EINTR = -4;
export const EADDRINUSE = -98;
export const ECONNABORTED = -103;

/** Result of socketType() for stream sockets. */
export const SOCK_STREAM = 1;

/** Policies of setPolicy(). */
export const SCHED_OTHER = 0;
export const SCHED_BATCH = 3;
export const SCHED_IDLE = 5;
/** Results of hangup(). */
export const CLIENT_ENDED = 1;
export const CLIENT_GONE = 2;

export const EPOLLIN = 0x001;
export const EPOLLOUT = 0x004;
export const EPOLLHUP = 0x010;
export const EPOLLRDHUP = 0x2000;
export const EPOLLONESHOT = 1 << 30;
export const EPOLLET = 1 << 31;
export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLL_CTL_MOD = 3;
