/**
 * One run of the mixed scenario (a part, a server, a round), as measure.ts does it: fresh server, assert, load, assert, stop.
 * The generator (mixed-load.ts) competes with the server for the cores, as a client on another machine would not; where
 * the system allows it, it runs at real-time priority, so that what is measured is not its own waiting for a core.
 */
import { spawn, spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { HELLO } from './apps/work.js';
import type { Settings } from './measure.js';
import type { LoadMessage, Plan, PlanResult, Stream } from './mixed-load.js';
import { busySecondsOfMachine, usageOf } from './proc.js';
import { assertResponse, bodyOf, type Scenario } from './scenarios.js';
import { track, withServer } from './server-process.js';
import { CORES, type Server, which } from './servers.js';

export const MIXED_PARTS = ['mixed', 'mixed-closed'] as const;
export type MixedPart = (typeof MIXED_PARTS)[number];

/** tunicorn's threads here when --threads is not given: more than cores, so that one is left for the light requests. */
export const TUNICORN_THREADS = 4;

/** One run. Milliseconds count from when a request was due; Infinity (null in the file): so many requests failed. */
export interface MixedFigures {
  /** Right answers per second. */
  lightRate: number;
  lightP50Ms: number;
  lightP99Ms: number;
  lightMaxMs: number;
  lightErrors: number;
  heavyRate: number;
  /** NaN (null in the file) where no server was asked. */
  heavyP50Ms: number;
  heavyP99Ms: number;
  heavyErrors: number;
  /** Of all the server's processes, in the timed window. */
  cpuSeconds: number;
  peakRssBytes: number;
  /** The generator's own CPU seconds per second, and how late its timers were. */
  generatorCpu: number;
  generatorLateP99Ms: number;
  /** Share of the machine's CPU time (0 to 1) that went to anything else: the figures are as doubtful as this is large. */
  othersShare: number;
}

export interface MixedRun {
  server: string;
  part: MixedPart;
  round: number;
  figures?: MixedFigures;
  /** Failed requests: 'heavy: status 503' -> how many. The run counts, but the bench ends with status 1. */
  errors: Record<string, number>;
  /** Why there are no figures. */
  failed?: string;
  notes: string[];
}

const LIGHT: Scenario = { name: 'mixed', title: 'light', method: 'GET', path: '/', expected: HELLO };

/** The streams of a part; without `digest`, what heavy requests are answered with, only the light one. */
function streamsOf(part: MixedPart, digest: string | undefined): Record<string, Stream> {
  const light: Stream = {
    path: LIGHT.path,
    expected: HELLO,
    connections: 32,
    arrivals: { perSecond: 320, jitter: true },
  };
  if (digest === undefined) return { light };
  const common = { path: '/heavy', expected: digest };
  const heavy: Stream =
    part === 'mixed'
      ? { ...common, connections: 4, arrivals: { perSecond: 16, together: 4 } }
      : { ...common, connections: 16, arrivals: 'closed' };
  return { light, heavy };
}

/** The command that a generator is started with, and what that is called in the report. */
export interface Priority {
  name: string;
  prefix: string[];
}

/** Real-time priority, where chrt is installed and may give it. */
export function findPriority(): Priority {
  const chrt = which('chrt');
  const prefix = ['-f', '1'];
  if (chrt && spawnSync(chrt, [...prefix, 'true'], { timeout: 10_000 }).status === 0) {
    return { name: 'real-time', prefix: [chrt, ...prefix] };
  }
  return { name: 'ordinary', prefix: [] };
}

/** Runs a generator to its end, or kills it a good while after that was due. `onEdge` is called at both ends of the window. */
function generate(plan: Plan, { prefix }: Priority, onEdge: () => void): Promise<PlanResult> {
  const script = fileURLToPath(new URL('./mixed-load.js', import.meta.url));
  const [file, ...args] = [...prefix, process.execPath, script];
  const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'], serialization: 'advanced' });
  track(child);
  let stderr = '';
  child.stderr!.on('data', (data: Buffer) => (stderr += data));
  const limit = setTimeout(() => child.kill('SIGKILL'), (plan.warmup + plan.seconds + 30) * 1000);
  return new Promise<PlanResult>((resolve, reject) => {
    let result: PlanResult | undefined;
    child.once('error', reject);
    child.on('message', (message: LoadMessage) => {
      if (message.type === 'result') result = message.result;
      else onEdge();
    });
    child.once('close', (code, signal) => {
      if (result) resolve(result);
      else reject(new Error(`the load generator ended with ${signal ?? code}: ${stderr.trim()}`));
    });
    child.send(plan);
  }).finally(() => clearTimeout(limit));
}

/** What apps/cores.ts has done so far. */
async function workDone(port: number): Promise<{ done: number; at: number }> {
  return JSON.parse(await bodyOf({ ...LIGHT, path: '/done' }, port));
}

/** Measures once. `digest` is the body of a right heavy answer; `settings.warmup` and `duration` are seconds. Never rejects. */
export async function measureMixed(
  server: Server,
  part: MixedPart,
  round: number,
  digest: string,
  priority: Priority,
  settings: Settings,
): Promise<MixedRun> {
  const run: MixedRun = { server: server.name, part, round, errors: {}, notes: [] };
  const note = (text: string) => run.notes.push(text);
  const reference = server === CORES;
  const tunicorn = server.name === 'tunicorn';
  const own: Settings = tunicorn && !settings.threadsGiven ? { ...settings, threads: TUNICORN_THREADS } : settings;
  const launch = { ...own, threadsGiven: true };
  try {
    await withServer(server, LIGHT, launch, settings.env, note, async ({ pid, port, assertRunning }) => {
      const heavy: Scenario = { ...LIGHT, path: '/heavy', expected: digest };
      const check = async () => {
        assertRunning();
        await assertResponse(LIGHT, port);
        if (!reference) await assertResponse(heavy, port);
      };
      await check();
      const streams = streamsOf(part, reference ? undefined : digest);
      const plan: Plan = { port, warmup: settings.warmup, seconds: settings.duration, streams };
      const look = async () => ({
        busy: busySecondsOfMachine(),
        usage: usageOf(pid),
        work: reference ? await workDone(port) : undefined,
      });
      const looks: Array<ReturnType<typeof look>> = [];
      const onEdge = () => {
        const one = look();
        // It is awaited late.
        one.catch(() => {});
        looks.push(one);
      };
      const result = await generate(plan, priority, onEdge);
      const [before, after] = await Promise.all(looks);
      await check();
      const cpuSeconds = after.usage.cpuSeconds - before.usage.cpuSeconds;
      const others = (after.busy - before.busy - cpuSeconds) / settings.duration - result.cpu;
      run.figures = {
        ...streamFigures(result),
        cpuSeconds,
        peakRssBytes: after.usage.peakRssBytes,
        generatorCpu: result.cpu,
        generatorLateP99Ms: result.lateP99Ms,
        // Ticks are counted at different instants: a little below 0 is nothing.
        othersShare: Math.max(0, others / availableParallelism()),
      };
      if (before.work && after.work) {
        run.figures.heavyRate = ((after.work.done - before.work.done) * 1000) / (after.work.at - before.work.at);
      }
      for (const [name, { errors }] of Object.entries(result.streams)) {
        for (const [reason, count] of Object.entries(errors)) run.errors[`${name}: ${reason}`] = count;
      }
    });
  } catch (error) {
    run.failed = (error as Error).message;
    delete run.figures;
  }
  return run;
}

/** The part of the figures that the generator knows. */
function streamFigures({ streams: { light, heavy } }: PlanResult) {
  const failures = (errors: Record<string, number> = {}) => Object.values(errors).reduce((sum, n) => sum + n, 0);
  return {
    lightRate: light.rate,
    lightP50Ms: light.p50Ms,
    lightP99Ms: light.p99Ms,
    lightMaxMs: light.maxMs,
    lightErrors: failures(light.errors),
    heavyRate: heavy?.rate ?? Number.NaN,
    heavyP50Ms: heavy?.p50Ms ?? Number.NaN,
    heavyP99Ms: heavy?.p99Ms ?? Number.NaN,
    heavyErrors: failures(heavy?.errors),
  };
}
