/**
 * A host starts threads and ends them; piscina.ts, tinypool.ts and inline.ts are the hosts. One task is one thread's life:
 * run() resolves when the thread has ended in peace and rejects when it died (process.exit, memory limit, terminated).
 */
import type { ThreadTask } from './messages.js';

export interface ThreadHost {
  /** Starts a thread. Aborting the signal ends it at once, whatever it does. */
  run(task: ThreadTask, signal: AbortSignal): Promise<void>;
  /** Ends all threads. */
  destroy(): Promise<void>;
}

/** Threads are started with the file that holds what runs in them, never by an import. */
export interface HostOptions {
  entry: URL;
  threads: number;
}
export function isOutOfMemory(error: unknown): boolean {
  return /OUT_OF_MEMORY/.test(String((error as any)?.code));
}
