/** What /proc tells of a process: memory, open files, CPU time, children. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Resident memory, bytes. */
export function rss(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;
}

/** Open file descriptors. */
export function fdCount(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** What the open file descriptors are, for messages: { 'socket': 12, 'anon_inode:[eventpoll]': 3 }. */
export function fdKinds(pid: number): Record<string, number> {
  const kinds: Record<string, number> = {};
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    let name: string;
    try {
      name = readlinkSync(`/proc/${pid}/fd/${fd}`).replace(/:\[\d+\]$/, '');
    } catch {
      continue;
    }
    kinds[name] = (kinds[name] ?? 0) + 1;
  }
  return kinds;
}

function fields(path: string): string[] {
  const stat = readFileSync(path, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

/** CPU time that the process and its threads have used, seconds. Linux counts in 1/100. */
export function cpuSeconds(pid: number): number {
  const f = fields(`/proc/${pid}/stat`);
  return (Number(f[11]) + Number(f[12])) / 100;
}

/** CPU seconds of each thread that lives: name#tid -> seconds. */
export function threadCpu(pid: number): Map<string, number> {
  const found = new Map<string, number>();
  for (const tid of readdirSync(`/proc/${pid}/task`)) {
    try {
      const f = fields(`/proc/${pid}/task/${tid}/stat`);
      const name = readFileSync(`/proc/${pid}/task/${tid}/comm`, 'utf8').trim();
      found.set(`${name}#${tid}`, (Number(f[11]) + Number(f[12])) / 100);
    } catch {
      // Ended meanwhile.
    }
  }
  return found;
}

/** Children of a process: pid and state (Z: zombie). */
export function children(pid: number): Array<{ pid: number; state: string }> {
  const found: Array<{ pid: number; state: string }> = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const f = fields(`/proc/${name}/stat`);
      if (Number(f[1]) === pid) found.push({ pid: Number(name), state: f[0] });
    } catch {
      // Ended meanwhile.
    }
  }
  return found;
}
