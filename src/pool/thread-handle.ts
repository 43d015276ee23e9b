/**
 * ThreadHandle: the pool's view of one thread, from its start to its end. It starts the thread as a task of the host and turns
 * what the host and the thread's port tell into a state, two promises and one callback; what to do about it is decided in
 * roster.ts.
 *
 *     STARTING --ready--> RUNNING --retire--> RETIRING --stopped, task over--> ENDED
 *         └───────────────────┴───── dies ────────┴──────────────────────────────┘
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { TunicornError, WORKER_BOOT_ERROR } from '../errors.js';
import type { ThreadHost } from './host.js';
import type { MainToThread, ThreadTask, ThreadToMain } from './messages.js';

export type ThreadState = 'STARTING' | 'RUNNING' | 'RETIRING' | 'ENDED';
export type Notice = Extract<ThreadToMain, { type: 'done' }>;

/** How long a thread that was told to die may take before it counts as dead, ms. */
const GONE_MS = 1000;

/** Why a thread has ended that had more time than --graceful-timeout for what it has in hand. */
export class Overdue extends Error {}

export interface ThreadHandleOptions {
  host: ThreadHost;
  task: Omit<ThreadTask, 'port'>;
  /** Threads started before this one. */
  age: number;
  /** Reloads asked for before its start: its app is as old as that. */
  reloads: number;
  /** Its slot's SERVED word at its start. */
  servedBefore: number;
  onDone(notice: Notice): void;
  /** Called once, when its task is over; `from`: the state in which it ended. */
  onEnded(thread: ThreadHandle, from: ThreadState, error: unknown): void;
}

export class ThreadHandle {
  readonly o: ThreadHandleOptions;
  readonly slot: number;
  state: ThreadState = 'STARTING';
  /** It said that all its requests were finished. */
  stopped = false;
  /** worker_threads' own id, 0 = not known yet. */
  threadId = 0;
  /** Why it asks to be replaced, '' = it does not. */
  asked = '';
  /** Settles when it has loaded the app or could not: then a TunicornError. */
  readonly ready: Promise<void>;
  /** Settles when its task is over. */
  readonly ended: Promise<void>;
  private readonly port: MessagePort;
  private readonly abort = new AbortController();
  private readonly closed: Promise<void>;
  private portOpen = true;
  private failure: TunicornError | undefined;
  private reason: Error | undefined;
  private told = false;
  private setReady: () => void = () => {};
  private setFailed: (error: TunicornError) => void = () => {};

  constructor(options: ThreadHandleOptions) {
    this.o = options;
    const { host, task } = options;
    this.slot = task.slot;
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    this.ready = new Promise((resolve, reject) => {
      this.setReady = resolve;
      this.setFailed = reject;
    });
    // Whoever wants to know asks; it may be nobody.
    this.ready.catch(() => {});
    this.closed = new Promise((resolve) => {
      port1.once('close', () => {
        this.portOpen = false;
        resolve();
      });
    });
    port1.on('message', (message: ThreadToMain) => this.receive(message));
    this.ended = host.run({ ...task, port: port2 }, this.abort.signal).then(
      () => this.over(undefined),
      (error: unknown) => this.over(error),
    );
  }

  private receive(message: ThreadToMain): void {
    if (message.type === 'done') this.o.onDone(message);
    else if (message.type === 'stopped') this.stopped = true;
    else if (message.type === 'replaceMe') this.asked = message.reason;
    else if (message.type === 'ready') {
      this.threadId = message.threadId;
      if (this.state === 'STARTING') this.state = this.told ? 'RETIRING' : 'RUNNING';
      this.setReady();
    } else {
      const { code, exitCode, stack } = message;
      const cause = stack === '' ? undefined : Object.assign(new Error(message.message), { stack });
      this.failure = new TunicornError(code, message.message, { exitCode, cause });
    }
  }

  private async over(error: unknown): Promise<void> {
    // The thread's last messages came before its end, but by another way: without them we would not know why.
    // A port that has closed has delivered all, and must not be asked: Node 20 breaks down.
    for (let last: { message: ThreadToMain } | undefined; this.portOpen && (last = receiveMessageOnPort(this.port)); ) {
      this.receive(last.message);
    }
    // A host tells that a thread is lost when it begins to die. Its connections are ours only when its port is gone.
    if (this.state !== 'STARTING' && !this.stopped) await within(this.closed, GONE_MS);
    const from = this.state;
    this.state = 'ENDED';
    this.port.close();
    this.o.onEnded(this, from, this.reason ?? error);
    this.setFailed(
      this.failure ??
        new TunicornError('ERR_TUNICORN_THREAD', 'A thread ended before it was ready.', {
          exitCode: WORKER_BOOT_ERROR,
          cause: error,
        }),
    );
  }

  /** Takes nothing new, ends when what it has in hand is done; it is told that it has ms for that. */
  stop(ms: number): void {
    this.told = true;
    if (this.state === 'RUNNING') this.state = 'RETIRING';
    this.port.postMessage({ type: 'stop', ms } satisfies MainToThread);
  }

  /** Ends it at once, whatever it does. reason: told in place of the host's own. */
  kill(reason?: Error): void {
    this.reason ??= reason;
    this.abort.abort();
  }
}

/** Waits for the promise, at most ms. */
export async function within(promise: Promise<unknown>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([promise, late]);
  clearTimeout(timer);
}
