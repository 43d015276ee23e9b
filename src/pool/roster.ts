/**
 * Roster: which threads there are. It keeps the wanted number, replaces threads that die, and swaps living ones for fresh ones
 * without a gap: there are more slots than threads, so the fresh one is started first, and only when it is ready the old
 * one is told to take nothing new, finish, and end. Connections belong to the process and notice nothing.
 *
 *     replace(old):   old RUNNING ............................ RETIRING (at most --graceful-timeout) ─> slot free
 *                     fresh STARTING ── ready ── RUNNING
 *                                   └── fails: the old one stays, and the next reload tries again
 *     reload(config): one replace after the other, until no thread is older than the last reload
 */
import { bootMs } from '../config/boot-time.js';
import { leaveRemovedFolder } from '../config/folders.js';
import type { Config } from '../config/settings.js';
import { TunicornError } from '../errors.js';
import type { LogShare } from '../log/process-logs.js';
import type { Logger } from '../log.js';
import { native, SCHED_BATCH, SCHED_OTHER } from '../native/binding.js';
import { ABSENT, C, type Shared, T } from '../shared/memory.js';
import type { ThreadHost } from './host.js';
import { type Notice, Overdue, ThreadHandle, type ThreadState, within } from './thread-handle.js';

export interface RosterOptions {
  host: ThreadHost;
  shared: Shared;
  config: Config;
  /** Threads to keep; the other slots are spare. Default: one in every slot. */
  wanted?: number;
  concurrency: number;
  keepAlive: boolean;
  log?: Logger;
  /** What threads are given of the worker's logs, and what becomes of it at their end. Default: they open their own. */
  logs?: { share(): LogShare; rescue(share: LogShare): void };
  /** A thread has been swapped for a fresh one. */
  onReplaced?(): void;
  /** Where the worker listens, as in its logs. Default: nobody needs to know. */
  address?: string;
  /** How many workers were started before this one. Default 0. */
  workerAge?: number;
  /** For how long a thread may take to load the app in another one's place, ms; 0 = for ever. Default: as a worker. */
  bootMs?(config: Config): number;
  onDone(notice: Notice): void;
  /** A thread died, on the way out if `retiring`; otherwise it is replaced when this returns. */
  onLost(slot: number, error: unknown, retiring: boolean): void;
  /** A thread is there no more, however it has ended and even if it never served: after onLost. Default: nobody needs to know. */
  onGone?(slot: number): void;
  /** A thread has been told to take nothing new, or has ended in peace: others have to look. */
  onLeaving(): void;
}

/** After how long a thread that could not start is tried again, ms. */
const RESTART_MS = 1000;
/** A reload asked for while a thread starts for so long does not wait for it any more: its app hangs, perhaps, ms. */
const SLOW_START_MS = 2000;
/** How long the host may take to end all threads, ms. */
const DESTROY_MS = 1000;
/** The words of a slot that has no thread. Counts that only grow stay. */
const CLEARED = [T.INFLIGHT, T.BUSY, T.STATE, T.HOLD, T.HEAVY, T.LATE, T.HEAP, T.RETIRING, T.FULL, T.UPGRADED];

export class Roster {
  config: Config;
  wanted: number;
  private readonly o: RosterOptions;
  private readonly shared: Shared;
  private readonly threads = new Map<number, ThreadHandle>();
  /** Slots whose thread has gone and left responses for which the kernel had no room. */
  private readonly leftovers = new Set<number>();
  private lastSlot = 0;
  private age = 0;
  private reloads = 0;
  private stopping = false;
  /** Replacements go one at a time. */
  private queue: Promise<unknown> = Promise.resolve();
  private queued = 0;
  private rolling: Promise<boolean> | null = null;
  /** The thread that starts in place of another one. */
  private spare: { thread: ThreadHandle; since: number } | null = null;
  private slotFreed: () => void = () => {};

  constructor(options: RosterOptions) {
    this.o = options;
    this.shared = options.shared;
    this.config = options.config;
    this.wanted = options.wanted ?? options.shared.threads;
  }

  /**
   * Starts the wanted number, with what a reload that came first has started; resolves when all have loaded the app, rejects with
   * the first one's error.
   */
  async start(): Promise<void> {
    while (this.count < this.wanted) this.launch(this.freeSlot());
    await Promise.all([...this.threads.values()].map((t) => t.ready));
  }

  /** Threads that serve, oldest first. */
  get running(): ThreadHandle[] {
    return [...this.threads.values()].filter((t) => t.state === 'RUNNING').sort((a, b) => a.o.age - b.o.age);
  }

  /** A thread is being replaced, or waits for its turn. */
  get replacing(): boolean {
    return this.queued > 0;
  }

  /** Requests that a thread has finished since its start. */
  served(thread: ThreadHandle): number {
    return (this.word(thread.slot, T.SERVED) - thread.o.servedBefore) >>> 0;
  }

  private word(slot: number, word: number): number {
    return Atomics.load(this.shared.control, this.shared.threadWord(slot, word));
  }

  /** Serving ones and those about to. */
  private get count(): number {
    let n = 0;
    for (const { state } of this.threads.values()) if (state !== 'RETIRING') n++;
    return n;
  }

  /** Nothing is started any more: the pool or the worker is about to end. */
  private get leaving(): boolean {
    return this.stopping || Atomics.load(this.shared.control, C.DRAINING) !== 0;
  }

  /** 0 if all are taken. In turns: the thread that was there last has had time to vanish. */
  private freeSlot(): number {
    for (let i = 1; i <= this.shared.threads; i++) {
      const slot = ((this.lastSlot + i - 1) % this.shared.threads) + 1;
      if (!this.threads.has(slot)) return slot;
    }
    return 0;
  }

  private launch(slot: number): ThreadHandle {
    const { host, shared, concurrency, address = '', workerAge = 0 } = this.o;
    const { config } = this;
    const keepAlive = this.o.keepAlive && config.keepalive > 0;
    leaveRemovedFolder(config.chdir);
    // A thread takes over the scheduling class of who starts it: light requests first, while the app is loaded.
    native.setPolicy(0, SCHED_BATCH);
    const thread = new ThreadHandle({
      host,
      task: {
        slot,
        shared: shared.memory,
        config,
        concurrency,
        keepAlive,
        address,
        workerAge,
        logs: this.o.logs?.share() ?? null,
      },
      age: this.age++,
      reloads: this.reloads,
      servedBefore: this.word(slot, T.SERVED),
      onDone: this.o.onDone,
      onEnded: (gone, from, error) => this.onEnded(gone, from, error),
    });
    native.setPolicy(0, SCHED_OTHER);
    this.lastSlot = slot;
    this.threads.set(slot, thread);
    return thread;
  }

  /** One that takes another one's place, and not longer than a worker that boots: its app may hang. */
  private launchSpare(slot: number): ThreadHandle {
    const fresh = this.launch(slot);
    const ms = (this.o.bootMs ?? bootMs)(this.config);
    const timer = ms > 0 ? setTimeout(() => fresh.kill(), ms).unref() : undefined;
    const over = () => clearTimeout(timer);
    fresh.ready.then(over, over);
    return fresh;
  }

  private onEnded(thread: ThreadHandle, from: ThreadState, error: unknown): void {
    const { slot } = thread;
    const { logs } = thread.o.task;
    // Before anybody tells of its end.
    if (logs !== null) this.o.logs?.rescue(logs);
    this.clear(slot);
    this.threads.delete(slot);
    if (from !== 'STARTING') {
      const retiring = from === 'RETIRING';
      if (retiring && thread.stopped) this.o.onLeaving();
      else this.o.onLost(slot, error, retiring);
      // Until here it told whose handler was on the stack.
      Atomics.store(this.shared.control, this.shared.threadWord(slot, T.CURRENT), 0);
      this.maintain();
    }
    this.o.onGone?.(slot);
    this.slotFreed();
  }

  /** A slot's words as they are without a thread. What it held back leaves, now or when the kernel has room. */
  private clear(slot: number): void {
    const { shared } = this;
    const { control } = shared;
    if (native.outboxFlush(slot) > 0) this.leftovers.add(slot);
    for (const word of CLEARED) Atomics.store(control, shared.threadWord(slot, word), ABSENT);
    Atomics.compareExchange(control, C.LEADER, slot, 0);
    const epfd = Atomics.exchange(control, shared.threadWord(slot, T.EPFD), 0);
    if (epfd > 0) native.close(epfd);
  }

  /** Sends what threads that are gone have held back; to be called now and then. */
  flushLeftovers(): void {
    for (const slot of this.leftovers) if (native.outboxFlush(slot) <= 0) this.leftovers.delete(slot);
  }

  /** Starts what is missing. One that does not come up (its app's file is being written, say) is tried again after a pause. */
  private maintain(): void {
    if (this.stopping) return;
    for (let slot = this.freeSlot(); slot > 0 && this.count < this.wanted; slot = this.freeSlot()) {
      this.launchSpare(slot).ready.then(
        () => this.trim(),
        (cause: unknown) => {
          if (this.stopping) return;
          this.o.log?.error('A thread could not start; trying again', cause);
          setTimeout(() => this.maintain(), RESTART_MS).unref();
        },
      );
    }
  }

  /**
   * Retires threads that are too many: `first` if it runs, then those with least in hand, and of these who looks for nothing just now. A
   * spare one is not too many.
   */
  private trim(first?: ThreadHandle): void {
    let surplus = this.count - this.wanted - (this.replacing && first === undefined ? 1 : 0);
    const inHand = (t: ThreadHandle) =>
      t === first
        ? -1
        : 2 * (this.word(t.slot, T.INFLIGHT) + this.word(t.slot, T.UPGRADED)) + this.word(t.slot, T.BUSY);
    const running = this.running.sort((a, b) => inHand(a) - inHand(b));
    for (const thread of running.slice(0, Math.max(0, running.length - 1))) {
      if (surplus-- <= 0) return;
      this.retire(thread);
    }
  }

  private retire(thread: ThreadHandle): void {
    const { slot } = thread;
    const ms = this.config.gracefulTimeout * 1000;
    Atomics.store(this.shared.control, this.shared.threadWord(slot, T.RETIRING), 1);
    thread.stop(ms);
    const timer = setTimeout(() => {
      this.o.log?.warning(`Thread ${slot} has not finished within ${this.config.gracefulTimeout} s; ending it`);
      thread.kill(new Overdue());
    }, ms);
    void thread.ended.then(() => clearTimeout(timer));
    this.o.onLeaving();
  }

  /**
   * Swaps the thread in `slot` for a fresh one with the present config. Resolves when the fresh one serves (the old one may
   * still finish what it has): true; false if there is no such thread (any more) or the fresh one could not start, which is
   * logged. Never rejects.
   */
  replace(slot: number, reason: string): Promise<boolean> {
    const old = this.threads.get(slot);
    this.queued++;
    const done = this.queue.then(async () => {
      const swapped = old?.state === 'RUNNING' && !this.leaving && (await this.swap(old, reason));
      this.queued--;
      this.trim();
      return swapped;
    });
    this.queue = done;
    return done;
  }

  private async swap(old: ThreadHandle, reason: string): Promise<boolean> {
    let slot = this.freeSlot();
    for (; slot === 0; slot = this.freeSlot()) {
      // Retiring threads have them all; they end.
      await new Promise<void>((resolve) => {
        this.slotFreed = resolve;
      });
      if (this.leaving) return false;
    }
    const fresh = this.launchSpare(slot);
    this.spare = { thread: fresh, since: performance.now() };
    try {
      await fresh.ready;
    } catch (error) {
      if (this.stopping) return false;
      const { message, cause } = error as TunicornError;
      this.o.log?.error(`Thread ${old.slot} cannot be replaced (${reason}), it goes on: ${message}`, cause);
      this.maintain();
      return false;
    } finally {
      this.spare = null;
    }
    if (this.leaving) return false;
    this.o.log?.info(`Thread ${old.slot} replaced by ${slot}: ${reason}`);
    this.o.onReplaced?.();
    // Unless it died meanwhile.
    this.trim(old);
    return true;
  }

  /**
   * Swaps every thread for one with this config and freshly loaded app code, one at a time; a reload asked for meanwhile starts
   * over with those already swapped. Resolves when all are swapped: true; false if a fresh one could not start (the others
   * stay as they are) or the pool ends. Never rejects.
   */
  reload(config: Config): Promise<boolean> {
    this.config = config;
    this.reloads++;
    this.o.log?.info('Reloading threads');
    this.setWanted(config.threads);
    if (this.spare !== null && performance.now() - this.spare.since > SLOW_START_MS) this.spare.thread.kill();
    this.rolling ??= this.roll().finally(() => {
      this.rolling = null;
    });
    return this.rolling;
  }

  private async roll(): Promise<boolean> {
    while (!this.leaving) {
      const goal = this.reloads;
      const old = this.running.find((t) => t.o.reloads < goal);
      const starting = [...this.threads.values()].find((t) => t.state === 'STARTING');
      if (old === undefined && starting === undefined) {
        this.o.log?.info(`Reloaded ${this.running.length} threads`);
        return true;
      }
      if (old === undefined) await starting?.ready.catch(() => {});
      else if (!(await this.replace(old.slot, 'reload')) && goal === this.reloads && old.state === 'RUNNING')
        return false;
    }
    return false;
  }

  /**
   * Changes the number of threads; resolves when they are there. Surplus ones finish what they have.
   * @throws {TunicornError} ERR_TUNICORN_THREADS if n is less than 1 or leaves no spare slot.
   */
  async resize(n: number): Promise<void> {
    if (!(n >= 1 && n < this.shared.threads)) {
      throw new TunicornError(
        'ERR_TUNICORN_THREADS',
        `${n} threads: from 1 to ${this.shared.threads - 1} are possible.`,
      );
    }
    this.setWanted(n);
    await Promise.all([...this.threads.values()].map((t) => t.ready));
  }

  private setWanted(n: number): void {
    this.wanted = Math.min(n, Math.max(1, this.shared.threads - 1));
    this.maintain();
    this.trim();
  }

  /** The worker_threads id of a slot's thread, 0 = none runs in it. */
  threadId(slot: number): number {
    return this.threads.get(slot)?.threadId ?? 0;
  }

  kill(slot: number): void {
    this.threads.get(slot)?.kill();
  }

  /** Lets the threads finish and end, for at most ms; what is left then is ended at once. */
  async stop(ms: number): Promise<void> {
    this.stopping = true;
    this.slotFreed();
    const threads = [...this.threads.values()];
    for (const thread of threads) thread.stop(ms);
    const ended = Promise.all(threads.map((thread) => thread.ended));
    await within(ended, ms);
    // What they have in hand is answered in their place.
    for (const thread of threads) if (thread.state !== 'ENDED') thread.kill(new Overdue());
    await within(ended, DESTROY_MS);
    await within(
      this.o.host.destroy().catch(() => {}),
      DESTROY_MS,
    );
    // The process may be gone before each of them has told of its end.
    for (const { o } of this.threads.values()) if (o.task.logs !== null) this.o.logs?.rescue(o.task.logs);
  }
}
