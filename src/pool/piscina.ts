/** piscina as host (the default). */
import { fileURLToPath } from 'node:url';
import { Piscina } from 'piscina';
import { type HostOptions, hostOf, poolOptions, type ThreadHost } from './host.js';

export function piscinaHost({ entry, threads, memoryMb }: HostOptions): ThreadHost {
  const filename = fileURLToPath(entry);
  return hostOf(
    threads,
    () =>
      new Piscina({
        ...poolOptions(memoryMb),
        filename,
        // A thread waits in its event loop, never in Atomics.wait.
        atomics: 'disabled',
        recordTiming: false,
      }),
  );
}
