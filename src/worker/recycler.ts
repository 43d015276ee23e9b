/**
 * The recycler: decides when a single thread of a gthread worker has served its time (--max-requests, --thread-max-memory, or
 * it asks to be replaced) and has the pool swap it for a fresh one, one at a time. The old thread serves until the fresh
 * one is ready, so no request waits for it; what it costs is the CPU of starting a thread and loading the app.
 *
 *     look() ─ due? ─ idle ones first ─ pool.replace(slot) ─> pause of nine times what that took ─> look()
 *
 * The pause keeps a limit that is reached at once (50 requests at 5,000 a second) from becoming a machine that only starts
 * threads: at most a tenth of the time goes into it, and a thread then simply serves more than its limit. (A quarter made the p99
 * of 4,000 echoes 2.2 times what it is without, on two busy cores: a starting thread takes CPU, and its code is cold at first.)
 */
import type { Config } from '../config/settings.js';
import type { ThreadHandle } from '../pool/thread-handle.js';
import type { ThreadPool } from '../pool/thread-pool.js';
import { type Shared, T } from '../shared/memory.js';

/** Pause after a replacement, in times of what it took. */
const REST = 9;
/** Pause after one that failed: its app does not load, ms. */
const FAILED_MS = 10_000;

export interface RecyclerOptions {
  pool: Pick<ThreadPool, 'running' | 'replacing' | 'replace' | 'servedBy'>;
  shared: Shared;
  /** The config of now: a reload may change it. */
  config(): Pick<Config, 'maxRequests' | 'maxRequestsJitter' | 'threadMaxMemory'>;
  /** A number from 0 to below 1. Default: Math.random. */
  random?: () => number;
  /** ms of a clock that only goes forward. Default: performance.now. */
  now?: () => number;
}

export class Recycler {
  private readonly o: RecyclerOptions;
  private readonly random: () => number;
  private readonly now: () => number;
  /** What a thread's jitter is, as a share of --max-requests-jitter. */
  private readonly jitter = new WeakMap<ThreadHandle, number>();
  private notBefore = 0;

  constructor(options: RecyclerOptions) {
    this.o = options;
    this.random = options.random ?? Math.random;
    this.now = options.now ?? (() => performance.now());
  }

  /** Looks at every thread, and begins to replace one if one is due. To be called a few times a second. */
  look(): void {
    const { pool } = this.o;
    if (pool.replacing || this.now() < this.notBefore) return;
    let found: ThreadHandle | null = null;
    for (const thread of pool.running) {
      if (this.reason(thread) === '') continue;
      // One that waits for nothing ends at once.
      if (found === null || this.inHand(thread) < this.inHand(found)) found = thread;
    }
    if (found !== null) void this.recycle(found);
  }

  private inHand({ slot }: ThreadHandle): number {
    const { control } = this.o.shared;
    const word = (name: number) => Atomics.load(control, this.o.shared.threadWord(slot, name));
    return word(T.INFLIGHT) + word(T.BUSY);
  }

  /** Why a thread is to be replaced, '' = it is not. */
  private reason(thread: ThreadHandle): string {
    const { pool, shared } = this.o;
    const { maxRequests, maxRequestsJitter, threadMaxMemory } = this.o.config();
    if (thread.asked !== '') return thread.asked;
    if (maxRequests > 0) {
      const served = pool.servedBy(thread);
      if (served >= maxRequests + Math.floor(this.jitterOf(thread) * (maxRequestsJitter + 1))) {
        return `${served} requests`;
      }
    }
    const heap = Atomics.load(shared.control, shared.threadWord(thread.slot, T.HEAP));
    if (threadMaxMemory > 0 && heap >= threadMaxMemory * 1024) return `${Math.round(heap / 1024)} MiB of memory`;
    return '';
  }

  private jitterOf(thread: ThreadHandle): number {
    let share = this.jitter.get(thread);
    if (share === undefined) {
      share = this.random();
      this.jitter.set(thread, share);
    }
    return share;
  }

  private async recycle(thread: ThreadHandle): Promise<void> {
    const begun = this.now();
    const swapped = await this.o.pool.replace(thread.slot, this.reason(thread));
    this.notBefore = this.now() + (swapped ? REST * (this.now() - begun) : FAILED_MS);
  }
}
