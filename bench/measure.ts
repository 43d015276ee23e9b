/**
 * One run (a server, a scenario, a round) and the summary of several. A run: start, assert, warm up, let it settle, read
 * CPU time, load (and assert meanwhile), read CPU time and memory, assert again, stop. Whatever goes wrong makes it a failed run, which has a reason and
 * no figures. The summary takes the median of each figure over the good runs and says how many were refused.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { LoadTool } from './load.js';
import { usageOf } from './proc.js';
import { assertResponse, type Scenario } from './scenarios.js';
import { makeTemp, removeTemp, withServer } from './server-process.js';
import type { Launch, Server } from './servers.js';

export interface Settings extends Omit<Launch, 'port' | 'scenario' | 'temp'> {
  connections: number;
  duration: number;
  warmup: number;
  /** Environment of every server. */
  env: Record<string, string>;
}

export interface Figures {
  /** Requests per second. */
  rate: number;
  p50Ms: number;
  p99Ms: number;
  cpuSecondsPerRequest: number;
  peakRssBytes: number;
  /** CPU seconds of the load tool per second. */
  toolCpu: number;
}

export interface Run {
  server: string;
  scenario: string;
  round: number;
  requests?: number;
  processes?: number;
  figures?: Figures;
  /** Why the run was refused. */
  failed?: string;
  notes: string[];
}

export interface Summary {
  server: string;
  title: string;
  scenario: string;
  good: number;
  failed: number;
  reasons: string[];
  notes: string[];
  /** Medians; undefined when no run was good. */
  median?: Figures;
  /** (largest - smallest) / median of the rate. */
  spread?: number;
  /** Median over the rounds of the rate over the base's in the same scenario and round. */
  ratio?: number;
  /** The same against every other server, by name. */
  against: Record<string, number>;
}

export async function measure(
  server: Server,
  scenario: Scenario,
  round: number,
  tool: LoadTool,
  settings: Settings,
): Promise<Run> {
  const run: Run = { server: server.name, scenario: scenario.name, round, notes: [] };
  const temp = makeTemp();
  const note = (text: string) => run.notes.push(text);
  try {
    await withServer(server, scenario, settings, settings.env, note, async ({ pid, port, assertRunning }) => {
      await assertResponse(scenario, port);
      await tool.run(scenario, port, settings.connections, settings.warmup * (scenario.warmup ?? 1), temp);
      await settle(pid);
      const before = usageOf(pid);
      const probes = probe(scenario, port, settings.duration);
      const load = await tool.run(scenario, port, settings.connections, settings.duration, temp);
      const after = usageOf(pid);
      const wrong = await probes;
      if (wrong) throw new Error(`under load: ${wrong.message}`);
      assertRunning();
      await assertResponse(scenario, port);
      if (after.processes !== before.processes) note(`${before.processes} processes before, ${after.processes} after`);
      run.requests = load.requests;
      run.processes = after.processes;
      run.figures = {
        rate: load.rate,
        p50Ms: load.p50Ms,
        p99Ms: load.p99Ms,
        cpuSecondsPerRequest: (after.cpuSeconds - before.cpuSeconds) / load.requests,
        peakRssBytes: after.peakRssBytes,
        toolCpu: load.toolCpu,
      };
    });
  } catch (error) {
    run.failed = (error as Error).message;
    delete run.figures;
  } finally {
    removeTemp(temp);
  }
  return run;
}

/**
 * Waits until the server has finished what the warm-up left in flight: 64 requests of 5 ms are a third of a second of
 * work that the timed run would otherwise wait for and pay for.
 */
async function settle(pid: number): Promise<void> {
  let last = usageOf(pid).cpuSeconds;
  for (let tries = 0; tries < 50; tries++) {
    await sleep(100);
    const now = usageOf(pid).cpuSeconds;
    if (now - last <= 0.01) return;
    last = now;
  }
}

/**
 * Asserts a response every second while the load runs, beside the tool, which sees no wrong body and (wrk) no wrong
 * status below 400. Resolves to the first error rather than rejecting, as it is awaited late.
 */
async function probe(scenario: Scenario, port: number, seconds: number): Promise<Error | undefined> {
  const end = Date.now() + seconds * 1000;
  for (let wait = 500; Date.now() + wait < end; wait = 1000) {
    await sleep(wait);
    try {
      await assertResponse(scenario, port);
    } catch (error) {
      return error as Error;
    }
  }
  return undefined;
}

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Fisher and Yates; the order of a round must not favour anybody. */
export function shuffled<T>(items: readonly T[]): T[] {
  const result = [...items];
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [result[i], result[j]] = [result[j], result[i]];
  }
  return result;
}

/** Summaries of one scenario in the order of `servers`, with ratios to `base`. */
export function summarise(runs: Run[], servers: readonly Server[], scenario: Scenario, base: string): Summary[] {
  const summaries: Summary[] = [];
  for (const { name, title } of servers) {
    const own = runs.filter((run) => run.server === name && run.scenario === scenario.name);
    if (own.length === 0) continue;
    const good = own.flatMap((run) => run.figures ?? []);
    const of = (key: keyof Figures) => median(good.map((figures) => figures[key]));
    const summary: Summary = {
      server: name,
      title,
      scenario: scenario.name,
      good: good.length,
      failed: own.length - good.length,
      reasons: [...new Set(own.flatMap((run) => run.failed ?? []))],
      notes: [...new Set(own.flatMap((run) => run.notes))],
      against: {},
    };
    if (good.length > 0) {
      summary.median = {
        rate: of('rate'),
        p50Ms: of('p50Ms'),
        p99Ms: of('p99Ms'),
        cpuSecondsPerRequest: of('cpuSecondsPerRequest'),
        peakRssBytes: of('peakRssBytes'),
        toolCpu: of('toolCpu'),
      };
      const rates = good.map(({ rate }) => rate);
      summary.spread = (Math.max(...rates) - Math.min(...rates)) / summary.median.rate;
    }
    summaries.push(summary);
  }
  for (const summary of summaries) {
    for (const { server } of summaries) {
      const ratio = pairedRatio(runs, scenario.name, summary.server, server);
      if (ratio !== undefined && server !== summary.server) summary.against[server] = ratio;
      if (ratio !== undefined && server === base) summary.ratio = ratio;
    }
  }
  return summaries;
}

/**
 * How much faster one server was than another: the median of the ratios within each round, not the ratio of medians.
 * A machine that is slow for a minute is slow for a whole round.
 */
function pairedRatio(runs: Run[], scenario: string, server: string, base: string): number | undefined {
  const rate = (name: string, round: number) =>
    runs.find((run) => run.scenario === scenario && run.server === name && run.round === round)?.figures?.rate;
  const ratios: number[] = [];
  for (const { round } of runs.filter((run) => run.scenario === scenario && run.server === server)) {
    const [ours, theirs] = [rate(server, round), rate(base, round)];
    if (ours !== undefined && theirs !== undefined) ratios.push(ours / theirs);
  }
  return ratios.length > 0 ? median(ratios) : undefined;
}
