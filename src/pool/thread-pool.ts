/**
 * ThreadPool: the worker's threads, and the hand-over of connections to them.
 *
 * submit(conn) puts a connection that main owns into main's ring and sees to it that a thread looks: the connection
 * travels as a file descriptor number through shared memory, never as a task of the host, because one such task costs
 * as much as a whole request. The host (piscina, tinypool, inline) only starts and ends the threads: a thread's life
 * is one task, and its promise tells of its death. Which threads there are, and how they are replaced, is roster.ts's.
 */
import type { Config } from '../config/settings.js';
import type { Logger } from '../log.js';
import { native } from '../native/binding.js';
import { C, type Shared, type SharedMemory, T } from '../shared/memory.js';
import { ReadyRing } from '../shared/ready-ring.js';
import { type ConnTable, OWNER_FREE, OWNER_IDLE } from '../shared/tconn.js';
import { Future } from './future.js';
import type { ThreadHost } from './host.js';
import { Roster, type RosterOptions } from './roster.js';
import type { ThreadHandle } from './thread-handle.js';

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
  /** Threads to start; the other slots are spare, for replacements. Default: one in every slot. */
  wanted?: number;
  concurrency: number;
  /** False: every response closes its connection, whatever the config says. */
  keepAlive: boolean;
  /** Where replacements are told of. Default: nowhere. */
  log?: Logger;
  logs?: RosterOptions['logs'];
  onReplaced?: RosterOptions['onReplaced'];
  bootMs?: RosterOptions['bootMs'];
  /** Where the worker listens, as in its logs. */
  address?: string;
  /** How many workers were started before this one. Default 0. */
  workerAge?: number;
  /** A thread died: its connections have to be seen to. It is replaced when this returns, unless it was `retiring`. */
  onLost(slot: number, error: unknown, retiring: boolean): void;
  onGone?: RosterOptions['onGone'];
}

export class ThreadPool {
  private readonly o: ThreadPoolOptions;
  private readonly shared: Shared;
  private readonly memory: SharedMemory;
  private readonly ring: ReadyRing;
  /** All rings, main's first. */
  private readonly rings: ReadyRing[];
  /** Slots whose event loop does not turn now, as the supervisor saw it: of no use to wake. */
  readonly stuck: boolean[] = [];
  private readonly roster: Roster;
  /** Connections that wait for room in the ring. */
  private readonly overflow: Submittable[] = [];
  private readonly futures = new Map<number, { generation: number; visits: number; future: Future<Outcome> }>();

  constructor(options: ThreadPoolOptions) {
    this.o = options;
    this.shared = options.shared;
    this.memory = options.shared.memory;
    this.rings = Array.from({ length: options.shared.threads + 1 }, (_, slot) => new ReadyRing(options.shared, slot));
    this.ring = this.rings[0];
    this.roster = new Roster({
      ...options,
      onDone: ({ fd, generation, visits, kept }) => this.completed(fd, generation, visits, kept),
      onLost: (slot, error, retiring) => this.lost(slot, error, retiring),
      onLeaving: () => this.flushOverflow(),
    });
  }

  /** Starts the wanted number of threads; resolves when all have loaded the app, rejects with the first one's error. */
  async start(): Promise<void> {
    await this.roster.start();
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
    this.roster.flushLeftovers();
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

  /**
   * Of connections that main found to be QUEUED when a thread had died, those that stand in no ring: it had taken them out, or was about to
   * put them in. They stand in main's from here on.
   */
  requeue(conns: readonly Submittable[]): void {
    if (conns.length === 0) return;
    const key = (fd: number, generation: number) => fd * 0x10000 + generation;
    const standing = new Set(this.overflow.map(({ fd, generation }) => key(fd, generation)));
    for (let slot = 0; slot <= this.shared.threads; slot++) {
      for (const ring of [this.rings[slot], new ReadyRing(this.shared, slot, true)])
        ring.each((fd, generation) => standing.add(key(fd, generation)));
    }
    for (const conn of conns) if (!standing.has(key(conn.fd, conn.generation))) this.enqueue(conn);
  }

  /** Has the thread that watches look around. */
  wakeLeader(): void {
    const leader = Atomics.load(this.shared.control, C.LEADER);
    if (leader !== 0) this.wake(leader);
  }

  /** The worker_threads id of a slot's thread, 0 = it is not running. */
  threadId(slot: number): number {
    return this.roster.threadId(slot);
  }

  wake(slot: number): void {
    native.eventfdWrite(this.memory.threadWake[slot]);
  }

  /**
   * Wakes one parked thread, one whose loop turns if there is such; false if none is parked that may take something. inLane:
   * one that has heavy requests in hand.
   */
  wakeParked(inLane = false): boolean {
    const { shared } = this;
    let found = 0;
    for (let slot = 1; slot <= shared.threads; slot++) {
      if (!shared.isFree(slot)) continue;
      if (inLane && shared.control[shared.threadWord(slot, T.HEAVY)] === 0) continue;
      if (found === 0 || this.stuck[found]) found = slot;
    }
    if (found > 0) this.wake(found);
    return found > 0;
  }

  /** Requests in hand on all threads. */
  get inflight(): number {
    return this.shared.sum(T.INFLIGHT);
  }

  /** Connections that have left HTTP and stay with their threads. */
  get upgraded(): number {
    return this.shared.sum(T.UPGRADED);
  }

  /** Requests finished since the start, modulo 2^32. */
  get served(): number {
    return this.shared.sum(T.SERVED) >>> 0;
  }

  /** visits: how often owners were done with it then; a notice of an earlier visit says nothing about this future. */
  private completed(fd: number, generation: number, visits: number, kept: boolean): void {
    const waiting = this.futures.get(fd);
    if (waiting === undefined || waiting.generation !== generation || visits <= waiting.visits) return;
    this.futures.delete(fd);
    waiting.future.setResult({ kept });
  }

  private lost(slot: number, error: unknown, retiring: boolean): void {
    this.o.onLost(slot, error, retiring);
    this.settleLost();
    this.wakeOne();
  }

  /** Futures of connections that onLost closed: no thread will tell. */
  private settleLost(): void {
    const { table } = this.o;
    for (const [fd, { generation, visits }] of this.futures) {
      if (table.generation(fd) === generation && table.owner(fd) !== OWNER_FREE) continue;
      this.completed(fd, generation, visits + 1, false);
    }
  }

  // --- threads; roster.ts has the reasons ---

  /** Threads that serve, oldest first. */
  get running(): readonly ThreadHandle[] {
    return this.roster.running;
  }

  /** Threads that there shall be. */
  get wanted(): number {
    return this.roster.wanted;
  }

  /** A thread is being replaced. */
  get replacing(): boolean {
    return this.roster.replacing;
  }

  /** Requests that a thread has finished since its start. */
  servedBy(thread: ThreadHandle): number {
    return this.roster.served(thread);
  }

  /**
   * Swaps a thread for a fresh one, ready before the old one takes nothing new. False if there is none in the slot or the fresh
   * one could not start (logged; the old one goes on). Never rejects.
   */
  replace(slot: number, reason: string): Promise<boolean> {
    return this.roster.replace(slot, reason);
  }

  /** Swaps all threads, one at a time, for ones with this config and freshly loaded code; false if they stay. Never rejects. */
  reload(config: Config): Promise<boolean> {
    return this.roster.reload(config);
  }

  /**
   * Changes the number of threads; resolves when they are there.
   * @throws {TunicornError} ERR_TUNICORN_THREADS if there are not so many slots, or the error of a thread that cannot start.
   */
  resize(n: number): Promise<void> {
    return this.roster.resize(n);
  }

  /** Ends a thread at once, whatever it does. onLost follows. */
  kill(slot: number): void {
    this.roster.kill(slot);
  }

  /** Lets the threads finish what they have in hand and end, for at most ms; what is left then is ended at once. */
  async stop(ms: number): Promise<void> {
    await this.roster.stop(ms);
    for (const { future } of this.futures.values()) future.cancel();
    this.futures.clear();
  }
}
