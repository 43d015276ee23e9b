/**
 * Signals of the arbiter's process. As in gunicorn, a handler only puts its signal into a queue and wakes the loop; the
 * loop decides. Signals arrive on the main thread as events, so nothing here needs to be reentrant. CHLD is not among them: that a child
 * has ended is told by its handle, and strays.ts sees to those that nobody has a handle of.
 */
import { readFileSync } from 'node:fs';

/** What the arbiter listens to. */
const HANDLED: readonly NodeJS.Signals[] = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGTERM',
  'SIGTTIN',
  'SIGTTOU',
  'SIGUSR1',
  'SIGUSR2',
  'SIGWINCH',
];
const ENDING: ReadonlySet<NodeJS.Signals> = new Set(['SIGINT', 'SIGQUIT', 'SIGTERM'] as const);

/** More waiting signals than this are a flood; only those that end the arbiter still get in. */
const MAX_WAITING = 32;

export class SignalQueue {
  #waiting: NodeJS.Signals[] = [];
  readonly #wake: () => void;
  readonly #enqueue = (signal: NodeJS.Signals): void => {
    if (this.#waiting.length >= MAX_WAITING && !ENDING.has(signal)) return;
    this.#waiting.push(signal);
    this.#wake();
  };

  /** @param wake called after each signal; must not throw. */
  constructor(wake: () => void) {
    this.#wake = wake;
  }

  /** Starts to listen. Until uninstall() the process does not end by these signals. */
  install(): void {
    for (const signal of HANDLED) process.on(signal, this.#enqueue);
  }

  uninstall(): void {
    for (const signal of HANDLED) process.removeListener(signal, this.#enqueue);
  }

  get empty(): boolean {
    return this.#waiting.length === 0;
  }

  /** True if TERM, INT or QUIT waits: a reason to give up what is being waited for. */
  get ending(): boolean {
    return this.#waiting.some((s) => ENDING.has(s));
  }

  /** The oldest signal, taken out. */
  shift(): NodeJS.Signals | undefined {
    return this.#waiting.shift();
  }
}

/**
 * Whether WINCH may come from the kernel, because a terminal's window has another size: that goes to the foreground process group
 * of the terminal, and to nobody else. So a daemon, a service, a container without a terminal and a job in the background can be sure
 * that somebody has sent it. True where /proc does not tell.
 */
export function mayBeResize(): boolean {
  try {
    const stat = readFileSync('/proc/self/stat', 'utf8');
    // Behind the name in parentheses: state, parent, group, session, terminal (0 = none), its foreground group.
    const [, , group, , terminal, foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return terminal !== '0' && foreground === group;
  } catch {
    return true;
  }
}

/** 'term' for 'SIGTERM', as gunicorn's log lines have it. */
export function shortName(signal: NodeJS.Signals): string {
  return signal.slice(3).toLowerCase();
}
