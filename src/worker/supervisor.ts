/**
 * The supervisor: while requests are in hand, looks once a millisecond at what every thread has done since the last look,
 * and decides how many threads may be active (design, idea 2a). Threads pay nothing for it but one word per request.
 *
 * A thread is *held up* when it hardly idled and its requests took more than 0.2 ms of CPU on average (one long request, or
 * many middling ones) and a third of the time, or when it is blocked in a call. Time spent waiting for a CPU does not
 * count: another thread would only wait beside it. As many threads as are held up, and one more, may be active; a parked one is woken when every active
 * one is held up. Light requests never hold a thread up: they stay on one thread, where they are fastest, until they fill it (light-load.ts).
 *
 *     STOPPED, SLOW --a thread begins to work and wakes main--> TICKING --no work for a while-+ nothing in hand--> STOPPED
 *                                                                                      + requests wait--> SLOW
 */
import { native, SCHED_BATCH, SCHED_OTHER } from '../native/binding.js';
import type { ThreadPool } from '../pool/thread-pool.js';
import { ABSENT, ACTIVE, C, type Shared, T, TAKEN } from '../shared/memory.js';
import { HEAVY_US } from '../shared/routes.js';
import type { LightLoad } from './light-load.js';

/** Mean time of a request from which another thread helps, microseconds. */
const HELD_UP_US = 200;
/** ... and the share of the time it needs for that: a light one with cold caches, beside heavy ones, may take 0.3 ms. */
const HELD_UP_SHARE = 1 / 3;
/** How long a thread counts as held up after it was seen so, looks. */
const MEMORY = 20;
/** Looks at which no thread works before the supervisor stops, or slows down where requests are in hand. */
const QUIET_TICKS = 20;
const TICK_MS = 1;
/** While nobody is held up, or a thread that is not watches, three of four looks are spared: a tick is not free beside threads that use every CPU. */
const CALM_TICK_MS = 4;
/** Without CPU time and without a new request for so long, a thread is blocked in a call and not just waiting for a CPU. */
const BLOCKED_US = 5000;
const SLOWEST_TICK_MS = 25;
/** The same while no thread can take a request: how long each has waited is to be known to 10 ms. */
const WAITING_TICK_MS = 8;
/** For how long a response may wait for others to leave with it, microseconds, and how many may leave together. */
const HOLD_US = 300;
const HOLD_MOST = 16;
/** From when on a request counts as heavy although its route was not known to be, microseconds. */
const LATE_US = 4000;
/** Work between two looks, of any thread, that makes a slow supervisor quick again, microseconds. */
const STIR_US = 1000;

/** What a look has seen of the threads that are there and stay. */
export interface Seen {
  /** None could take anything at once since the last look. */
  allBusy: boolean;
  /** No loop turned, and none has begun a request. */
  allStuck: boolean;
  /** Each is stuck, or has as many requests in hand as may be. */
  noneFree: boolean;
}

export interface SupervisorOptions {
  shared: Shared;
  pool: ThreadPool;
  /** How many threads light requests get. */
  light: Pick<LightLoad, 'threads'>;
  /** Called at each look. */
  onTick(seen: Seen): void;
  /** A request of the slot's thread is heavy, which was not known of its route. */
  onHeavy(slot: number, us: number): void;
}

export class Supervisor {
  private readonly o: SupervisorOptions;
  private readonly shared: Shared;
  private readonly begun: Int32Array;
  private readonly idle: Float64Array;
  private readonly cpu: Float64Array;
  /** For how long a thread neither waited nor began a request, microseconds. */
  private readonly still: Float64Array;
  /** The CPU time in that, microseconds: what a request costs, where a busy machine makes it wait. */
  private readonly stillCpu: Float64Array;
  /** For how long a thread's event loop has not turned, microseconds, and how often it had. */
  private readonly unturned: Float64Array;
  private readonly turns: Float64Array;
  /** Looks for which a thread still counts as held up. */
  private readonly heldUp: Int32Array;
  private timer: NodeJS.Timeout | null = null;
  private at = 0;
  private quiet = 0;
  private held = 0;
  private calm = 0;
  private period = TICK_MS;
  /** As of the last look: threads that are there and stay, and whether none of them can take anything. */
  private present = 0;
  private allBusy = false;

  constructor(options: SupervisorOptions) {
    this.o = options;
    this.shared = options.shared;
    const n = this.shared.threads + 1;
    this.begun = new Int32Array(n);
    this.idle = new Float64Array(n);
    this.cpu = new Float64Array(n);
    this.still = new Float64Array(n);
    this.stillCpu = new Float64Array(n);
    this.unturned = new Float64Array(n);
    this.turns = new Float64Array(n);
    this.heldUp = new Int32Array(n);
    Atomics.store(this.shared.control, C.WANTED, 1);
  }

  /** A thread begins to work. */
  start(): void {
    if (this.timer !== null && this.period === TICK_MS) return;
    this.quiet = this.calm = 0;
    if (this.timer === null) {
      // Where it ticks, a look over no time at all would make it forget for how long a thread has been stuck.
      this.look(0);
      this.at = performance.now();
    }
    this.setPeriod(TICK_MS);
  }

  /** For how long the event loop of a slot's thread has not turned, ms. */
  stuckMs(slot: number): number {
    return this.unturned[slot] / 1000;
  }

  /** Starts if a thread works that did not say so, in a timer for example: called now and then. */
  glance(): void {
    if (this.timer !== null) return;
    for (let slot = 1; slot <= this.shared.threads; slot++) {
      const idle = native.loopIdle(slot);
      if (idle < 0) continue;
      const before = this.idle[slot];
      this.idle[slot] = idle;
      if (idle === before) return this.start();
    }
  }

  private setPeriod(ms: number): void {
    if (this.timer !== null) clearInterval(this.timer);
    this.period = ms;
    this.timer = setInterval(() => this.tick(), ms);
  }

  stop(): void {
    if (this.timer !== null) clearInterval(this.timer);
    this.timer = null;
  }

  private tick(): void {
    const now = performance.now();
    const elapsed = (now - this.at) * 1000;
    this.at = now;
    const busy = this.look(elapsed);
    const { control } = this.shared;
    if (busy) {
      this.quiet = 0;
      this.calm = this.held > 0 && !this.watched() ? 0 : this.calm + 1;
      const period = this.calm > QUIET_TICKS ? CALM_TICK_MS : TICK_MS;
      if (this.period === period) return;
      Atomics.store(control, C.SUPERVISING, 1);
      this.setPeriod(period);
      return;
    }
    if (++this.quiet <= QUIET_TICKS) return;
    // From here on a thread that begins a turn wakes us. Work that begins otherwise (a timer's, for a request in hand,
    // or a WebSocket's) does not, so as long as there may be such we go on looking, at long intervals. So we do while
    // requests would wait with nobody to see them: every thread has its hands full, or there is none.
    Atomics.store(control, C.SUPERVISING, 0);
    const slowest = this.allBusy ? WAITING_TICK_MS : SLOWEST_TICK_MS;
    if (this.present > 0 && this.o.pool.inflight + this.o.pool.upgraded === 0) this.stop();
    else if (this.period !== slowest) this.setPeriod(Math.min(slowest, this.period * 2));
    // A thread that began a turn in between has seen the flag and not woken us.
    if (this.anyBusy() && Atomics.compareExchange(control, C.SUPERVISING, 0, 1) === 0) this.start();
  }

  /** A thread watches that was not held up at the last look: nothing has to be decided for it. */
  private watched(): boolean {
    const leader = Atomics.load(this.shared.control, C.LEADER);
    return leader !== 0 && this.heldUp[leader] < MEMORY;
  }

  private anyBusy(): boolean {
    for (let slot = 1; slot <= this.shared.threads; slot++) {
      if (Atomics.load(this.shared.control, this.shared.threadWord(slot, T.BUSY)) !== 0) return true;
    }
    return false;
  }

  /** Looks at every thread; returns whether any worked since the last look. */
  private look(elapsedUs: number): boolean {
    const { shared } = this;
    const { control, threads } = shared;
    let active = 0;
    let held = 0;
    let heldActive = 0;
    let stuck = 0;
    let unfree = 0;
    let busy = 0;
    let heavy = 0;
    let present = 0;
    let lightUs = 0;
    let lightRequests = 0;
    let any = false;
    const { pool } = this.o;
    for (let slot = 1; slot <= threads; slot++) {
      const begun = control[shared.threadWord(slot, T.BEGUN)];
      const requests = (begun - this.begun[slot]) | 0;
      this.begun[slot] = begun;
      const state = control[shared.threadWord(slot, T.STATE)];
      const isAbsent = state === ABSENT;
      const idle = isAbsent ? -1 : native.loopIdle(slot);
      if (idle < 0) {
        // A spare slot, or one whose thread has died and is not replaced yet: no work, and no room for any.
        this.idle[slot] = this.cpu[slot] = this.still[slot] = this.stillCpu[slot] = 0;
        this.unturned[slot] = this.heldUp[slot] = 0;
        pool.stuck[slot] = true;
        // Main has not heard of its end yet: others go on meanwhile.
        if (!isAbsent) {
          held++;
          Atomics.compareExchange(control, C.LEADER, slot, 0);
        }
        continue;
      }
      const stays = control[shared.threadWord(slot, T.RETIRING)] === 0;
      if (stays) present++;
      const idled = idle - this.idle[slot];
      this.idle[slot] = idle;
      const busyUs = elapsedUs - idled;
      const isBusy = elapsedUs > 0 && busyUs > elapsedUs / 2;
      if (requests > 0 || isBusy || busyUs > STIR_US) any = true;
      const cpu = native.loopCpu(slot);
      const cpuUs = elapsedUs > 0 ? cpu - this.cpu[slot] : 0;
      this.cpu[slot] = cpu;
      const goesOn = isBusy && requests === 0;
      this.still[slot] = goesOn ? this.still[slot] + elapsedUs : 0;
      const before = this.stillCpu[slot];
      this.stillCpu[slot] = goesOn ? before + cpuUs : 0;
      if (before <= HEAVY_US && this.stillCpu[slot] > HEAVY_US) this.o.onHeavy(slot, this.stillCpu[slot]);
      const works = isBusy && cpuUs > Math.max(HELD_UP_US * Math.max(1, requests), HELD_UP_SHARE * elapsedUs);
      if (works || this.still[slot] > BLOCKED_US) this.heldUp[slot] = MEMORY;
      else if (this.heldUp[slot] > 0) this.heldUp[slot]--;
      if (this.heldUp[slot] === 0) {
        lightUs += cpuUs;
        lightRequests += requests;
      }
      const turns = native.loopTurns(slot);
      this.unturned[slot] = isBusy && turns === this.turns[slot] ? this.unturned[slot] + elapsedUs : 0;
      this.turns[slot] = turns;
      if ((isBusy || state === TAKEN) && stays) busy++;
      heavy += this.late(slot);
      pool.stuck[slot] = isBusy && requests === 0;
      if (stays && (pool.stuck[slot] || state === TAKEN)) unfree++;
      if (pool.stuck[slot]) {
        if (stays) stuck++;
        // A request longer than those before it: what it keeps waiting leaves now.
        native.outboxFlush(slot);
      }
      const hold = isBusy && requests > 0 ? Math.min(HOLD_MOST, Math.floor((HOLD_US * requests) / busyUs)) : 0;
      control[shared.threadWord(slot, T.HOLD)] = hold;
      if (this.heldUp[slot] > 0) held++;
      if (state === ACTIVE) {
        active++;
        if (this.heldUp[slot] > 0) heldActive++;
      }
    }
    this.held = held;
    const lights = this.o.light.threads(elapsedUs, lightUs, lightRequests);
    Atomics.store(control, C.WANTED, Math.min(threads, held + lights));
    // Nobody watches, or too few of those who could are not held up: one more thread comes and looks.
    if (active < threads && (active - heldActive < lights || Atomics.load(control, C.LEADER) === 0)) pool.wakeParked();
    // Requests wait although there is a thread for them: who became free did not see them.
    if (control[C.QUEUED] > 0 && !pool.wakeParked(heavy >= control[C.LANES]) && heavy < control[C.LANES])
      pool.wakeLeader();
    this.allBusy = busy === present;
    this.present = present;
    this.o.onTick({ allBusy: this.allBusy, allStuck: stuck === present, noneFree: unfree === present });
    return any;
  }

  /** Counts and marks a thread whose request has turned out heavy; returns 1 if it is in a lane. */
  private late(slot: number): number {
    const { shared } = this;
    const { control } = shared;
    const heavy = control[shared.threadWord(slot, T.HEAVY)];
    const word = shared.threadWord(slot, T.LATE);
    // One that streams has begun no request for long, but turns its loop; one with many short requests does not turn it for long.
    const sits = this.still[slot] > LATE_US && this.unturned[slot] > LATE_US;
    const late = heavy === 0 && sits && control[shared.threadWord(slot, T.INFLIGHT)] > 0 ? 1 : 0;
    if (late !== control[word]) {
      Atomics.store(control, word, late);
      // For the scheduler: light threads first. Where it is not allowed nothing is lost but that.
      native.setPolicy(control[shared.threadWord(slot, T.TID)], late === 1 ? SCHED_BATCH : SCHED_OTHER);
    }
    return heavy + late > 0 ? 1 : 0;
  }
}
