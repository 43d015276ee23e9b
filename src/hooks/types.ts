/**
 * What hooks are given, as operators see it: small read-only views of the arbiter, of a worker and of a thread, with gunicorn's
 * words in camelCase. Every view is made once and stays the same object for as long as what it shows lives, so that a hook may
 * put properties of its own on it; none crosses a process border. docs/hooks.md says when each hook is called.
 */
import type { IncomingMessage } from 'node:http';
import type { HOOKS } from '../config/hooks.js';
import type { Config } from '../config/settings.js';
import type { Logger } from '../log.js';
import type { TlsOptions } from '../messages.js';

/** The arbiter as a worker knows it. */
export interface HookServerView {
  /** Process id of the arbiter. */
  readonly pid: number;
  /** Settings, under their camelCase names. */
  readonly cfg: Readonly<Config>;
  /** The error log of the process in which the hook runs: debug, info, warning, error, critical. */
  readonly log: Pick<Logger, 'level' | 'debug' | 'info' | 'warning' | 'error' | 'critical'>;
  /** Names of the sockets: `http://127.0.0.1:8000`, `unix:/run/app.sock`. Empty until it listens. */
  readonly addresses: readonly string[];
}

/** The arbiter in its own process. */
export interface HookServer extends HookServerView {
  /** Workers that there shall be: gunicorn's num_workers. */
  readonly numWorkers: number;
  /** The workers that there are, oldest first: gunicorn's WORKERS. */
  readonly workers: readonly HookChild[];
}

/** What views of a worker have in common. */
interface WorkerView {
  /** Process id of the arbiter. */
  readonly ppid: number;
  /** How many workers were started before this one. */
  readonly age: number;
  /** The settings with which it runs. */
  readonly cfg: Readonly<Config>;
  readonly log: HookServerView['log'];
}

/** A worker as the arbiter knows it. */
export interface HookChild extends WorkerView {
  /** Process id; null before it is started (gunicorn: '[booting]'). */
  readonly pid: number | null;
  /** It has loaded the app and accepts. */
  readonly booted: boolean;
  /** Variables for the environment of its process: what pre_fork puts in here, the worker has in process.env. */
  readonly env: Record<string, string>;
  /** Its exit status; null while it lives, and if a signal ended it. */
  readonly exitCode: number | null;
  /** The signal that ended it. */
  readonly exitSignal: NodeJS.Signals | null;
}

/** A worker in its own process. */
export interface HookWorker extends WorkerView {
  readonly pid: number;
  /** Its app is loaded, and post_worker_init is over. */
  readonly booted: boolean;
  /** False once it is to end. */
  readonly alive: boolean;
}

/** A pool thread, in that thread; to pre_request and post_request it stands for the worker. */
export interface HookThread extends WorkerView {
  readonly pid: number;
  /** Number of the thread in its worker, from 1: the {thread}x of the access log. */
  readonly slot: number;
  /** worker_threads' own id; 0 in class sync, where it is the process's main thread. */
  readonly threadId: number;
}

/** What became of a request. */
export interface HookResponse {
  /** Status that the client gets, also where the engine answers in the handler's place; 0: the client left before any. */
  readonly status: number;
  /** Fields of the handler's response, names in lower case; a field that occurs several times is joined by ', '. */
  readonly headers: Readonly<Record<string, string>>;
  /** Bytes of its body that were sent. */
  readonly sent: number;
}

/** CGI's names for the request: REQUEST_METHOD, PATH_INFO, QUERY_STRING, REMOTE_ADDR, HTTP_HOST and so on. */
export type HookEnviron = Readonly<Record<string, string>>;

type Done = unknown;

/** The hooks by camelCase name. What they return is ignored, but for promises: docs/hooks.md says which are awaited. */
export interface HookFunctions {
  onStarting(server: HookServer): Done;
  onReload(server: HookServer): Done;
  whenReady(server: HookServer): Done;
  preFork(server: HookServer, worker: HookChild): Done;
  postFork(server: HookServerView, worker: HookWorker): Done;
  postWorkerInit(worker: HookWorker): Done;
  workerInt(worker: HookWorker): Done;
  workerAbort(worker: HookWorker): Done;
  /** Options for tls.createSecureContext(), plain data: those of usual() as they are or changed. */
  sslContext(config: Config, usual: () => TlsOptions): TlsOptions;
  preExec(server: HookServer): Done;
  preRequest(worker: HookThread, req: IncomingMessage): Done;
  postRequest(worker: HookThread, req: IncomingMessage, environ: HookEnviron, resp: HookResponse): Done;
  childExit(server: HookServer, worker: HookChild): Done;
  workerExit(server: HookServerView, worker: HookWorker): Done;
  /** oldValue: null at the start. */
  nworkersChanged(server: HookServer, newValue: number, oldValue: number | null): Done;
  onExit(server: HookServer): Done;
  postThreadInit(thread: HookThread): Done;
  threadExit(thread: HookThread): Done;
}

type Entry = (typeof HOOKS)[number];

/** Hooks as a configuration file may have them, under gunicorn's names or in camelCase. */
export type HookSettings = Partial<HookFunctions> & { [E in Entry as E['name']]?: HookFunctions[E['key']] };
