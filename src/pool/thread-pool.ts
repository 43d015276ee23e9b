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
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
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
  threadId: number;
  /** Settles when its task is over. */
  ended: Promise<void>;
}

/** How long a thread that was told to die may take before it counts as dead, ms. */
const GONE_MS = 1000;
/** After how long a replacement that could not start is tried again, ms. */
const RESTART_MS = 1000;

export class ThreadPool {
  private readonly o: ThreadPoolOptions;
  private readonly shared: Shared;
  private readonly memory: SharedMemory;
  private readonly ring: ReadyRing;
  /** All rings, main's first. */
  private readonly rings: ReadyRing[];
  /** Slots whose event loop does not turn now, as the supervisor saw it: of no use to wake. */
  readonly stuck: boolean[] = [];
  private readonly slots = new Map<number, Slot>();
  /** Connections that wait for room in the ring. */
  private readonly overflow: Submittable[] = [];
  private readonly futures = new Map<number, { generation: number; visits: number; future: Future<Outcome> }>();
  private stopping = false;

  constructor(options: ThreadPoolOptions) {
    this.o = options;
    this.shared = options.shared;
    this.memory = options.shared.memory;
    this.rings = Array.from({ length: options.shared.threads + 1 }, (_, slot) => new ReadyRing(options.shared, slot));
    this.ring = this.rings[0];
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
      // An earlier future of this fd is over, whatever its notice will say when it comes.
      const earlier = this.futures.get(fd);
      this.futures.set(fd, { generation, visits, future });
      earlier?.future.setResult({ kept: earlier.generation === generation });
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

  /**
   * Moves what had no room into the ring, and sees to it that nothing waits in any ring while a thread is at rest: a thread
   * may have begun on a long request with more events in its ring. Returns how many had no room.
   */
  flushOverflow(): number {
    while (this.overflow.length > 0 && this.ring.put(this.overflow[0].fd, this.overflow[0].generation)) {
      this.overflow.shift();
    }
    if (this.rings.some((ring) => !ring.empty)) this.wakeOne();
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

  /** Something stands in main's ring. */
  get submitted(): boolean {
    return !this.ring.empty;
  }

  /** Puts a connection that is QUEUED into main's ring. */
  enqueue(conn: Submittable): void {
    if (this.overflow.length > 0 || !this.ring.put(conn.fd, conn.generation)) this.overflow.push(conn);
  }

  /** Has the thread that watches look around. */
  wakeLeader(): void {
    const leader = Atomics.load(this.shared.control, C.LEADER);
    if (leader !== 0) this.wake(leader);
  }

  /** The worker_threads id of a slot's thread, 0 = it is not running. */
  threadId(slot: number): number {
    return this.slots.get(slot)?.threadId ?? 0;
  }

  wake(slot: number): void {
    native.eventfdWrite(this.memory.threadWake[slot]);
  }

  /** Wakes one parked thread, one whose loop turns if there is such; false if none is parked. inLane: one with heavy requests. */
  wakeParked(inLane = false): boolean {
    let found = 0;
    for (let slot = 1; slot <= this.shared.threads; slot++) {
      if (Atomics.load(this.shared.control, this.shared.threadWord(slot, T.STATE)) !== PARKED) continue;
      if (inLane && this.shared.control[this.shared.threadWord(slot, T.HEAVY)] === 0) continue;
      if (found === 0 || this.stuck[found]) found = slot;
    }
    if (found > 0) this.wake(found);
    return found > 0;
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
    const abort = new AbortController();
    let open = true;
    const closed = new Promise<void>((resolve) => {
      port1.once('close', () => {
        open = false;
        resolve();
      });
    });
    return new Promise((resolve, reject) => {
      let failure: TunicornError | undefined;
      const onMessage = (message: ThreadToMain) => {
        if (message.type === 'ready') {
          entry.running = true;
          entry.threadId = message.threadId;
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
      };
      port1.on('message', onMessage);
      const ended = async (error: unknown) => {
        // The thread's last messages came before its end, but by another way: without them we would not know why.
        // A port that has closed has delivered all, and must not be asked: Node 20 breaks down.
        for (let last: { message: ThreadToMain } | undefined; open && (last = receiveMessageOnPort(port1)); ) {
          onMessage(last.message);
        }
        // A host tells that a thread is lost when it begins to die. Its connections are ours only when its port is gone.
        if (entry.running && !this.stopping) await within(closed, GONE_MS);
        port1.close();
        const reason =
          failure ??
          new TunicornError('ERR_TUNICORN_THREAD', 'A thread ended before it was ready.', {
            exitCode: WORKER_BOOT_ERROR,
            cause: error,
          });
        reject(reason);
        if (entry.running) this.lost(slot, exited ? new Error('It called process.exit().', { cause: error }) : error);
      };
      // Not every host notices process.exit() in a thread (tinypool does not); the thread's port does.
      let exited = false;
      void closed.then(() => {
        if (!entry.running || this.stopping || this.slots.get(slot) !== entry) return;
        exited = true;
        abort.abort();
      });
      const entry: Slot = {
        port: port1,
        abort,
        running: false,
        threadId: 0,
        ended: host
          .run({ slot, shared: this.memory, config, concurrency, keepAlive, port: port2 }, abort.signal)
          .then(() => ended(undefined), ended),
      };
      this.slots.set(slot, entry);
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
    native.outboxFlush(slot);
    for (const word of [T.INFLIGHT, T.BUSY, T.STATE, T.HEAVY, T.LATE, T.HOLD])
      Atomics.store(control, shared.threadWord(slot, word), ABSENT);
    Atomics.compareExchange(control, C.LEADER, slot, 0);
    const epfd = Atomics.exchange(control, shared.threadWord(slot, T.EPFD), 0);
    if (epfd > 0) native.close(epfd);
    this.slots.delete(slot);
    if (this.stopping) return;
    this.o.onLost(slot, error);
    this.settleLost();
    this.wakeOne();
    this.replace(slot);
  }

  /** Futures of connections that onLost closed: no thread will tell. */
  private settleLost(): void {
    const { table } = this.o;
    for (const [fd, { generation, visits }] of this.futures) {
      if (table.generation(fd) === generation && table.owner(fd) !== OWNER_FREE) continue;
      this.completed(fd, generation, visits + 1, false);
    }
  }

  /** A thread that does not come up (its app's file is being written, say) is tried again and again, but not at once. */
  private replace(slot: number): void {
    if (this.stopping) return;
    this.startThread(slot).catch((cause: unknown) => {
      if (this.stopping) return;
      this.o.onLost(slot, cause);
      setTimeout(() => this.replace(slot), RESTART_MS).unref();
    });
  }

  /** Ends a thread at once, whatever it does. onLost follows. */
  kill(slot: number): void {
    this.slots.get(slot)?.abort.abort();
  }

  /** Lets the threads finish what they have in hand and end, for at most ms; what is left then is ended at once. */
  async stop(ms: number): Promise<void> {
    this.stopping = true;
    const slots = [...this.slots.values()];
    for (const { port } of slots) port.postMessage({ type: 'stop' } satisfies MainToThread);
    await within(Promise.all(slots.map(({ ended }) => ended)), ms);
    await within(
      this.o.host.destroy().catch(() => {}),
      GONE_MS,
    );
    for (const { future } of this.futures.values()) future.cancel();
    this.futures.clear();
  }
}

/** Waits for the promise, at most ms. */
async function within(promise: Promise<unknown>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([promise, late]);
  clearTimeout(timer);
}
