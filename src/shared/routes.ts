/**
 * What a worker knows about its routes, in memory that main and all threads share. A route is a method and a path pattern,
 * known by its number (route-tree.ts, route-pattern.ts); here is what such requests cost (route-cost.ts), whether the
 * route is fenced off, and totals. Each fact is one word, changed in one step: a thread may die at any time.
 *
 * A light request asks find, fenced, heavy and mustMeasure, some 25 ns in all with a short URL. Their words are read plainly,
 * without Atomics (9 ns each in Node 20): whole words, at worst a moment old.
 */
import { costOf, doubt, FADE_MS, isCertain, isHeavy, LIGHT_US, learn } from './route-cost.js';
import { OTHER_ROUTE, ROUTES, RouteTree, TREE_BYTES } from './route-tree.js';

export { HEAVY_US, LIGHT_US } from './route-cost.js';
export { OTHER_ROUTE };

// Words of a route that requests look at.
const COST = 0;
/** Clock of the last sample. */
const SAMPLED = 1;
/** Clock when it was fenced, 0 = it is not; and for how many ms. The first is written last, by main. */
const FENCED = 2;
const FENCE_MS = 3;
const HOT_WORDS = 4;

// Totals, 64 bits each, on cache lines apart from the hot words.
const REQUESTS = 0;
const CPU_US = 1;
const WAIT_US = 2;
const TOTALS = 3;

const HOT_AT = TREE_BYTES;
const TOTALS_AT = HOT_AT + Math.ceil((ROUTES * HOT_WORDS) / 16) * 64;

/** One of so many requests of a route known as light is measured, in each thread. A power of two. */
const MEASURE_ONE_OF = 64;
/** Clocks of two threads are less than this apart, ms. */
const CLOCK_SKEW_MS = 60_000;

export interface RouteStats {
  /** `GET /users/:id`, or `everything else`. */
  route: string;
  requests: number;
  /** CPU time and time in queues, of all requests together. */
  cpuSeconds: number;
  waitSeconds: number;
  /** What a request is expected to take of a CPU; 0 = unknown. */
  costMs: number;
  heavy: boolean;
  /** How long it is fenced still, ms; 0 = it is not. */
  fenced: number;
}

/** Bytes of the shared memory. */
export function routeBytes(): number {
  return TOTALS_AT + ROUTES * TOTALS * 8;
}

/**
 * A thread's view of the routes. The memory begins as zeros and needs no other preparation. Route OTHER_ROUTE may be
 * heavy like any other; it is never fenced, since it is many things.
 */
export class Routes {
  private readonly tree: RouteTree;
  private readonly hot: Int32Array;
  private readonly totals: BigInt64Array;
  private readonly turns = new Uint8Array(ROUTES);
  /** When requests of a route ended threads: main's instance only. */
  private readonly ends = new Map<number, number[]>();

  constructor(memory: SharedArrayBuffer) {
    this.tree = new RouteTree(memory);
    this.hot = new Int32Array(memory, HOT_AT, ROUTES * HOT_WORDS);
    this.totals = new BigInt64Array(memory, TOTALS_AT, ROUTES * TOTALS);
  }

  /** Route of a request line, as the parser has it; OTHER_ROUTE if it has none of its own. Never throws. */
  find(method: string, url: string): number {
    return this.tree.find(method, url);
  }

  /** The route as people write it; '' for a number that is no route. */
  name(route: number): string {
    return this.tree.name(route);
  }

  // --- what it costs ---

  /** A request of the route took `cpuUs` of a CPU, at `clock` (coarse ms, native.clock). */
  record(route: number, cpuUs: number, clock: number): void {
    const { hot } = this;
    const at = route * HOT_WORDS;
    const idleMs = (clock - Atomics.exchange(hot, at + SAMPLED, clock)) | 0;
    for (;;) {
      const word = Atomics.load(hot, at + COST);
      if (Atomics.compareExchange(hot, at + COST, word, learn(word, cpuUs, idleMs)) === word) return;
    }
  }

  /**
   * Whether a request that took `leastUs` or more is a sample for record(): not where the route is known as heavy and this seems light,
   * unless it is so old a story that it has to be told anew.
   */
  tells(route: number, leastUs: number, clock: number): boolean {
    if (leastUs >= LIGHT_US || !this.heavy(route)) return true;
    return ((clock - this.hot[route * HOT_WORDS + SAMPLED]) | 0) >= FADE_MS;
  }

  /** The next request is expected to take more than HEAVY_US of a CPU. */
  heavy(route: number): boolean {
    return isHeavy(this.hot[route * HOT_WORDS + COST]);
  }

  /** CPU microseconds that the next request is expected to take; 0 = unknown. */
  cost(route: number): number {
    return costOf(this.hot[route * HOT_WORDS + COST]);
  }

  /**
   * Whether the CPU time of the next request should be measured and given to record(): always, while the route is unknown,
   * uncertain, heavy, or was not measured for a minute; else for one request of 64. Asked once for each request.
   */
  mustMeasure(route: number, clock: number): boolean {
    const at = route * HOT_WORDS;
    if (!isCertain(this.hot[at + COST]) || ((clock - this.hot[at + SAMPLED]) | 0) >= FADE_MS) return true;
    // Counted by route: with one counter for all, requests that alternate between routes would always meet the same.
    return (++this.turns[route] & (MEASURE_ONE_OF - 1)) === 0;
  }

  /** A request of a light route was not measured and took long: the next ones are measured. */
  suspect(route: number): void {
    const at = route * HOT_WORDS + COST;
    const word = Atomics.load(this.hot, at);
    // If another thread is faster, it has measured.
    if (isCertain(word)) Atomics.compareExchange(this.hot, at, word, doubt(word));
  }

  // --- fences ---

  /**
   * Main only: a request of the route ended a thread. True if the route is fenced by it: this was at least the `kills`th one
   * within `windowMs` (0 kills = never). Then it is for `timeMs`; threads that end while it is begin that time anew, and say false.
   */
  ended(route: number, clock: number, kills: number, windowMs: number, timeMs: number): boolean {
    if (route === OTHER_ROUTE || kills <= 0 || timeMs <= 0) return false;
    const times = (this.ends.get(route) ?? []).filter((time) => (clock - time) >>> 0 < windowMs);
    times.push(clock);
    if (times.length > kills) times.shift();
    this.ends.set(route, times);
    if (times.length < kills) return false;
    const before = this.fenced(route, clock);
    const at = route * HOT_WORDS;
    Atomics.store(this.hot, at + FENCE_MS, timeMs);
    Atomics.store(this.hot, at + FENCED, clock || 1);
    return before === 0;
  }

  /** Milliseconds for which requests of the route are to be refused; 0 = it is not fenced. */
  fenced(route: number, clock: number): number {
    const since = this.hot[route * HOT_WORDS + FENCED];
    return since === 0 ? 0 : this.fenceLeft(route, since, clock);
  }

  private fenceLeft(route: number, since: number, clock: number): number {
    const at = route * HOT_WORDS;
    const timeMs = Atomics.load(this.hot, at + FENCE_MS);
    const age = (clock - since) | 0;
    if (age < timeMs && age > -CLOCK_SKEW_MS) return Math.min(timeMs, timeMs - age);
    // Taken down, unless main has put up another: the clock wraps, and an old one would count again.
    Atomics.compareExchange(this.hot, at + FENCED, since, 0);
    return 0;
  }

  // --- totals ---

  /** So many requests of the route were served: CPU and queue microseconds that they took, as far as known. */
  count(route: number, requests: number, cpuUs: number, waitUs: number): void {
    const at = route * TOTALS;
    Atomics.add(this.totals, at + REQUESTS, BigInt(requests));
    if (cpuUs > 0) Atomics.add(this.totals, at + CPU_US, BigInt(Math.round(cpuUs)));
    if (waitUs > 0) Atomics.add(this.totals, at + WAIT_US, BigInt(Math.round(waitUs)));
  }

  private total(route: number, which: number): number {
    return Number(Atomics.load(this.totals, route * TOTALS + which));
  }

  /** All routes that were ever found, in no order; first everything else, if anything is known of it. */
  list(clock: number): RouteStats[] {
    const found: RouteStats[] = [];
    for (let route = 0; route < ROUTES; route++) {
      const name = this.name(route);
      if (name === '') continue;
      const requests = this.total(route, REQUESTS);
      if (route === OTHER_ROUTE && requests === 0 && this.cost(route) === 0) continue;
      found.push({
        route: name,
        requests,
        cpuSeconds: this.total(route, CPU_US) / 1e6,
        waitSeconds: this.total(route, WAIT_US) / 1e6,
        costMs: this.cost(route) / 1000,
        heavy: this.heavy(route),
        fenced: this.fenced(route, clock),
      });
    }
    return found;
  }
}
