/**
 * `npm run bench`: the speed of tunicorn against the servers people would use instead, on this machine.
 *
 * scenarios x servers x rounds; within a round all servers of a scenario run once, in shuffled order, each a fresh
 * process, so that what disturbs the machine for a while disturbs all of them. Medians over the rounds, ratios within a round to
 * node:http. The table goes to the screen, every single run to a JSON file. Exit status 1 when a run was refused.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError, Option } from 'commander';
import { burn } from './apps/work.js';
import { DISPATCH_HOSTS, type DispatchOutcome } from './dispatch.js';
import { findLoadTool } from './load.js';
import { calibrateCpu, defaultThreads, describeMachine } from './machine.js';
import { measure, type Run, type Settings, type Summary, shuffled, summarise } from './measure.js';
import { runMixed } from './mixed.js';
import { type DispatchRun, dispatchText, machineText, scenarioText } from './report.js';
import { FRAMEWORKS, loadScenarios, SCENARIO_NAMES, type Scenario, type ScenarioName } from './scenarios.js';
import { cleanUp } from './server-process.js';
import { allServers, BASE, ROOT, type Server } from './servers.js';

const CPU_MS = 5;

/** What is measured without --scenario: the mixed one takes as long as all these. */
const DEFAULT_SCENARIOS = SCENARIO_NAMES.filter((name) => name !== 'mixed');
/** Seconds. A p99 needs more requests than a rate. */
const DURATION = { duration: 2, warmup: 1 };
const MIXED_DURATION = { duration: 10, warmup: 2 };

interface Options {
  workerClass: string;
  threads?: number;
  workers: number;
  scenario: ScenarioName[];
  server?: string[];
  duration?: number;
  warmup?: number;
  rounds: number;
  connections: number;
  load: 'wrk' | 'autocannon' | 'auto';
  json?: string;
  quick?: boolean;
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('a whole number from 1 on is needed');
  return value;
}

function listOf<T extends string>(known: readonly T[]): (text: string) => T[] {
  return (text) => {
    const names = text.split(',').map((name) => name.trim());
    const unknown = names.find((name) => !(known as readonly string[]).includes(name));
    if (unknown !== undefined) throw new InvalidArgumentError(`${unknown} is none of ${known.join(', ')}`);
    return names as T[];
  };
}

/** Names of scenarios; `frameworks` stands for those of all frameworks. */
function scenarioList(text: string): ScenarioName[] {
  return listOf(SCENARIO_NAMES)(text.replace(/\bframeworks\b/g, FRAMEWORKS.join()));
}

function parse(): Options {
  const servers = allServers('').map(({ name }) => name);
  const program = new Command('npm run bench --')
    .option('-k, --worker-class <class>', "tunicorn's worker class", 'gthread')
    .option(
      '--threads <n>',
      "tunicorn's threads and piscina's (default: tunicorn's default; mixed: 4 and as many as cores)",
      positive,
    )
    .option('-w, --workers <n>', "tunicorn's workers", positive, 1)
    .addOption(
      new Option('--scenario <names>', `which of ${SCENARIO_NAMES.join(', ')}; frameworks: ${FRAMEWORKS.join(', ')}`)
        .argParser(scenarioList)
        .default(DEFAULT_SCENARIOS, 'all but mixed'),
    )
    .option('--server <names>', `only these of ${servers.join(', ')}`, listOf(servers))
    .option('--duration <seconds>', 'length of one timed run (default: 2; mixed: 10)', positive)
    .option('--warmup <seconds>', 'load before it (default: 1, frameworks 4 times that; mixed: 2)', positive)
    .option('--rounds <n>', 'runs of each, of which the median counts', positive, 5)
    .option('-c, --connections <n>', 'connections of the load tool (mixed has its own)', positive, 64)
    .addOption(new Option('--load <tool>', 'load tool').choices(['wrk', 'autocannon', 'auto']).default('auto'))
    .option('--json <file>', 'where the results go (default: bench/results/<time>.json)')
    .option('--quick', 'one round of one second: shows that it works, measures nothing');
  const options = program.parse().opts<Options>();
  return options.quick ? { ...options, duration: 1, warmup: 1, rounds: 1 } : options;
}

function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

/** All rounds of one scenario. */
async function runScenario(
  scenario: Scenario,
  servers: Server[],
  rounds: number,
  one: (server: Server, round: number) => Promise<Run>,
): Promise<Run[]> {
  const runs: Run[] = [];
  for (let round = 1; round <= rounds; round++) {
    for (const server of shuffled(servers)) {
      progress(`${scenario.title}, round ${round} of ${rounds}: ${server.title}`);
      runs.push(await one(server, round));
    }
  }
  progress('');
  return runs;
}

/** The micro-benches of dispatch: each host and round in a process of its own. */
function runDispatch(threads: number, rounds: number, seconds: number): DispatchRun[] {
  const script = fileURLToPath(new URL('./dispatch.js', import.meta.url));
  const runs: DispatchRun[] = [];
  for (let round = 1; round <= rounds; round++) {
    for (const host of shuffled(DISPATCH_HOSTS)) {
      progress(`dispatch, round ${round} of ${rounds}: ${host}`);
      const child = spawnSync(process.execPath, [script, host, String(threads), String(seconds)], {
        encoding: 'utf8',
        timeout: (seconds * 2 + 20) * 1000,
      });
      const outcome: DispatchOutcome =
        child.status === 0
          ? (JSON.parse(child.stdout) as DispatchOutcome)
          : { missing: `failed: ${child.error?.message ?? child.stderr.trim()}`, failed: true };
      runs.push({ host, round, outcome });
    }
  }
  progress('');
  return runs;
}

async function main(): Promise<number> {
  const options = parse();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      cleanUp();
      process.exit(1);
    });
  }
  process.once('exit', cleanUp);

  const tool = findLoadTool(options.load);
  const iterations = Number(process.env.BENCH_CPU_ITERATIONS) || (await calibrateCpu(CPU_MS));
  const known = allServers(options.workerClass).filter(({ name }) => options.server?.includes(name) ?? true);
  const present = known.filter(({ missing }) => !missing);
  const threads = options.threads ?? defaultThreads();
  const settings: Settings = {
    threads,
    threadsGiven: options.threads !== undefined,
    workers: options.workers,
    workerClass: options.workerClass,
    connections: options.connections,
    duration: options.duration ?? DURATION.duration,
    warmup: options.warmup ?? DURATION.warmup,
    // The variables that would change a server behind the command line's back are emptied.
    env: { BENCH_CPU_ITERATIONS: String(iterations), NODE_ENV: 'production', GUNICORN_CMD_ARGS: '' },
  };
  const machine = describeMachine(tool, present);
  const { rounds } = options;
  const { connections, duration } = settings;
  const how = `${connections} connections, ${rounds} x ${duration} s, ${threads} threads, CPU task ${iterations} iterations`;
  console.log(machineText(machine, how));
  for (const { title, missing } of known) if (missing) console.log(`skipped: ${title}: ${missing}`);
  const ratios = options.scenario.some((name) => name !== 'mixed' && name !== 'dispatch');
  if (ratios && !present.some(({ name }) => name === BASE)) console.log(`no ratios: ${BASE} is not among the servers`);

  const runs: Run[] = [];
  const summaries: Summary[] = [];
  for (const scenario of loadScenarios(burn(iterations))) {
    if (!(options.scenario as string[]).includes(scenario.name)) continue;
    const servers = present.filter((server) => (server.scenarios as readonly string[]).includes(scenario.name));
    runs.push(
      ...(await runScenario(scenario, servers, rounds, (s, round) => measure(s, scenario, round, tool, settings))),
    );
    const own = summarise(runs, servers, scenario, BASE);
    summaries.push(...own);
    console.log(`\n${scenarioText(scenario, own)}`);
  }
  let dispatch: DispatchRun[] = [];
  if (options.scenario.includes('dispatch')) {
    dispatch = runDispatch(threads, rounds, Math.min(duration, 2));
    console.log(`\n${dispatchText(dispatch, DISPATCH_HOSTS, threads)}`);
  }

  const mixedSettings = {
    ...settings,
    duration: options.duration ?? MIXED_DURATION.duration,
    warmup: options.warmup ?? MIXED_DURATION.warmup,
  };
  const mixed = options.scenario.includes('mixed')
    ? await runMixed(present, rounds, iterations, mixedSettings, progress)
    : undefined;

  const name = `${machine.date.replace(/[:.]/g, '-')}.json`;
  const file = options.json ? resolve(options.json) : join(ROOT, 'bench/results', name);
  mkdirSync(dirname(file), { recursive: true });
  const { env: _env, ...shown } = settings;
  const result = {
    machine,
    settings: { ...shown, rounds, cpuIterations: iterations },
    summaries,
    runs,
    dispatch,
    mixed,
  };
  writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`);
  console.log(`\nresults in ${file}`);
  const refused =
    runs.some(({ failed }) => failed) ||
    dispatch.some(({ outcome }) => 'failed' in outcome) ||
    mixed?.runs.some(({ failed, errors }) => failed || Object.keys(errors).length > 0);
  return refused ? 1 : 0;
}

process.exitCode = await main();
