/**
 * What handlers write to process.stdout and process.stderr, console included. In a thread Node sends that to the main thread, one
 * message at a time and only as fast as that one answers: a thread that is ended takes with it what waits. Here it is written
 * at once, by the thread itself; with --capture-output it goes to the error log, line by line.
 */
import { isMainThread } from 'node:worker_threads';
import { Capture, redirect } from '../log/capture.js';
import type { ProcessLogs } from '../log/process-logs.js';

/**
 * Takes over this thread's process.stdout and process.stderr. Not in class sync: there the worker has done so.
 * @returns what gives out lines that have no end yet: to be called when the thread ends in peace.
 */
export function takeStdio(logs: ProcessLogs, capture: boolean): () => void {
  if (isMainThread) return () => {};
  if (capture) {
    const captured = new Capture(() => logs.log);
    return () => captured.end();
  }
  for (const name of ['stdout', 'stderr'] as const) {
    const sink = logs[name];
    redirect(process[name], (text) => {
      sink.write(text);
      sink.flush();
    });
  }
  return () => {};
}
