/**
 * ThreadPool: the worker's threads, and the hand-over of connections to them.
 *
 * submit(conn) puts a connection that main owns into main's ring and sees to it that a thread looks: the connection
 * travels as a file descriptor number through shared memory, never as a task of the host, because one such task costs
 * as much as a whole request. The host (piscina, tinypool, inline) only starts and ends the threads: a thread's life
 * is one task, and its promise tells of its death.
 *
 *     slot: STARTING --ready--> RUNNING --task ends--> DEAD --onLost--> STARTING        any --stop--> STOPPED
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { Config } from '../config/settings.js';
import { TunicornError, WORKER_BOOT_ERROR } from '../errors.js';
import { native } from '../native/binding.js';
import { ABSENT, C, PARKED, type Shared, type SharedMemory, T } from '../shared/memory.js';
import { ReadyRing } from '../shared/ready-ring.js';
import { type ConnTable, OWNER_FREE, OWNER_IDLE } from '../shared/tconn.js';
import { Future } from './future.js';
import type { ThreadHost } from './host.js';
import type { MainToThread, ThreadToMain } from './messages.js';

/** What became of a connection that was submitted. */
export interface Outcome {
  /** It waits in the selector for its next request; otherwise it is closed. */
  kept: boolean;
}

/** A connection as the pool needs it. */
export interface Submittable {
  readonly fd: number;
  readonly generation: number;
}

export interface ThreadPoolOptions {
  host: ThreadHost;
  shared: Shared;
  table: ConnTable;
  config: Config;
  concurrency: number;
  keepAlive: boolean;
  /** A thread died: its connections have to be seen to. It is replaced when this returns. */
  onLost(slot: number, error: unknown): void;
}

interface Slot {
  port: MessagePort;
  abort: AbortController;
  running: boolean;
}

export class ThreadPool {
  private readonly o: ThreadPoolOptions;
  private readonly shared: Shared;
  private readonly memory: SharedMemory;
  private readonly ring: ReadyRing;
  private readonly slots = new Map<number, Slot>();
  /** Connections that wait for room in the ring. */
  private readonly overflow: Submittable[] = [];
  private readonly futures = new Map<number, { generation: number; visits: number; future: Future<Outcome> }>();
  private stopping = false;

  constructor(options: ThreadPoolOptions) {
    this.o = options;
    this.shared = options.shared;
    this.memory = options.shared.memory;
    this.ring = new ReadyRing(options.shared, 0);
  }

  /** Starts every thread; resolves when all have loaded the app, rejects with the first one's error. */
  async start(): Promise<void> {
    const slots = Array.from({ length: this.shared.threads }, (_, i) => i + 1);
    await Promise.all(slots.map((slot) => this.startThread(slot)));
  }

  /**
   * Hands a connection that main owns to a thread. The future is set when its request is over and it was kept or
   * closed; threads report that only for futures with a callback.
   */
  submit(conn: Submittable): Future<Outcome> {
    const { table } = this.o;
    const { fd, generation } = conn;
    const visits = table.visits(fd);
    const future = new Future<Outcome>(() => {
      this.futures.set(fd, { generation, visits, future });
      if (table.generation(fd) === generation) table.askNotice(fd);
      // The thread may have been done before it could know that somebody asks.
      if (table.generation(fd) !== generation || table.owner(fd) === OWNER_FREE)
        this.completed(fd, generation, visits + 1, false);
      else if (table.visits(fd) !== visits && table.owner(fd) === OWNER_IDLE) {
        this.completed(fd, generation, visits + 1, true);
      }
    });
    table.handOver(fd, false);
    if (this.overflow.length > 0 || !this.ring.put(fd, generation)) this.overflow.push(conn);
    this.wakeOne();
    return future;
  }

  /** Moves what had no room into the ring. Returns how many still wait. */
  flushOverflow(): number {
    while (this.overflow.length > 0 && this.ring.put(this.overflow[0].fd, this.overflow[0].generation)) {
      this.overflow.shift();
    }
    if (!this.ring.empty) this.wakeOne();
    return this.overflow.length;
  }

  /** Sees to it that a thread looks: the one that watches if it is at rest, otherwise a parked one, if any is. */
  private wakeOne(): void {
    const { control } = this.shared;
    const leader = Atomics.load(control, C.LEADER);
    if (leader !== 0) {
      if (Atomics.load(control, this.shared.threadWord(leader, T.BUSY)) === 0) this.wake(leader);
      // A busy leader comes by itself; the supervisor wakes another one if it takes too long.
      return;
    }
    this.wakeParked();
  }

  wake(slot: number): void {
    native.eventfdWrite(this.memory.threadWake[slot]);
  }

  /** Wakes one parked thread; false if there is none. */
  wakeParked(): boolean {
    for (let slot = 1; slot <= this.shared.threads; slot++) {
      if (Atomics.load(this.shared.control, this.shared.threadWord(slot, T.STATE)) === PARKED) {
        this.wake(slot);
        return true;
      }
    }
    return false;
  }

  /** Requests in hand on all threads. */
  get inflight(): number {
    return this.sum(T.INFLIGHT);
  }

  /** Requests finished since the start, modulo 2^32. */
  get served(): number {
    return this.sum(T.SERVED) >>> 0;
  }

  private sum(word: number): number {
    let n = 0;
    for (let slot = 1; slot <= this.shared.threads; slot++) {
      n = (n + this.shared.control[this.shared.threadWord(slot, word)]) | 0;
    }
    return n;
  }

  private startThread(slot: number): Promise<void> {
    const { host, config, concurrency, keepAlive } = this.o;
    const { port1, port2 } = new MessageChannel();
    const entry: Slot = { port: port1, abort: new AbortController(), running: false };
    this.slots.set(slot, entry);
    return new Promise((resolve, reject) => {
      let failure: TunicornError | undefined;
      port1.on('message', (message: ThreadToMain) => {
        if (message.type === 'ready') {
          entry.running = true;
          resolve();
        } else if (message.type === 'failed') {
          failure = new TunicornError(message.code, message.message, {
            exitCode: message.exitCode,
            cause:
              message.stack === '' ? undefined : Object.assign(new Error(message.message), { stack: message.stack }),
          });
          reject(failure);
        } else if (message.type === 'done') {
          this.completed(message.fd, message.generation, message.visits, message.kept);
        }
      });
      const ended = (error: unknown) => {
        port1.close();
        const reason =
          failure ??
          new TunicornError('ERR_TUNICORN_THREAD', 'A thread ended before it was ready.', {
            exitCode: WORKER_BOOT_ERROR,
            cause: error,
          });
        reject(reason);
        if (entry.running) this.lost(slot, error);
      };
      host
        .run({ slot, shared: this.memory, config, concurrency, keepAlive, port: port2 }, entry.abort.signal)
        .then(() => ended(undefined), ended);
    });
  }

  /** visits: how often owners were done with it then; a notice of an earlier visit says nothing about this future. */
  private completed(fd: number, generation: number, visits: number, kept: boolean): void {
    const waiting = this.futures.get(fd);
    if (waiting === undefined || waiting.generation !== generation || visits <= waiting.visits) return;
    this.futures.delete(fd);
    waiting.future.setResult({ kept });
  }

  private lost(slot: number, error: unknown): void {
    const { shared } = this;
    const { control } = shared;
    for (const word of [T.INFLIGHT, T.BUSY, T.STATE]) Atomics.store(control, shared.threadWord(slot, word), ABSENT);
    Atomics.compareExchange(control, C.LEADER, slot, 0);
    this.slots.delete(slot);
    if (this.stopping) return;
    this.o.onLost(slot, error);
    this.wakeOne();
    this.startThread(slot).catch((cause: unknown) => this.o.onLost(slot, cause));
  }

  /** Ends a thread at once, whatever it does. onLost follows. */
  kill(slot: number): void {
    this.slots.get(slot)?.abort.abort();
  }

  /** Lets the threads finish what they have in hand and end; resolves when all have, at most after ms. */
  async stop(ms: number): Promise<void> {
    this.stopping = true;
    const ports = [...this.slots.values()].map((slot) => slot.port);
    const done = ports.map(
      (port) =>
        new Promise<void>((resolve) => {
          port.on('message', (message: ThreadToMain) => {
            if (message.type === 'stopped') resolve();
          });
          port.on('close', () => resolve());
        }),
    );
    for (const port of ports) port.postMessage({ type: 'stop' } satisfies MainToThread);
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([
      Promise.all(done),
      new Promise<void>((resolve) => {
        timer = setTimeout(resolve, ms);
      }),
    ]);
    clearTimeout(timer);
  }
}
