/**
 * A host starts threads and ends them; piscina.ts, tinypool.ts and inline.ts are the hosts. One task is one thread's life:
 * run() resolves when the thread has ended in peace and rejects when it died (process.exit, memory limit, terminated).
 *
 * A library's pool would give the next task to a thread whose task is over, modules and all. So each life gets a pool of
 * its own with one thread, which ends with it: a new thread is a new isolate, and no start waits for another thread.
 */
import { TunicornError } from '../errors.js';
import { openInspector } from './inspect.js';
import type { ThreadTask } from './messages.js';

export interface ThreadHost {
  /**
   * Starts a thread. Aborting the signal ends it at once, whatever it does; the promise then rejects without waiting until
   * the thread is gone. When it resolves, the thread is gone.
   */
  run(task: ThreadTask, signal: AbortSignal): Promise<void>;
  /** Ends all threads. */
  destroy(): Promise<void>;
}

/** Threads are started with the file that holds what runs in them, never by an import. */
export interface HostOptions {
  entry: URL;
  /** The most at a time; run() rejects beyond that. A thread counts until its run() has settled. */
  threads: number;
  /** The most that a thread's JavaScript heap may hold, MB; 0 = no limit of ours. Default 0. The thread dies beyond that. */
  memoryMb?: number;
}

/** A pool of one thread, as both libraries have it. */
export interface SinglePool {
  run(task: ThreadTask, options: { signal: AbortSignal; transferList: [ThreadTask['port']] }): Promise<unknown>;
  destroy(): Promise<void>;
  /** An error that is no task's. */
  on(event: 'error', listener: (error: unknown) => void): unknown;
  /** The thread, from run() on. */
  readonly threads: ReadonlyArray<{
    once(event: 'exit', listener: (code: number) => void): unknown;
    terminate(): Promise<unknown>;
  }>;
}

/** After how long a thread that was ended and still runs is ended again, ms, and how often: each time costs it a listener. */
const AGAIN_MS = 100;
const AGAIN_TIMES = 5;

/** What every pool of both libraries is made with. */
export function poolOptions(memoryMb = 0) {
  return {
    minThreads: 0,
    maxThreads: 1,
    concurrentTasksPerWorker: 1,
    ...(memoryMb > 0 && { resourceLimits: { maxOldGenerationSizeMb: memoryMb } }),
  };
}

/** A host that makes a pool for each thread. */
export function hostOf(threads: number, createPool: () => SinglePool): ThreadHost {
  const pools = new Set<SinglePool>();
  let running = 0;
  openInspector();

  return {
    async run(task, signal) {
      if (running >= threads) {
        throw new TunicornError('ERR_TUNICORN_THREAD', `No thread can be started: ${threads} run already.`);
      }
      running++;
      const pool = createPool();
      pools.add(pool);
      const life = live(pool, task, signal);
      const gone = life
        .catch(() => {})
        .then(() => end(pool))
        .then(() => pools.delete(pool));
      try {
        await life;
        await gone;
      } finally {
        running--;
      }
    },
    async destroy() {
      await Promise.all([...pools].map(end));
    },
  };
}

/** Never rejects: a thread that dies while it is ended has ended. */
const end = (pool: SinglePool): Promise<void> => pool.destroy().catch(() => {});

function live(pool: SinglePool, task: ThreadTask, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    // Neither library rejects the task of a thread that dies before it takes it, nor tinypool that of one that exits.
    pool.on('error', reject);
    pool.run(task, { signal, transferList: [task.port] }).then(() => resolve(), reject);
    const thread = pool.threads[0];
    if (thread === undefined) return;
    let again: NodeJS.Timeout | undefined;
    const insist = (): void => {
      // V8 forgets that a thread is to end if it is told so in the middle of an answer to stackOf(). One in native code does not.
      let left = AGAIN_TIMES;
      again = setInterval(() => {
        if (--left === 0) clearInterval(again);
        void thread.terminate();
      }, AGAIN_MS).unref();
    };
    signal.addEventListener('abort', insist, { once: true });
    thread.once('exit', (code) => {
      signal.removeEventListener('abort', insist);
      clearInterval(again);
      // A library that knows more, such as the memory limit, has rejected by then.
      setImmediate(() => reject(new Error(`The thread exited with code ${code}.`)));
    });
  });
}

/** Whether a thread, as run() rejected, died of its memory limit. */
export function isOutOfMemory(error: unknown): boolean {
  const seen = new Set<unknown>();
  for (let e = error; typeof e === 'object' && e !== null && !seen.has(e); e = (e as { cause?: unknown }).cause) {
    if ((e as { code?: unknown }).code === 'ERR_WORKER_OUT_OF_MEMORY') return true;
    seen.add(e);
  }
  return false;
}
