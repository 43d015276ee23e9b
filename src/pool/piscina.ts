/** piscina as host (the default): a pool with exactly as many workers as threads, each with one endless task. */
import { fileURLToPath } from 'node:url';
import { Piscina } from 'piscina';
import type { HostOptions, ThreadHost } from './host.js';
import type { ThreadTask } from './messages.js';

export function piscinaHost({ entry, threads }: HostOptions): ThreadHost {
  const pool = new Piscina({
    filename: fileURLToPath(entry),
    minThreads: 0,
    maxThreads: threads,
    idleTimeout: 0,
    concurrentTasksPerWorker: 1,
    // A thread waits in its event loop, never in Atomics.wait.
    atomics: 'disabled',
    recordTiming: false,
  });
  // The same error rejects the thread's task, where it is dealt with; without a listener it would end the process.
  pool.on('error', () => {});
  return {
    run: (task: ThreadTask, signal) => pool.run(task, { signal, transferList: [task.port] }),
    destroy: () => pool.destroy(),
  };
}
