/** What every worker class has, in gunicorn's words: boot, notify, exit codes, signals of the arbiter. */
import { WorkerHooks } from '../hooks/worker.js';
import { Capture } from '../log/capture.js';
import { ProcessLogs } from '../log/process-logs.js';
import { type Logger, reopenLogs } from '../log.js';
import type { ArbiterToWorker, BootMessage, WorkerToArbiter } from '../messages.js';
import { native } from '../native/binding.js';

/** ms between two signs of life (gunicorn: notify); the arbiter's --timeout is in seconds. */
const NOTIFY_MS = 500;
/** Node's end of the process waits for its threads: not longer than this, ms. */
const EXIT_MS = 1000;
/** Exit status of a worker whose worker_int or worker_abort failed (gunicorn's). */
const HOOK_FAILED = 255;

export abstract class Worker {
  readonly boot: BootMessage;
  protected readonly logs: ProcessLogs;
  readonly log: Logger;
  /** False once the worker is to end. */
  alive = true;
  /** The operator's functions for this process. */
  readonly hooks: WorkerHooks;
  /** Nobody takes over the addresses: who has no request in hand is not waited for. */
  protected hurried = false;
  private notifier: NodeJS.Timeout | null = null;

  constructor(boot: BootMessage) {
    this.boot = boot;
    this.logs = new ProcessLogs(boot.config);
    this.log = this.logs.log;
    if (boot.config.captureOutput) new Capture(() => this.log);
    this.hooks = new WorkerHooks(this);
  }

  /** Sets up and serves; rejects if the worker cannot boot. */
  abstract initProcess(): Promise<void>;
  /** Takes nothing new, finishes what is in hand within graceful_timeout. */
  abstract stopGracefully(): Promise<void>;
  /** This worker is about to end and others go on: the status address is theirs. */
  abstract retire(): void;
  /** The arbiter has gone: every address is to be free at once. */
  abstract orphaned(): void;

  /** TERM is graceful, INT and QUIT quick, ABRT the end of one that hangs; an arbiter that is gone counts as TERM. */
  initSignals(): void {
    process.on('SIGTERM', () => void this.handleExit());
    process.on('SIGQUIT', () => this.handleQuit());
    process.on('SIGINT', () => this.handleQuit());
    process.on('SIGABRT', () => this.handleAbort());
    process.on('disconnect', () => {
      this.log.info(`Parent gone, stopping worker (pid: ${process.pid})`);
      this.hurried = true;
      this.orphaned();
      void this.handleExit();
    });
    process.on('message', (message: ArbiterToWorker) => {
      if (message?.type === 'retire') this.retire();
      else if (message?.type === 'stop') this.hurried = true;
      else if (message?.type === 'reopen') reopenLogs(this.log);
    });
    process.on('SIGUSR1', () => reopenLogs(this.log));
    // The terminal's and the arbiter's business.
    for (const signal of ['SIGHUP', 'SIGUSR2', 'SIGWINCH', 'SIGPIPE'] as const) process.on(signal, () => {});
  }

  /** Tells the arbiter that the main loop turns. */
  notify(): void {
    this.tell({ type: 'notify' });
  }

  protected tell(message: WorkerToArbiter): void {
    if (process.connected) process.send?.(message, undefined, {}, () => {});
  }

  startNotifying(): void {
    this.notify();
    this.notifier = setInterval(() => this.notify(), NOTIFY_MS);
  }

  /** Graceful end, once. */
  async handleExit(): Promise<void> {
    if (!this.alive) return;
    this.alive = false;
    this.tell({ type: 'leaving' });
    try {
      await this.stopGracefully();
    } catch (error) {
      this.log.error('Error while stopping', error);
    }
    this.exit(0);
  }

  handleQuit(): void {
    this.alive = false;
    this.hooks.workerInt((ok) => this.exit(ok ? 0 : HOOK_FAILED));
  }

  /** The arbiter's last word before KILL; heard only by a main thread that still turns. */
  handleAbort(): void {
    this.alive = false;
    this.log.error(`Worker aborted (pid: ${process.pid})`);
    this.hooks.workerAbort((ok) => this.exit(ok ? 1 : HOOK_FAILED));
  }

  /** Ends the process: at once, unless worker_exit returns a promise. A thread that nothing ends (it is in a system call) has a moment. */
  exit(code: number): void {
    if (this.notifier) clearInterval(this.notifier);
    this.hooks.workerExit(() => {
      native.exitWithin(code, EXIT_MS);
      process.exit(code);
    });
  }
}
