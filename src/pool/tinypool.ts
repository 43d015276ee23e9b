/** tinypool as host: the same, for those who have it already. */
import { fileURLToPath } from 'node:url';
import { Tinypool } from 'tinypool';
import type { HostOptions, ThreadHost } from './host.js';
import type { ThreadTask } from './messages.js';

export function tinypoolHost({ entry, threads }: HostOptions): ThreadHost {
  const pool = new Tinypool({
    filename: fileURLToPath(entry),
    minThreads: 0,
    maxThreads: threads,
    idleTimeout: 0,
    concurrentTasksPerWorker: 1,
    isolateWorkers: true,
    useAtomics: false,
    runtime: 'worker_threads',
  });
  return {
    run: (task: ThreadTask, signal) => pool.run(task, { signal, transferList: [task.port] }),
    destroy: () => pool.destroy(),
  };
}
