/** The border between a worker's main thread and a pool thread: everything that crosses it. */
import type { MessagePort } from 'node:worker_threads';
import type { Config } from '../config/settings.js';
import type { LogShare } from '../log/process-logs.js';
import type { SharedMemory } from '../shared/memory.js';

/** The task that is a thread's life: what the pool's host hands to thread/start.cts. */
export interface ThreadTask {
  /** 1..shared.threads. */
  slot: number;
  shared: SharedMemory;
  config: Config;
  /** Requests that may be in hand at a time, 0 = no limit (sync: 1). */
  concurrency: number;
  /** False: every response closes its connection (sync, as in gunicorn). */
  keepAlive: boolean;
  /** Where the worker listens: `http://127.0.0.1:8000`, `unix:/run/app.sock`; '' = not known. */
  address: string;
  /** How many workers were started before this one. */
  workerAge: number;
  port: MessagePort;
  /** The worker's logs; null: the thread opens its own. */
  logs: LogShare | null;
}

export type MainToThread =
  /** Take no new request, finish those in hand, then end, within ms. */
  { type: 'stop'; ms: number };

export type ThreadToMain =
  /** threadId: worker_threads' own, 0 on the main thread. */
  | { type: 'ready'; threadId: number }
  /** The app could not be loaded, or the thread not be set up; the thread ends. */
  | { type: 'failed'; code: string; message: string; stack: string; exitCode: number }
  /** A connection that main had asked about was handled: kept or closed. */
  | { type: 'done'; fd: number; generation: number; visits: number; kept: boolean }
  /** The thread may be damaged (an uncaught exception, say) and asks for a fresh one in its place; it goes on meanwhile. */
  | { type: 'replaceMe'; reason: string }
  /** All requests are finished after 'stop'. */
  | { type: 'stopped' };
