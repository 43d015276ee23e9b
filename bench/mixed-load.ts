/**
 * The load of the mixed scenarios, a process of its own: streams of requests, each with its own clients, either open
 * (due at fixed times, whatever the server does) or closed (the next when the last was answered). Warm-up and the timed
 * window follow each other without a pause. Latencies are those of requests due in the window, counted from when they
 * were due; the rate counts answers that came in the window. After the window all that was due is awaited, a while.
 *
 * It is told its plan over IPC, tells when the window begins and when it ends, then the result. Timers are node's, good to
 * 1 ms; how late they were is part of the result.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Latencies, percentile } from './latencies.js';
import { Client, type Outcomes } from './mixed-client.js';

/** When requests are due. */
export interface Arrivals {
  perSecond: number;
  /** So many at the same instant; 1 when left out. */
  together?: number;
  /** Each at a random instant of its own slot, so that two streams do not march in step. */
  jitter?: boolean;
}

export interface Stream {
  path: string;
  /** The body of a right answer. */
  expected: string;
  connections: number;
  arrivals: Arrivals | 'closed';
}

export interface Plan {
  port: number;
  /** Seconds. */
  warmup: number;
  seconds: number;
  streams: Record<string, Stream>;
}

export interface StreamResult {
  /** Right answers in the window, per second. */
  rate: number;
  /** Infinity where so many requests failed (they rank as the slowest); NaN without a request. */
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
  /** Latencies behind the percentiles. */
  requests: number;
  /** Failed requests by reason, warm-up and the time after the window included. */
  errors: Record<string, number>;
}

export interface PlanResult {
  streams: Record<string, StreamResult>;
  /** CPU seconds of this process per second of the window. */
  cpu: number;
  /** How late this process itself was: timers against due times. */
  lateP99Ms: number;
}

export type LoadMessage = { type: 'edge' } | { type: 'result'; result: PlanResult };

/** How long after the window what is still due may be answered. */
const DRAIN_MS = 10_000;

/** Due times in ms from the start, of all requests of `seconds`. The same every time, jitter included. */
export function dueTimes({ perSecond, together = 1, jitter = false }: Arrivals, seconds: number): Float64Array {
  const slotMs = (together * 1000) / perSecond;
  const times = new Float64Array(Math.floor((seconds * 1000) / slotMs) * together);
  // The constants of Numerical Recipes' generator: any would do, but the same for each server.
  let random = 1;
  for (let i = 0; i < times.length; i++) {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
    times[i] = (Math.floor(i / together) + (jitter ? random / 2 ** 32 : 0)) * slotMs;
  }
  return times;
}

/** The timed part, by performance.now(); set once everything is connected. */
interface Window {
  from: number;
  to: number;
}

/** Counts what one stream's clients tell. */
class Tally implements Outcomes {
  private readonly latencies: Latencies;
  private readonly errors: Record<string, number> = {};
  private readonly window: Window;
  private inWindow = 0;

  constructor(expected: number, window: Window) {
    this.latencies = new Latencies(expected);
    this.window = window;
  }

  answered(due: number, now: number): void {
    const { from, to } = this.window;
    if (now >= from && now < to) this.inWindow++;
    if (due >= from && due < to) this.latencies.add(now - due);
  }

  failed(_due: number, reason: string): void {
    this.errors[reason] = (this.errors[reason] ?? 0) + 1;
  }

  result(): StreamResult {
    const sorted = this.latencies.sorted();
    const failed = Object.values(this.errors).reduce((sum, count) => sum + count, 0);
    return {
      rate: (this.inWindow * 1000) / (this.window.to - this.window.from),
      p50Ms: percentile(sorted, 0.5, failed),
      p99Ms: percentile(sorted, 0.99, failed),
      maxMs: percentile(sorted, 1, failed),
      requests: sorted.length,
      errors: this.errors,
    };
  }
}

/** Offers requests to the clients in turn, each at its time. Resolves when the last has been offered. */
function runOpen(clients: Client[], times: Float64Array, start: number, late: Latencies): Promise<void> {
  return new Promise((resolve) => {
    let i = 0;
    const turn = () => {
      const now = performance.now();
      for (; i < times.length && start + times[i] <= now; i++) {
        late.add(now - start - times[i]);
        clients[i % clients.length].offer(start + times[i]);
      }
      if (i === times.length) resolve();
      else setTimeout(turn, Math.ceil(start + times[i] - now));
    };
    turn();
  });
}

/** A client that asks again as soon as it was answered, until the window's end; after a failure, which may have cost nothing, later. */
function closedClient(port: number, { path, expected }: Stream, tally: Tally, window: Window): Client {
  const ask = () => {
    const now = performance.now();
    if (now < window.to) client.offer(now);
  };
  const client = new Client(port, path, expected, {
    answered: (due, now) => {
      tally.answered(due, now);
      ask();
    },
    failed: (due, reason) => {
      tally.failed(due, reason);
      setTimeout(ask, 10);
    },
  });
  return client;
}

/** Runs the plan; `onEdge` is called at both ends of the window. Rejects when a connection cannot be made at the start. */
export async function runPlan(plan: Plan, onEdge: () => void): Promise<PlanResult> {
  const { port, warmup, seconds } = plan;
  const window: Window = { from: Number.POSITIVE_INFINITY, to: Number.POSITIVE_INFINITY };
  const streams = Object.entries(plan.streams).map(([name, stream]) => {
    const { path, expected, connections, arrivals } = stream;
    const times = arrivals === 'closed' ? undefined : dueTimes(arrivals, warmup + seconds);
    const tally = new Tally(times?.length ?? 0, window);
    const clients = Array.from({ length: connections }, () =>
      times ? new Client(port, path, expected, tally) : closedClient(port, stream, tally, window),
    );
    return { name, tally, clients, times };
  });
  const clients = streams.flatMap((stream) => stream.clients);
  await Promise.all(clients.map((client) => client.open()));
  const start = performance.now();
  window.from = start + warmup * 1000;
  window.to = window.from + seconds * 1000;

  const late = new Latencies(10_000);
  const running = streams.map(({ clients: own, times }) => {
    if (times) return runOpen(own, times, start, late);
    for (const client of own) client.offer(start);
    return undefined;
  });
  await sleep(window.from - performance.now());
  const cpuBefore = process.cpuUsage();
  onEdge();
  await sleep(window.to - performance.now());
  const { user, system } = process.cpuUsage(cpuBefore);
  onEdge();
  await Promise.all(running);
  for (const limit = window.to + DRAIN_MS; performance.now() < limit && clients.some(({ idle }) => !idle); )
    await sleep(20);
  for (const client of clients) client.end();
  return {
    streams: Object.fromEntries(streams.map(({ name, tally }) => [name, tally.result()])),
    cpu: (user + system) / 1e6 / seconds,
    lateP99Ms: percentile(late.sorted(), 0.99),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const tell = (message: LoadMessage, then = () => {}) => process.send!(message, then);
  process.once('disconnect', () => process.exit(1));
  process.once('message', async (plan: Plan) => {
    const result = await runPlan(plan, () => tell({ type: 'edge' }));
    tell({ type: 'result', result }, () => process.exit(0));
  });
}
