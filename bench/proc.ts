/**
 * What the kernel knows about a server's processes, from /proc.
 * A server is its root process, all descendants, and whatever else is in the session that the root started (a child
 * whose parent died is re-parented, but stays in the session). CPU time is user plus system over all of them, with
 * that of children already reaped; peak RSS is the sum of each process's high-water mark, so pages that forked
 * processes share are counted in each of them.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

export interface ProcStat {
  pid: number;
  state: string;
  ppid: number;
  session: number;
  cpuTicks: number;
  /** Together with the pid this names one process for good: pids are used again. */
  startTime: string;
}

export interface Usage {
  cpuSeconds: number;
  peakRssBytes: number;
  processes: number;
}

let ticksPerSecond: number | undefined;

function clockTicks(): number {
  ticksPerSecond ??= Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' })) || 100;
  return ticksPerSecond;
}

/** CPU seconds so far of everything on this machine, all cores together, time that the hypervisor gave to others included. */
export function busySecondsOfMachine(): number {
  const line = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0];
  const [user, nice, system, _idle, _iowait, irq, softirq, steal] = line.split(/\s+/).slice(1).map(Number);
  return (user + nice + system + irq + softirq + steal) / clockTicks();
}

/** One process's stat line, or undefined where there is no such process any more. */
export function readStat(pid: number): ProcStat | undefined {
  let line: string;
  try {
    line = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  // The name in parentheses may hold anything, so the fields are counted from the last one.
  const f = line.slice(line.lastIndexOf(')') + 2).split(' ');
  return {
    pid,
    state: f[0],
    ppid: Number(f[1]),
    session: Number(f[3]),
    cpuTicks: Number(f[11]) + Number(f[12]) + Number(f[13]) + Number(f[14]),
    startTime: f[19],
  };
}

/** The root's process tree and session, zombies left out. */
export function processTree(root: number): ProcStat[] {
  const all: ProcStat[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = readStat(Number(name));
    if (stat && stat.state !== 'Z') all.push(stat);
  }
  const members = new Set([root]);
  for (let size = 0; size !== members.size; ) {
    size = members.size;
    for (const stat of all) if (members.has(stat.ppid) || stat.session === root) members.add(stat.pid);
  }
  return all.filter((stat) => members.has(stat.pid));
}

/** True while this very process (not a later one with its pid) runs. */
export function isAlive({ pid, startTime }: ProcStat): boolean {
  const now = readStat(pid);
  return now !== undefined && now.state !== 'Z' && now.startTime === startTime;
}

/** CPU seconds so far of one process alone. */
export function cpuSecondsOf(pid: number): number | undefined {
  const stat = readStat(pid);
  return stat && stat.cpuTicks / clockTicks();
}

export function usageOf(root: number): Usage {
  const tree = processTree(root);
  let ticks = 0;
  let peakRssBytes = 0;
  for (const stat of tree) {
    ticks += stat.cpuTicks;
    peakRssBytes += peakRss(stat.pid);
  }
  return { cpuSeconds: ticks / clockTicks(), peakRssBytes, processes: tree.length };
}

function peakRss(pid: number): number {
  try {
    const match = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    return match ? Number(match[1]) * 1024 : 0;
  } catch {
    return 0;
  }
}
