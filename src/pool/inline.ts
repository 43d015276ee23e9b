/** The host of worker class sync: the one "thread" is the worker's main thread itself. It cannot be ended from outside. */
import type { HostOptions, ThreadHost } from './host.js';
import type { ThreadTask } from './messages.js';

export function inlineHost({ entry }: HostOptions): ThreadHost {
  return {
    async run(task: ThreadTask): Promise<void> {
      const module = (await import(entry.href)) as { default(task: ThreadTask): Promise<void> };
      await module.default(task);
    },
    async destroy(): Promise<void> {},
  };
}
