/** What /proc tells of a process: memory, open files, CPU time, children. */
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Resident memory, bytes. */
export function rss(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;
}

/** The most that resident memory has been since resetPeakRss(), bytes. */
export function peakRss(pid: number): number {
  return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;
}

export function resetPeakRss(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

/** CPU seconds of the process, user and system. */
export function cpuSeconds(pid: number): number {
  const f = fields(`/proc/${pid}/stat`);
  return (Number(f[11]) + Number(f[12])) / 100;
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

/** CPU seconds of each thread that lives: name#tid -> seconds, as the scheduler counts them (nanoseconds). */
export function threadCpu(pid: number): Map<string, number> {
  const found = new Map<string, number>();
  for (const tid of readdirSync(`/proc/${pid}/task`)) {
    try {
      const ns = readFileSync(`/proc/${pid}/task/${tid}/schedstat`, 'utf8').split(' ')[0];
      const name = readFileSync(`/proc/${pid}/task/${tid}/comm`, 'utf8').trim();
      found.set(`${name}#${tid}`, Number(ns) / 1e9);
    } catch {
      // Ended meanwhile.
    }
  }
  return found;
}

/** How long each thread of a process has waited for a CPU since it began, ms. */
function cpuWaits(pid: number): Map<string, number> {
  const found = new Map<string, number>();
  for (const tid of readdirSync(`/proc/${pid}/task`)) {
    try {
      found.set(tid, Number(readFileSync(`/proc/${pid}/task/${tid}/schedstat`, 'utf8').split(' ')[1]) / 1e6);
    } catch {
      // Ended meanwhile.
    }
  }
  return found;
}

/**
 * Starts to watch some processes; the function that comes back tells how long, at most, one of their threads has waited
 * for a CPU since then (ms). On a busy machine that is no fault of theirs.
 */
export function watchCpuWait(...pids: number[]): () => number {
  const before = pids.map(cpuWaits);
  return () => {
    const waits = pids.map((pid, i) => {
      const each = [...cpuWaits(pid)].map(([tid, ms]) => ms - (before[i].get(tid) ?? 0));
      return Math.max(0, ...each);
    });
    return waits.reduce((sum, ms) => sum + ms, 0);
  };
}

/** How often the threads of a process have gone to sleep since it began. */
function sleeps(pid: number): number {
  let n = 0;
  for (const tid of readdirSync(`/proc/${pid}/task`)) {
    try {
      const status = readFileSync(`/proc/${pid}/task/${tid}/status`, 'utf8');
      n += Number(/\nvoluntary_ctxt_switches:\s+(\d+)/.exec(status)![1]);
    } catch {
      // Ended meanwhile.
    }
  }
  return n;
}

/** Share of one core that a process uses over some time, how often it wakes up, and the threads that have part in it. */
async function activity(pid: number, ms: number): Promise<{ share: number; wakeUps: number; threads: string }> {
  const before = threadCpu(pid);
  const slept = sleeps(pid);
  const from = performance.now();
  await sleep(ms);
  const elapsed = (performance.now() - from) / 1000;
  const used = [...threadCpu(pid)].map(([name, s]) => [name, (s - (before.get(name) ?? 0)) / elapsed] as const);
  const threads = used.filter(([, x]) => x > 0.0002).map(([name, x]) => `${name} ${(x * 100).toFixed(2)} %`);
  const share = used.reduce((sum, [, x]) => sum + x, 0);
  return { share, wakeUps: (sleeps(pid) - slept) / elapsed, threads: threads.join(', ') };
}

/** What a loop that spins goes beyond on any machine, and one that rests on none. */
const IDLE_SHARE = 0.1;

/**
 * Fails if the process wakes up more often than `limit` times a second while it has nothing to do, or spins. How much CPU
 * a wake-up takes is the machine's affair. Garbage collection and compilation go on for a while after a load, so it may
 * take some tries. Resolves with what it did, in words.
 */
export async function assertIdle(pid: number, limit = 100): Promise<string> {
  for (let tries = 4; ; tries--) {
    const { share, wakeUps, threads } = await activity(pid, 1500);
    const words = `${(share * 100).toFixed(2)} % of a core, ${wakeUps.toFixed(0)} wake-ups a second`;
    if (share <= IDLE_SHARE && wakeUps <= limit) return words;
    if (tries === 1) throw new Error(`idle, but at work: ${words}: ${threads}`);
  }
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
