/** Where and with what a result was measured, and how much work 5 ms of CPU are here. */
import { execFileSync } from 'node:child_process';
import { arch, availableParallelism, cpus, loadavg, platform, release, totalmem } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { usableCpus } from '../src/config/cpus.js';
import { burn } from './apps/work.js';
import type { LoadTool } from './load.js';
import { ROOT, type Server } from './servers.js';

export interface Machine {
  cpu: string;
  cores: number;
  availableParallelism: number;
  memoryBytes: number;
  kernel: string;
  node: string;
  loadTool: string;
  /** One-minute load average before the first run: other work on the machine makes the figures doubtful. */
  loadAverage: number;
  date: string;
  commit: string;
  servers: Record<string, string>;
}

export function describeMachine(tool: LoadTool, servers: Server[]): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    availableParallelism: availableParallelism(),
    memoryBytes: totalmem(),
    kernel: `${platform()} ${release()} ${arch()}`,
    node: process.version,
    loadTool: `${tool.name} ${tool.version}`,
    loadAverage: loadavg()[0],
    date: new Date().toISOString(),
    commit: gitCommit(),
    servers: Object.fromEntries(servers.map(({ name, version }) => [name, version])),
  };
}

/** The commit, with a + when files differ from it. */
function gitCommit(): string {
  const git = (...args: string[]) =>
    execFileSync('git', ['--no-optional-locks', ...args], {
      cwd: ROOT,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  try {
    return git('rev-parse', 'HEAD').trim() + (git('status', '--porcelain').trim() ? '+' : '');
  } catch {
    return 'none';
  }
}

/** Threads of the piscina servers when --threads is not given: as many as tunicorn's own default. */
export function defaultThreads(): number {
  return Math.max(2, usableCpus());
}

/**
 * Iterations of burn() that take `milliseconds` of CPU here. Counted in CPU time, the fastest of many tries spread over
 * two seconds, as a busy neighbour makes even CPU time longer and would make the task smaller.
 */
export async function calibrateCpu(milliseconds: number): Promise<number> {
  const sample = 20_000;
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 40; i++) {
    await sleep(40);
    const before = process.cpuUsage();
    burn(sample);
    const { user, system } = process.cpuUsage(before);
    best = Math.min(best, user + system);
  }
  return Math.max(1, Math.round((sample * milliseconds * 1000) / best));
}
