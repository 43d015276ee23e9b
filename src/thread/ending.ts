/**
 * The end of a program. One that cleans up behind itself (closes its database, sends what its telemetry holds) does so in a listener
 * for SIGTERM, and then exits. A signal is the process's and comes to no thread; so a thread that ends in peace calls these listeners itself,
 * behind its last request, and gives them time as Node does: until the program exits or signals itself, or nothing is left in the
 * event loop; but not longer than the thread has. Upgraded connections are no requests: it is the program that knows how to part from them.
 */
import { isMainThread } from 'node:worker_threads';
import { resources, untilIdle } from '../app/idle.js';
import type { Logger } from '../log.js';

const SIGNAL = 'SIGTERM';
const NUMBER = 15;
/** What the thread needs for its own end, ms; less where it has little time. */
const REST_MS = 500;

type Listener = (signal: string, number: number) => unknown;

export class Ending {
  /** The program has exited, as far as it can. */
  exited = false;
  private readonly log: Logger;
  private running: Promise<void> | null = null;
  /** Class sync: the program's listeners. */
  private readonly kept: Listener[] = [];
  /** What is there without the program: nothing in a thread of its own; in class sync also main's timer for the thread's end. */
  private readonly baseline = isMainThread ? resources() + 1 : 0;

  /** Before the app is loaded. */
  constructor(log: Logger) {
    this.log = log;
    if (isMainThread) this.keepFromSignal();
  }

  /** In class sync the signal does come, to the worker; it is answered by the worker, not by the program in the middle of a request. */
  private keepFromSignal(): void {
    process.on('newListener', (event: string, listener: Listener) => {
      if (event !== SIGNAL) return;
      this.kept.push(listener);
      process.nextTick(() => process.off(SIGNAL, listener));
    });
  }

  /** Calls the listeners, once, if there are any, and resolves when the program has ended or ms are over. Never rejects. */
  async run(ms: number): Promise<void> {
    const listeners = isMainThread ? this.kept : (process.rawListeners(SIGNAL) as Listener[]);
    if (listeners.length > 0) this.running ??= this.call(listeners, ms);
    await this.running;
  }

  private async call(listeners: readonly Listener[], ms: number): Promise<void> {
    const until = performance.now() + ms - Math.min(REST_MS, ms / 4);
    const restore = takeExit(() => {
      this.exited = true;
    });
    for (const listener of listeners) {
      try {
        listener.call(process, SIGNAL, NUMBER);
      } catch (error) {
        this.log.error(`Error in the app's listener for ${SIGNAL}`, error);
      }
    }
    const idle = await untilIdle(this.baseline, () => this.exited || performance.now() >= until);
    if (idle) process.exit();
    else if (!this.exited)
      this.log.warning(`The app listens for ${SIGNAL} and has not ended itself (process.exit()) in time; going on`);
    // A program that has exited may say so again; in class sync the worker itself is to exit.
    if (isMainThread || !this.exited) restore();
  }
}

/** Replaces what ends the program; returns what puts Node's own back. A thread's 'exit' is emitted here; in class sync the process's comes. */
function takeExit(exited: () => void): () => void {
  const { exit, kill } = process;
  let over = false;
  const end = (code?: number | string | null): void => {
    if (over) return;
    over = true;
    if (!isMainThread) process.emit('exit', Number(code ?? process.exitCode ?? 0));
    exited();
  };
  process.exit = end as typeof exit;
  process.kill = (pid, signal) => {
    if (pid !== process.pid || signal === 0) return kill.call(process, pid, signal);
    end();
    return true;
  };
  return () => Object.assign(process, { exit, kill });
}
