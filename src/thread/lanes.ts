/**
 * Lanes: heavy requests never take the last threads (design, idea 10). After its head was parsed a request is judged by what
 * its route has cost so far: a light one runs at once; a heavy one is put back, bytes and all, into this thread's ring of waiting
 * heavy requests, from where threads that have or find a lane take the oldest. So the thread that watches goes on with
 * light ones, and nobody overtakes. It runs the heavy one itself only where no other thread is at rest and a lane is free.
 * A thread is in a lane while it has heavy requests in hand: one that only awaits may take more of them.
 *
 * It also measures what requests cost. The CPU clock is a system call, so it is read for routes that are unknown, uncertain
 * or heavy, and for one in many of the light ones (shared/routes.ts decides); those that are not measured are only watched
 * with the coarse clock that recv and send bring up to date anyway.
 */
import type { Connection } from '../http/connection.js';
import { native, SCHED_BATCH, SCHED_OTHER } from '../native/binding.js';
import { C, type Shared, T } from '../shared/memory.js';
import { ReadyRing } from '../shared/ready-ring.js';
import { Routes } from '../shared/routes.js';
import type { ConnTable } from '../shared/tconn.js';

/** What becomes of a request. */
export const RUN = 0;
export const WAIT = 1;
export const FENCED = 2;
export const FULL = 3;

/** A light request that took so long by the coarse clock is looked at again, ms: three ticks of the slowest kernel clock. */
const SUSPECT_MS = 30;

/** What a thread does besides counts for nothing in a request that was no longer than this in hand, ms. */
const LONG_MS = 5000;

interface Totals {
  requests: number;
  measured: number;
  cpuUs: number;
  waitUs: number;
}

export interface LaneOptions {
  slot: number;
  shared: Shared;
  table: ConnTable;
  /** --max-queue, 0 = no limit. */
  maxQueue: number;
  /** A heavy request begins: others must not wait for what this thread holds. */
  yieldAll(): void;
}

export class Lanes {
  readonly routes: Routes;
  private readonly o: LaneOptions;
  private readonly control: Int32Array;
  private readonly mine: number;
  private readonly rings: ReadyRing[] = [];
  private readonly ring: ReadyRing;
  private marked = false;
  /** The slot that put() woke last. */
  private lastHelper = 0;
  /** Requests of each route, and the CPU and queue microseconds that are known of them, since the last report(). */
  private readonly counts: Totals[] = [];
  private touched: number[] = [];
  /** take() holds a lane for the connection that is handled now. */
  private reserved = false;
  /** The lane of the request that has just ended, for take(): given back, another thread would be woken for it meanwhile. */
  private kept = false;
  /** Route of all that is in hand, -1 = they are of several; how often another one came between them; requests that are over. */
  private only = -1;
  private mixes = 0;
  private ended = 0;
  /** Of the connection that take() returned. */
  generation = 0;

  constructor(options: LaneOptions) {
    const { shared, slot } = options;
    this.o = options;
    this.control = shared.control;
    this.mine = shared.threadWord(slot, T.HEAVY);
    this.routes = new Routes(shared.memory.routes);
    for (let i = 1; i <= shared.threads; i++) this.rings.push(new ReadyRing(shared, i, true));
    this.ring = this.rings[slot - 1];
  }

  /** Decides on a request whose head was parsed. RUN: it has its lane if it needs one. */
  judge(conn: Connection, method: string, url: string, now: number): number {
    const { routes } = this;
    const route = routes.find(method, url);
    conn.route = route;
    if (routes.fenced(route, now) > 0) return FENCED;
    conn.measured = routes.mustMeasure(route, now);
    conn.laneUs = conn.laneAt = 0;
    conn.laneMix = -1;
    if (!conn.measured || !routes.heavy(route)) return RUN;
    if (this.reserved || (!this.waiting && this.helper() === 0 && this.enter())) {
      this.reserved = false;
      conn.heavy = true;
      return RUN;
    }
    const { maxQueue } = this.o;
    if (maxQueue > 0 && this.control[C.QUEUED] >= maxQueue && !this.free) return FULL;
    return this.ring.room > 0 ? WAIT : FULL;
  }

  /** Some heavy request waits. */
  private get waiting(): boolean {
    return this.control[C.QUEUED] > 0 && this.rings.some((ring) => !ring.empty);
  }

  private get free(): boolean {
    return this.taken() < this.control[C.LANES];
  }

  /** A thread at rest that may run a heavy request: any if a lane is free, otherwise one that is in a lane; 0 = none. */
  private helper(): number {
    const { control } = this;
    const { shared } = this.o;
    const { free } = this;
    for (let i = 1; i <= shared.threads; i++) {
      // In turns: one that was woken a moment ago still seems to be at rest.
      const slot = ((this.lastHelper + i - 1) % shared.threads) + 1;
      if (shared.isFree(slot) && (free || control[shared.threadWord(slot, T.HEAVY)] > 0)) return slot;
    }
    return 0;
  }

  /** Threads that are in a lane. */
  private taken(): number {
    const { control } = this;
    const { shared } = this.o;
    let n = 0;
    for (let slot = 1; slot <= shared.threads; slot++) {
      if (control[shared.threadWord(slot, T.HEAVY)] + control[shared.threadWord(slot, T.LATE)] > 0) n++;
    }
    return n;
  }

  /** Counts a heavy request: first counted, then checked, so that two threads never both take the last lane. */
  private enter(): boolean {
    const { control, mine } = this;
    if (Atomics.add(control, mine, 1) > 0 || this.taken() <= control[C.LANES]) return true;
    Atomics.sub(control, mine, 1);
    return false;
  }

  /** The connection was put back and is QUEUED: wakes a thread that may run it. */
  put(fd: number, generation: number): void {
    this.ring.put(fd, generation);
    const slot = this.helper();
    if (slot === 0) return;
    this.lastHelper = slot;
    native.eventfdWrite(this.o.shared.memory.threadWake[slot]);
  }

  /** A waiting heavy request, if there is one and a lane for it: its fd, now owned (generation in `generation`), or -1. */
  take(): number {
    if (!this.waiting || !(this.kept || this.enter())) {
      this.leave();
      return -1;
    }
    this.kept = false;
    const fd = this.oldest();
    // Kept for it until judge() has seen what it is: done() gives back what was not used.
    if (fd >= 0) this.reserved = true;
    else Atomics.sub(this.control, this.mine, 1);
    return fd;
  }

  /** What take() gave out has been handled, or runs. */
  done(): void {
    if (!this.reserved) return;
    this.reserved = false;
    Atomics.sub(this.control, this.mine, 1);
  }

  /** The thread goes to rest: a lane that it has kept is free. */
  leave(): void {
    if (!this.kept) return;
    this.kept = false;
    Atomics.sub(this.control, this.mine, 1);
  }

  private oldest(): number {
    const { table, slot } = this.o;
    for (;;) {
      let oldest: ReadyRing | null = null;
      let began = 0;
      for (const ring of this.rings) {
        const fd = ring.peek();
        if (fd < 0) continue;
        const at = table.began(fd);
        if (oldest !== null && ((at - began) | 0) >= 0) continue;
        oldest = ring;
        began = at;
      }
      if (oldest === null) return -1;
      const fd = oldest.take();
      if (fd < 0) continue;
      this.generation = oldest.generation;
      if (table.dequeue(fd, oldest.generation, slot)) return fd;
    }
  }

  // --- what a request costs ---

  /** The handler is about to be called. others: what else the thread has in hand. */
  begin(conn: Connection, others: number): void {
    if (others === 0) this.only = conn.route;
    else if (this.only !== conn.route) {
      this.only = -1;
      this.mixes++;
    }
    if (!conn.measured) return;
    conn.laneUs = 0;
    conn.laneMix = this.only < 0 ? -1 : this.mixes;
    conn.laneEnded = this.ended;
    if (conn.heavy) {
      this.o.yieldAll();
      this.mark(true);
    }
    conn.laneAt = conn.laneFrom = native.threadCpu();
  }

  /** The handler has returned; what follows is done in callbacks. */
  returned(conn: Connection): void {
    this.stop(conn);
    if (this.marked) this.mark(false);
  }

  private stop(conn: Connection): void {
    if (conn.laneAt === 0) return;
    conn.laneUs += native.threadCpu() - conn.laneAt;
    conn.laneAt = 0;
  }

  /**
   * What an asynchronous request has taken that is over now, perhaps `less` than it did: its first and its last stretch. While
   * all that the thread had in hand was of its route, what the thread did between them is theirs, in equal parts.
   */
  private asyncCost(conn: Connection, now: number, others: number): { us: number; less: boolean } {
    const us = conn.laneUs + native.stretchCpu();
    if (conn.laneMix !== this.mixes || ((now - conn.began) | 0) > LONG_MS) return { us, less: true };
    const part = (native.threadCpu() - conn.laneFrom) / (this.ended - conn.laneEnded + others);
    return { us: Math.max(us, part), less: false };
  }

  /**
   * The request is over. `sync`: it ended before its handler returned, or with it; otherwise in a callback. others: what the thread
   * has in hand still.
   */
  end(conn: Connection, sync: boolean, now: number, others: number): void {
    const { routes } = this;
    this.ended++;
    let total = this.counts[conn.route];
    if (total === undefined) total = this.counts[conn.route] = { requests: 0, measured: 0, cpuUs: 0, waitUs: 0 };
    if (total.requests++ === 0) this.touched.push(conn.route);
    if (conn.queuedMs > 0) total.waitUs += conn.queuedMs * 1000;
    if (conn.measured) {
      this.stop(conn);
      const { us, less } = sync ? { us: conn.laneUs, less: false } : this.asyncCost(conn, now, others);
      if (!less || routes.tells(conn.route, us, now)) {
        routes.record(conn.route, us, now);
        total.measured++;
        total.cpuUs += us;
      }
      conn.measured = false;
    } else if (sync && ((now - conn.began) | 0) >= SUSPECT_MS) routes.suspect(conn.route);
    if (!conn.heavy) return;
    conn.heavy = false;
    // A turn goes on behind it, and takes the next.
    if (sync && !this.kept && this.waiting) this.kept = true;
    else Atomics.sub(this.control, this.mine, 1);
  }

  /** Adds what was counted to the worker's totals; requests that were not measured at what their route costs. */
  report(): void {
    const { touched, routes, counts } = this;
    if (touched.length === 0) return;
    this.touched = [];
    for (const route of touched) {
      const { requests, measured, cpuUs, waitUs } = counts[route];
      routes.count(route, requests, cpuUs + (requests - measured) * routes.cost(route), waitUs);
      counts[route] = { requests: 0, measured: 0, cpuUs: 0, waitUs: 0 };
    }
  }

  /** For the scheduler: light threads first. Where it is not allowed nothing is lost but that. */
  private mark(batch: boolean): void {
    this.marked = batch;
    native.setPolicy(0, batch ? SCHED_BATCH : SCHED_OTHER);
  }
}
