/**
 * A thread that watches the arbiter for a worker of class sync, whose main thread runs user code and may be stuck: when
 * the arbiter has died and the worker has not left by itself within graceful_timeout, the process is killed. A worker
 * of class gthread needs none: its main thread always turns.
 */
import { isMainThread, Worker, workerData } from 'node:worker_threads';

const LOOK_MS = 1000;

/** graceMs: how long the worker may take to leave after the arbiter has gone. */
export function startWatchdog(graceMs: number): void {
  const options = { workerData: { tunicornWatchdog: { arbiter: process.ppid, graceMs } }, stdin: false };
  new Worker(new URL(import.meta.url), options).unref();
}

function watch({ arbiter, graceMs }: { arbiter: number; graceMs: number }): void {
  let goneAt = 0;
  setInterval(() => {
    if (process.ppid === arbiter) return;
    goneAt ||= performance.now();
    if (performance.now() - goneAt > graceMs) process.kill(process.pid, 'SIGKILL');
  }, LOOK_MS);
}

if (!isMainThread && workerData?.tunicornWatchdog) watch(workerData.tunicornWatchdog);
