/**
 * What a worker tells of itself: its state as a report, and from that whether it is ready for requests. `readiness` is the
 * one decision; Health keeps the facts that no word of shared memory has, and C.READY, by which the threads know.
 */
import type { ThreadPool } from '../pool/thread-pool.js';
import { DRAINING, READY, type Readiness } from '../shared/health.js';
import { ABSENT, C, PARKED, type Shared, T } from '../shared/memory.js';
import type { RouteStats } from '../shared/routes.js';
import { version } from '../version.js';

/** All threads stuck for longer: the worker is not ready, ms. */
const STUCK_MS = 1000;

/** What `readiness` looks at. */
export interface HealthFacts {
  /** Every thread has loaded the app. */
  booted: boolean;
  /** A graceful stop has begun. */
  draining: boolean;
  /** Other workers go on at the same addresses when this one has gone. */
  relieved: boolean;
  /** For how long every thread has been stuck, ms; 0 = they are not. */
  allStuckMs: number;
  /** Requests that wait for a thread, and --max-queue (0 = no limit). */
  queued: number;
  maxQueue: number;
}

export interface ThreadReport {
  slot: number;
  /** stuck: its event loop does not turn and it begins no request, as the supervisor saw it last. */
  state: 'absent' | 'parked' | 'active' | 'stuck';
  inflight: number;
  heavy: number;
  served: number;
  heapKiB: number;
}

export interface StatusReport extends HealthFacts {
  pid: number;
  version: string;
  /** How many workers were spawned before this one. */
  age: number;
  /** Seconds since the process began. */
  uptime: number;
  threads: ThreadReport[];
  /** Open connections. */
  connections: number;
  inflight: number;
  /** Requests finished, modulo 2^32. */
  served: number;
  /** What is known of each route: totals, expected cost. */
  routes: RouteStats[];
}

/**
 * Whether a worker should be sent requests. One that leaves while others stay says so to the end: who asks may have been
 * connected to it just before, and the addresses are as good as ever.
 */
export function readiness(facts: HealthFacts): Readiness {
  if (facts.draining) return facts.relieved ? READY : DRAINING;
  if (!facts.booted) return { ready: false, reason: 'booting' };
  if (facts.allStuckMs > STUCK_MS) return { ready: false, reason: 'all threads stuck' };
  if (facts.maxQueue > 0 && facts.queued > facts.maxQueue) return { ready: false, reason: 'queue full' };
  return READY;
}

export interface HealthOptions {
  shared: Shared;
  pool: Pick<ThreadPool, 'stuck' | 'inflight' | 'served'>;
  /** --max-queue. */
  maxQueue: number;
  /** As in the boot message. */
  age: number;
  routes: () => RouteStats[];
}

export class Health {
  private readonly o: HealthOptions;
  private booted = false;
  private draining = false;
  private relieved = false;
  /** When every thread was first seen stuck, 0 = they are not. */
  private stuckSince = 0;

  constructor(options: HealthOptions) {
    this.o = options;
  }

  /** Every thread has loaded the app. */
  boot(): void {
    this.booted = true;
    this.update();
  }

  /** A graceful stop begins. */
  drain(): void {
    this.draining = true;
    this.update();
  }

  /** Other workers go on without this one. */
  relieve(): void {
    this.relieved = true;
    this.update();
  }

  /** The supervisor has looked at the threads; all: every one is stuck. Cheap: it comes every millisecond. */
  look(all: boolean): void {
    if (all === this.stuckSince > 0) return;
    this.stuckSince = all ? performance.now() : 0;
    if (!all) this.update();
  }

  /** Brings C.READY up to date; several times a second, for what no event tells. */
  update(): Readiness {
    const now = readiness(this.facts());
    Atomics.store(this.o.shared.control, C.READY, now.ready ? 1 : 0);
    return now;
  }

  private facts(): HealthFacts {
    const { stuckSince, o } = this;
    return {
      booted: this.booted,
      draining: this.draining,
      relieved: this.relieved,
      allStuckMs: stuckSince > 0 ? Math.round(performance.now() - stuckSince) : 0,
      queued: Atomics.load(o.shared.control, C.QUEUED),
      maxQueue: o.maxQueue,
    };
  }

  report(): StatusReport {
    const { shared, pool, age, routes } = this.o;
    return {
      pid: process.pid,
      version,
      age,
      uptime: Math.round(process.uptime() * 10) / 10,
      ...this.facts(),
      connections: Atomics.load(shared.control, C.OPEN),
      inflight: pool.inflight,
      served: pool.served,
      threads: Array.from({ length: shared.threads }, (_, i) => this.thread(i + 1)),
      routes: routes(),
    };
  }

  private thread(slot: number): ThreadReport {
    const { shared, pool } = this.o;
    const word = (w: number) => shared.control[shared.threadWord(slot, w)];
    const working = word(T.STATE) === PARKED ? 'parked' : 'active';
    return {
      slot,
      state: word(T.STATE) === ABSENT ? 'absent' : pool.stuck[slot] ? 'stuck' : working,
      inflight: word(T.INFLIGHT),
      heavy: word(T.HEAVY),
      served: word(T.SERVED) >>> 0,
      heapKiB: word(T.HEAP),
    };
  }
}
