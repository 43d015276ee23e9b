/**
 * The load: wrk with one thread where it is installed, otherwise autocannon, always a process of its own, always to
 * 127.0.0.1, always for a fixed number of seconds. A run with a socket error, an error status or fewer bytes than the
 * bodies asked for is refused: it is an error here, never a number. The tool's own CPU share is told as well; near 100%
 * the tool, not the server, was the limit.
 */
import { spawn, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { cpuSecondsOf } from './proc.js';
import type { Scenario } from './scenarios.js';
import { track } from './server-process.js';
import { ROOT, which } from './servers.js';

export interface LoadResult {
  requests: number;
  seconds: number;
  rate: number;
  p50Ms: number;
  p99Ms: number;
  /** CPU seconds of the tool per second of load. */
  toolCpu: number;
}

export interface LoadTool {
  name: 'wrk' | 'autocannon';
  version: string;
  /** `temp` is a directory for the request's body. */
  run(scenario: Scenario, port: number, connections: number, seconds: number, temp: string): Promise<LoadResult>;
}

/** Picks the tool; throws when the one asked for is not installed. */
export function findLoadTool(choice: 'wrk' | 'autocannon' | 'auto'): LoadTool {
  const wrk = choice === 'autocannon' ? undefined : which('wrk');
  if (wrk) return wrkTool(wrk);
  if (choice === 'wrk') throw new Error('--load wrk: no wrk on PATH');
  return autocannonTool();
}

interface Finished {
  stdout: string;
  toolCpu: number;
}

/** Runs the tool to its end, at most `seconds` plus some grace. */
async function finish(file: string, args: string[], seconds: number): Promise<Finished> {
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  track(child);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data: Buffer) => (stdout += data));
  child.stderr.on('data', (data: Buffer) => (stderr += data));
  let cpu = 0;
  const sample = setInterval(() => {
    cpu = (child.pid && cpuSecondsOf(child.pid)) || cpu;
  }, 100);
  const limit = setTimeout(() => child.kill('SIGKILL'), (seconds + 20) * 1000);
  try {
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) =>
        code === 0
          ? resolve()
          : reject(new Error(`${file} ended with ${signal ?? code}: ${(stderr || stdout).trim()}`)),
      );
    });
  } finally {
    clearInterval(sample);
    clearTimeout(limit);
  }
  return { stdout, toolCpu: cpu / seconds };
}

/** Refuses a run whose counts show that not every request got its response. */
function refuseErrors(scenario: Scenario, requests: number, bytes: number, errors: Record<string, number>): void {
  const found = Object.entries(errors).filter(([, count]) => count > 0);
  if (found.length > 0) throw new Error(found.map(([kind, count]) => `${count} ${kind} errors`).join(', '));
  if (requests === 0) throw new Error('not one response');
  if (bytes < requests * Buffer.byteLength(scenario.expected)) throw new Error('fewer bytes than the bodies have');
}

function bodyFile(scenario: Scenario, temp: string): string | undefined {
  if (scenario.body === undefined) return undefined;
  const file = join(temp, `${scenario.name}.json`);
  writeFileSync(file, scenario.body);
  return file;
}

function wrkTool(file: string): LoadTool {
  // wrk -v prints its version and then the usage, with status 1.
  const version = /wrk (\S+)/.exec(spawnSync(file, ['-v'], { encoding: 'utf8' }).stdout)?.[1] ?? 'unknown';
  return {
    name: 'wrk',
    version,
    async run(scenario, port, connections, seconds, temp) {
      const script = join(ROOT, 'bench/wrk.lua');
      const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s', '-s', script];
      args.push(`http://127.0.0.1:${port}${scenario.path}`, '--', scenario.method);
      const body = bodyFile(scenario, temp);
      if (body) args.push(body);
      const { stdout, toolCpu } = await finish(file, args, seconds);
      const line = /^BENCH (.*)$/m.exec(stdout)?.[1];
      if (!line) throw new Error(`wrk printed no result: ${stdout.trim()}`);
      const { requests, bytes, seconds: took, p50, p99, ...errors } = JSON.parse(line) as Record<string, number>;
      refuseErrors(scenario, requests, bytes, errors);
      return { requests, seconds: took, rate: requests / took, p50Ms: p50, p99Ms: p99, toolCpu };
    },
  };
}

interface AutocannonResult {
  duration: number;
  requests: { total: number };
  throughput: { total: number };
  latency: { p50: number; p99: number };
  errors: number;
  timeouts: number;
  non2xx: number;
}

function autocannonTool(): LoadTool {
  const require = createRequire(import.meta.url);
  const { version } = require('autocannon/package.json') as { version: string };
  return {
    name: 'autocannon',
    version,
    async run(scenario, port, connections, seconds, temp) {
      const args = [
        require.resolve('autocannon'),
        '-j',
        '-c',
        String(connections),
        '-d',
        String(seconds),
        '-m',
        scenario.method,
      ];
      const body = bodyFile(scenario, temp);
      if (body) args.push('-H', 'content-type: application/json', '-i', body);
      args.push(`http://127.0.0.1:${port}${scenario.path}`);
      const { stdout, toolCpu } = await finish(process.execPath, args, seconds);
      const { requests, throughput, latency, duration, errors, timeouts, non2xx } = JSON.parse(
        stdout,
      ) as AutocannonResult;
      refuseErrors(scenario, requests.total, throughput.total, { socket: errors, timeout: timeouts, status: non2xx });
      const { total } = requests;
      return {
        requests: total,
        seconds: duration,
        rate: total / duration,
        p50Ms: latency.p50,
        p99Ms: latency.p99,
        toolCpu,
      };
    },
  };
}
