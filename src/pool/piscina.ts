/** piscina as host (the default): a pool of one worker for each thread, so that no worker serves twice. */
import { fileURLToPath } from 'node:url';
import { Piscina } from 'piscina';
import type { HostOptions, ThreadHost } from './host.js';
import type { ThreadTask } from './messages.js';

export function piscinaHost({ entry }: HostOptions): ThreadHost {
  const pools = new Set<Piscina>();
  return {
    async run(task: ThreadTask, signal): Promise<void> {
      const pool = new Piscina({
        filename: fileURLToPath(entry),
        minThreads: 0,
        maxThreads: 1,
        concurrentTasksPerWorker: 1,
        // A thread waits in its event loop, never in Atomics.wait.
        atomics: 'disabled',
        recordTiming: false,
      });
      // The same error rejects the thread's task, where it is dealt with; without a listener it would end the process.
      pool.on('error', () => {});
      pools.add(pool);
      try {
        await pool.run(task, { signal, transferList: [task.port] });
      } finally {
        void pool.destroy().then(() => pools.delete(pool));
      }
    },
    async destroy(): Promise<void> {
      await Promise.all([...pools].map((pool) => pool.destroy()));
    },
  };
}
