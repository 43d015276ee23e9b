/** Test files that do not end: node's runner waits for them for ever. */
import { readFileSync } from 'node:fs';
import { children } from './proc.js';

/**
 * Ends children of a process, the test files of a runner, that live longer than limitMs, with all that they have started: by
 * SIGKILL, for a file may catch any other signal. The runner then counts it as failed. `tell` gets the file's command line.
 * What comes back stops the watch.
 */
export function endHungFiles(runner: number, limitMs: number, tell: (file: string) => void): () => void {
  const seen = new Map<number, number>();
  const timer = setInterval(
    () => {
      const now = performance.now();
      const alive = children(runner).map(({ pid }) => pid);
      for (const pid of seen.keys()) if (!alive.includes(pid)) seen.delete(pid);
      for (const pid of alive) {
        const since = seen.get(pid) ?? now;
        seen.set(pid, since);
        if (now - since < limitMs) continue;
        tell(commandLine(pid));
        for (const one of [pid, ...descendants(pid)]) kill(one);
      }
    },
    Math.min(1000, limitMs),
  );
  timer.unref();
  return () => clearInterval(timer);
}

function descendants(pid: number): number[] {
  return children(pid).flatMap((child) => [child.pid, ...descendants(child.pid)]);
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').join(' ').trim();
  } catch {
    return `process ${pid}`;
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Ended meanwhile.
  }
}
