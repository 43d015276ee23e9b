/**
 * The border between the arbiter's process and a worker's: everything that crosses it, as node IPC messages.
 * Signals carry the verbs (TERM graceful, INT and QUIT quick, as in gunicorn); messages carry facts.
 */
import type { Config } from './config/settings.js';

/** A listening socket that a worker inherits. */
export interface ListenerInfo {
  /** File descriptor number in the worker's process. */
  fd: number;
  /** Address as written in logs: `http://127.0.0.1:8000`, `http://[::1]:8000`, `unix:/run/app.sock`. */
  name: string;
  family: 'tcp' | 'unix';
  /** http: requests for the app. status: --status-bind, answered by the worker's main thread. */
  role: 'http' | 'status';
}

/** Options of Node's tls.createSecureContext(): plain data, certificates and keys as PEM text. */
export type TlsOptions = Record<string, string | string[] | number | boolean>;

/** What the arbiter has read of certificates, or ssl_context has made of them. */
export interface TlsMaterial {
  options: TlsOptions;
  /** By which clients resume sessions, with any worker: 48 bytes in base64. */
  ticketKeys: string;
}

/** First message to a worker: all that it needs to boot. */
export interface BootMessage {
  type: 'boot';
  config: Config;
  /** Null: no TLS. */
  tls: TlsMaterial | null;
  listeners: ListenerInfo[];
  /** How many workers were spawned before this one, as gunicorn's worker.age. */
  age: number;
  /** Another worker serves already: it answers at the status address until this one can. */
  relieves: boolean;
}

/** HUP: fresh threads with this config and newly loaded code; the process, its listeners and connections stay. */
export interface ReloadMessage {
  type: 'reload';
  config: Config;
  tls: TlsMaterial | null;
}

export type ArbiterToWorker =
  | BootMessage
  | ReloadMessage
  /** USR1: the log files have been renamed. A message, because a signal could come before the worker listens to it. */
  | { type: 'reopen' }
  /** The worker is one of several and leaves: the status address is for those that stay. TERM comes beside it. */
  | { type: 'retire' }
  /** The whole server ends: nobody takes over, so nobody is waited for who has no request in hand. TERM comes beside it. */
  | { type: 'stop' };

const MOST_THREADS = 512;

/** The most threads to which a worker that was booted with `threads` can be changed while it lives. */
export function mostThreads(threads: number): number {
  return Math.min(2 * threads, MOST_THREADS);
}

export type WorkerToArbiter =
  /** The app is loaded on every thread and the worker accepts. */
  | { type: 'booted' }
  /** The worker's main loop is alive (gunicorn's notify()); at least every second. */
  | { type: 'notify' }
  /** The worker has begun to leave, whoever told it so: another one may take its place. */
  | { type: 'leaving' };
