/** tinypool as host: the same, for those who have it already. */
import { fileURLToPath } from 'node:url';
import { Tinypool } from 'tinypool';
import { type HostOptions, hostOf, poolOptions, type ThreadHost } from './host.js';

export function tinypoolHost({ entry, threads, memoryMb }: HostOptions): ThreadHost {
  const filename = fileURLToPath(entry);
  return hostOf(
    threads,
    () =>
      new Tinypool({
        ...poolOptions(memoryMb),
        filename,
        useAtomics: false,
        runtime: 'worker_threads',
      }),
  );
}
