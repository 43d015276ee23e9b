/**
 * The memory that a worker's main thread and its pool threads share: a few control words, a block of words for each
 * thread, the table of connections (tconn.ts) and the rings of ready connections (ready-ring.ts).
 *
 * Slot 0 is the main thread, slots 1..threads are pool threads. Words are written by one side as noted; where two sides
 * may write, only compare-and-swap does.
 */

import { routeBytes } from './routes.js';

/** Control words of the worker. */
export const C = {
  /** Slot of the thread that watches the selector in its event loop, 0 = none. Compare-and-swap only. */
  LEADER: 0,
  /** How many threads may be active at a time; the supervisor's decision. Written by main. */
  WANTED: 1,
  /** 1 while the supervisor ticks; a thread that starts to work sets it and wakes main. Compare-and-swap only. */
  SUPERVISING: 2,
  /** Open connections. Atomic add and sub. */
  OPEN: 3,
  /** 1 while main does not accept because OPEN reached worker_connections: the next close wakes main. */
  ACCEPT_PAUSED: 4,
  /** PATIENT, then CLOSING in a graceful stop: every response says Connection: close. Written by main. */
  DRAINING: 5,
  /** Connections in state QUEUED. Atomic add and sub. */
  QUEUED: 6,
  /** Threads that may have heavy requests in hand: those that are not in reserve, at most the CPUs. Written by main. */
  LANES: 7,
  /** 1 while this worker should be sent requests (booted, not draining, not overloaded). Written by main. */
  READY: 8,
  /** 1: a thread has told in the log that the app listens itself; the others need not. Compare-and-swap only. */
  ADOPTION_TOLD: 9,
} as const;
const CONTROL_WORDS = 16;

/** Values of C.DRAINING besides 0: clients may send one more request on connections that wait; they are closed. */
export const PATIENT = 1;
export const CLOSING = 2;

/** Words of one thread, at threadWord(slot, word). Written by the thread unless noted. */
export const T = {
  /** Requests begun (wraps): the supervisor sees progress in it. */
  BEGUN: 0,
  /** Requests begun and not finished. */
  INFLIGHT: 1,
  /** 1 while a turn of the driver runs, 0 while the thread waits in its event loop. */
  BUSY: 2,
  /** PARKED, ACTIVE or TAKEN; 0 while there is no thread. Main sets ABSENT. */
  STATE: 3,
  /** The thread's clock: coarse monotonic ms, brought up to date by its system calls. */
  CLOCK: 4,
  /** Bytes that the thread's last send took (native.useClock). */
  SENT: 5,
  /** Head and tail of the thread's ring (ready-ring.ts). */
  RING_HEAD: 6,
  RING_TAIL: 7,
  /** Requests finished (wraps). */
  SERVED: 8,
  /** The thread's own epoll fd, 0 = none: main closes it when the thread died. Whoever swaps in 0 closes it. */
  EPFD: 9,
  /** Responses that the thread may hold back at a time, less than 2 = none. Written by main. */
  HOLD: 10,
  /** Heavy requests in hand: expected to be so by their route. */
  HEAVY: 11,
  /** 1: the request that the thread is at has turned out heavy. Written by main. */
  LATE: 12,
  /** fd + 1 of the connection whose handler is on the stack, 0 = none. */
  CURRENT: 13,
  /** Kernel's id of the thread, for the scheduler's calls. */
  TID: 14,
  /** JavaScript heap and external memory of the thread, KiB, now and then. */
  HEAP: 15,
  /** Head and tail of the ring of heavy requests that wait (ready-ring.ts). */
  HEAVY_HEAD: 16,
  HEAVY_TAIL: 17,
  /** 1: takes nothing new (being replaced). Written by main. */
  RETIRING: 18,
  /** 1: its heap has reached its limit; main ends the thread. Written by the addon (native.heapGuard). */
  FULL: 19,
  /** Connections that have left HTTP (WebSocket): they stay with the thread. */
  UPGRADED: 20,
} as const;
const THREAD_WORDS = 32;

export const ABSENT = 0;
export const PARKED = 1;
export const ACTIVE = 2;
/** At rest, and may take nothing: it has --thread-concurrency in hand, or its heap is full. Of no use to wake. */
export const TAKEN = 3;

/** Entries of a ring, each of two words: fd and generation. A power of two. */
export const RING_ENTRIES = 256;
/** Words of one connection in the table. */
export const CONN_WORDS = 8;
/** Bytes of what a PROXY header told of a connection (proxied.ts). */
export const PROXIED_BYTES = 98;

/** What is sent to a thread at its start: all of it shared or plain. */
export interface SharedMemory {
  control: SharedArrayBuffer;
  rings: SharedArrayBuffer;
  conns: SharedArrayBuffer;
  routes: SharedArrayBuffer;
  /** Null where no PROXY headers are looked for. */
  proxied: SharedArrayBuffer | null;
  /** Slots for pool threads: those that are wanted, and spare ones for replacements. */
  threads: number;
  /** File descriptors that the table has room for. */
  maxFds: number;
  /** The epoll that holds the waiting connections. */
  epfd: number;
  /** eventfd by which threads wake main. */
  mainWake: number;
  /** eventfds by which a thread is woken, by slot (index 0 unused). */
  threadWake: number[];
}

/** Views on the shared memory, one set for each thread. */
export class Shared {
  readonly memory: SharedMemory;
  readonly control: Int32Array;
  readonly rings: Int32Array;
  readonly conns: Int32Array;
  readonly threads: number;

  constructor(memory: SharedMemory) {
    this.memory = memory;
    this.control = new Int32Array(memory.control);
    this.rings = new Int32Array(memory.rings);
    this.conns = new Int32Array(memory.conns);
    this.threads = memory.threads;
  }

  /** The slot's thread is at rest and may be given something: it is not about to leave. */
  isFree(slot: number): boolean {
    if (Atomics.load(this.control, this.threadWord(slot, T.STATE)) !== PARKED) return false;
    return Atomics.load(this.control, this.threadWord(slot, T.RETIRING)) === 0;
  }

  /** A word of all threads together, as int32. */
  sum(word: number): number {
    let n = 0;
    for (let slot = 1; slot <= this.threads; slot++) n = (n + this.control[this.threadWord(slot, word)]) | 0;
    return n;
  }

  /** Index in `control` of a word of a thread. */
  threadWord(slot: number, word: number): number {
    return CONTROL_WORDS + slot * THREAD_WORDS + word;
  }
}

/** Allocates the memory for a worker; fds are the caller's. proxied: connections may begin with PROXY headers. */
export function allocate(
  threads: number,
  maxFds: number,
  fds: Pick<SharedMemory, 'epfd' | 'mainWake' | 'threadWake'>,
  proxied = false,
): SharedMemory {
  const bytes = Int32Array.BYTES_PER_ELEMENT;
  return {
    control: new SharedArrayBuffer((CONTROL_WORDS + (threads + 1) * THREAD_WORDS) * bytes),
    rings: new SharedArrayBuffer(2 * (threads + 1) * RING_ENTRIES * 2 * bytes),
    conns: new SharedArrayBuffer(maxFds * CONN_WORDS * bytes),
    routes: new SharedArrayBuffer(routeBytes()),
    proxied: proxied ? new SharedArrayBuffer(maxFds * PROXIED_BYTES) : null,
    threads,
    maxFds,
    ...fds,
  };
}
