/**
 * The arbiter's view of one worker process: its pid, its age, when it last gave a sign of life, and whether it was told
 * to leave. It starts the process and turns the process's events into fields and one callback; what to do about them is
 * the arbiter's decision. Listening sockets reach the worker as file descriptors 4, 5, ... (0 to 2 are the arbiter's own,
 * 3 is node's IPC channel).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { folderAt } from '../config/folders.js';
import type { Config } from '../config/settings.js';
import type { ArbiterToWorker, ListenerInfo, TlsMaterial, WorkerToArbiter } from '../messages.js';
import type { Listener } from './sock.js';

/** First descriptor number of the listening sockets in a worker. */
const FIRST_LISTENER_FD = 4;

/** How a worker's process ended. A process that could not even be started has an error. */
export interface WorkerExit {
  code: number | null;
  signal: NodeJS.Signals | null;
  error?: Error;
}

export interface SpawnOptions {
  /** Path of the script that the worker runs. */
  workerMain: string;
  config: Config;
  tls: TlsMaterial | null;
  listeners: readonly Listener[];
  /** Listeners of --status-bind. */
  status: readonly Listener[];
  age: number;
  /** Variables that its environment has besides the arbiter's. */
  env: Record<string, string>;
  /** Another worker serves already. */
  relieves: boolean;
  /** Called when it has booted, and when it begins to leave by itself. */
  onNews: () => void;
  /** Called once, when the process is gone. */
  onExit: (worker: WorkerHandle) => void;
}

/** Milliseconds on a clock that only goes forward. */
export function now(): number {
  return performance.now();
}

export class WorkerHandle {
  /** How many workers were spawned before this one. */
  readonly age: number;
  /** What it was booted with. */
  readonly config: Config;
  /** What it runs with now: another one after a reload. */
  settings: Config;
  /** Which folder it was started in (folders.ts); null: one that is gone. */
  readonly folder: string | null;
  /** Undefined if the process could not be started. */
  readonly pid: number | undefined;
  spawnedAt = now();
  /** Last sign of life. */
  lastNotify = this.spawnedAt;
  /** When it could take requests, null = not yet. */
  bootedAt: number | null = null;
  /** When SIGABRT was sent, if it was. */
  abortedAt: number | null = null;
  /** When it was told to leave (TERM, QUIT), if it was. */
  stoppedAt: number | null = null;
  /** A reload wants another process in its place: it leaves as soon as that one has booted. */
  outdated = false;
  /** Null while the process lives. */
  exit: WorkerExit | null = null;
  readonly #child: ChildProcess;
  readonly #hasStatus: boolean;
  readonly #onNews: () => void;
  readonly #onExit: (worker: WorkerHandle) => void;

  constructor(options: SpawnOptions) {
    this.age = options.age;
    this.config = options.config;
    this.settings = options.config;
    this.folder = folderAt(options.config.chdir);
    this.#onNews = options.onNews;
    this.#onExit = options.onExit;
    this.#hasStatus = options.status.length > 0;
    const listeners = [...options.listeners, ...options.status];
    const fds = listeners.map((l) => l.fd);
    this.#child = spawn(process.execPath, [...workerExecArgv(process.execArgv), options.workerMain], {
      stdio: ['inherit', 'inherit', 'inherit', 'ipc', ...fds],
      env: { ...process.env, ...options.env },
      // A link to the present release is followed anew; where the folder is gone, it is as with the arbiter.
      cwd: this.folder === null ? undefined : options.config.chdir,
    });
    this.pid = this.#child.pid;
    this.#child.once('exit', (code, signal) => this.#ended({ code, signal }));
    this.#child.on('error', (error) => {
      // Also raised by failed kills and sends of a living process; only without a pid is it the end.
      if (this.pid === undefined) this.#ended({ code: null, signal: null, error });
    });
    this.#child.on('message', (message) => this.#receive(message as WorkerToArbiter));
    const info = ({ name, family }: Listener, i: number): ListenerInfo => ({
      fd: FIRST_LISTENER_FD + i,
      name,
      family,
      role: i < options.listeners.length ? 'http' : 'status',
    });
    const { config, tls, age, relieves } = options;
    this.#tell({ type: 'boot', config, tls, listeners: listeners.map(info), age, relieves });
  }

  #tell(message: ArbiterToWorker): void {
    // A process that died meanwhile is reported by its exit; the callback keeps the failed send quiet.
    if (this.pid !== undefined && this.#child.connected) this.#child.send(message, () => {});
  }

  get alive(): boolean {
    return this.exit === null;
  }

  /** Sends a signal. False if the process is gone. The handle knows its child, so a reused pid is never hit. */
  kill(signal: NodeJS.Signals): boolean {
    return this.alive && this.#child.kill(signal);
  }

  get booted(): boolean {
    return this.bootedAt !== null;
  }

  /** It shall go on: nobody has told it to leave. */
  get active(): boolean {
    return this.stoppedAt === null;
  }

  /**
   * Tells the worker to leave: TERM gracefully, QUIT quickly.
   * @param last nobody takes over: it need not wait for the next request of who has none in hand. Default false.
   */
  stop(signal: 'SIGTERM' | 'SIGQUIT', last = false): void {
    if (last) this.#tell({ type: 'stop' });
    this.stoppedAt ??= now();
    this.kill(signal);
  }

  /** Tells the worker to leave gracefully while others go on: they answer at the status address. */
  retire(): void {
    if (this.#hasStatus) this.#tell({ type: 'retire' });
    this.stop('SIGTERM');
  }

  /** Has a worker of class gthread swap its threads for fresh ones with this config. */
  reload(config: Config, tls: TlsMaterial | null): void {
    this.settings = config;
    this.#tell({ type: 'reload', config, tls });
  }

  /** Has it open its log files again. By a message: until it has booted USR1 would wake node's debugger. */
  reopenLogs(): void {
    this.#tell({ type: 'reopen' });
  }

  /** SIGABRT: the first of two steps to kill a worker that hangs. */
  abort(): void {
    this.abortedAt = now();
    this.kill('SIGABRT');
  }

  /** Takes `ms` during which nobody ran out of what is held against the worker. */
  excuse(ms: number): void {
    this.lastNotify = Math.min(now(), this.lastNotify + ms);
    this.spawnedAt = Math.min(now(), this.spawnedAt + ms);
    if (this.stoppedAt !== null) this.stoppedAt = Math.min(now(), this.stoppedAt + ms);
  }

  #receive(message: WorkerToArbiter): void {
    // The app of a sync worker shares its process and may send messages of its own: those are nobody's sign of life.
    const type = message?.type;
    if (type !== 'booted' && type !== 'notify' && type !== 'leaving') return;
    this.lastNotify = now();
    if (type === 'notify') return;
    if (type === 'leaving') this.stoppedAt ??= now();
    else this.bootedAt = now();
    this.#onNews();
  }

  #ended(exit: WorkerExit): void {
    if (this.exit) return;
    this.exit = exit;
    this.#onExit(this);
  }
}

/**
 * The node flags of this process that a worker takes over: all but those that say what to run, and the inspector's,
 * whose port is taken.
 */
export function workerExecArgv(execArgv: readonly string[]): string[] {
  const kept: string[] = [];
  for (let i = 0; i < execArgv.length; i++) {
    const flag = execArgv[i];
    if (/^(-e|-p|-pe|--eval|--print)$/.test(flag)) i++;
    else if (
      !/^(--eval=|--print=|-i$|--interactive|--check$|-c$|--input-type|--test|--inspect|--debug|--watch)/.test(flag)
    ) {
      kept.push(flag);
    }
  }
  return kept;
}
