/**
 * What the service manager is told (systemd, Type=notify or notify-reload), as sd_notify() does it: datagrams of NAME=VALUE lines to
 * the unix socket in NOTIFY_SOCKET. READY=1 is said when the first worker has booted: from then on requests are answered, and
 * one worker that does not come up does not fail the service (gunicorn says it before any worker has started). After that the
 * status line follows the number of workers. The variables are taken out of the environment: workers do not speak for the service.
 * An arbiter that was started by another one (USR2) keeps silent until it is promoted: systemd listens to the main process only.
 * That one names its successor with its last word; otherwise its end would be taken for the service's.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../log.js';
import { EAGAIN, native } from '../native/binding.js';

const VARIABLES = ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID'] as const;
/** Pause before what the receiver had no room for is tried again. */
const RETRY_MS = 100;
/** How often that is done at the end. */
const LAST_TRIES = 10;
/** More than these are not kept for it. */
const MOST_WAITING = 16;
/** The most that setInterval() takes. */
const LONGEST_MS = 2 ** 31 - 1;

export class ServiceNotifier {
  readonly #log: () => Logger;
  /** A path, or @name; null: nobody wants to know. */
  readonly #address: string | null;
  readonly #watchdogMs: number;
  #watchdog: NodeJS.Timeout | null = null;
  #retry: NodeJS.Timeout | null = null;
  /** States in the order in which they go out. */
  #waiting: string[] = [];
  /** Another arbiter speaks for the service. */
  #silent: boolean;
  #ready = false;
  #stopping = false;
  #status = '';
  /** The present trouble is in the log. */
  #complained = false;

  /**
   * Takes NOTIFY_SOCKET and WATCHDOG_* out of `env`.
   * @param log the error log; asked for when it is needed, as a reload may change it.
   * @param replaces another arbiter has started this one and speaks for the service until promoted(). Default false.
   */
  constructor(log: () => Logger, replaces = false, env: NodeJS.ProcessEnv = process.env) {
    const { NOTIFY_SOCKET: address, WATCHDOG_USEC: usec = '', WATCHDOG_PID: pid } = env;
    for (const name of VARIABLES) delete env[name];
    this.#log = log;
    this.#address = address || null;
    this.#silent = replaces;
    // WATCHDOG_PID in the environment of one that replaces another is the first arbiter's.
    const ours = replaces || pid === undefined || pid === String(process.pid);
    this.#watchdogMs =
      ours && /^[1-9]\d{0,14}$/.test(usec) ? Math.min(LONGEST_MS, Math.max(1, Number(usec) / 2000)) : 0;
  }

  /** The arbiter begins: from now on the watchdog, if there is one, hears of it twice in its time. */
  begin(): void {
    if (this.#watchdogMs === 0 || this.#address === null) return;
    // A timer that fires says that the event loop turns, and so does the arbiter's, which waits for nothing but events.
    this.#watchdog = setInterval(() => {
      if (this.#waiting.length === 0) this.#send('WATCHDOG=1');
    }, this.#watchdogMs).unref();
  }

  /** How many workers have booted and how many are wanted: the status line, and with the first one READY=1. */
  serving(booted: number, wanted: number): void {
    // While a reload replaces them there are more than wanted.
    const status = `Serving with ${Math.min(booted, wanted)} of ${wanted} workers`;
    if (this.#stopping || (!this.#ready && booted === 0)) return;
    const news = status !== this.#status;
    this.#status = status;
    if (!this.#ready) {
      this.#ready = true;
      this.#introduce();
    } else if (news) this.#send(`STATUS=${status}`);
  }

  #introduce(): void {
    this.#send(`READY=1\nMAINPID=${process.pid}\nSTATUS=${this.#status}`);
  }

  /** HUP has begun. */
  reloading(): void {
    if (!this.#ready || this.#stopping) return;
    const usec = process.hrtime.bigint() / 1000n;
    this.#send(`RELOADING=1\nMONOTONIC_USEC=${usec}\nSTATUS=Reloading`);
  }

  /** HUP has been dealt with: the settings are the new ones, or stay as they were. */
  reloaded(): void {
    if (this.#ready && !this.#stopping) this.#send(`READY=1\nSTATUS=${this.#status}`);
  }

  /** The arbiter that this one replaces is gone: it is the main process now, and says so. */
  promoted(): void {
    this.#silent = false;
    if (this.#ready) this.#introduce();
    if (this.#watchdog !== null) this.#send('WATCHDOG=1');
  }

  /** The service is about to end; nothing but the watchdog hears of it after that. A second call does nothing. */
  stopping(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#send('STOPPING=1\nSTATUS=Stopping');
  }

  /**
   * The arbiter's last word where another one goes on serving (USR2), in place of stopping(). To be said at the very end:
   * from then on the watchdog expects the other one, which speaks when it finds itself promoted.
   */
  handOver(successor: number): void {
    this.#stopping = true;
    this.#send(`MAINPID=${successor}`);
    this.#endWatchdog();
  }

  /** What the receiver has no room for is tried for a second more. Never rejects. */
  async close(): Promise<void> {
    this.#endWatchdog();
    for (let tries = LAST_TRIES; tries > 0 && this.#waiting.length > 0; tries--) {
      await sleep(RETRY_MS);
      this.#flush();
    }
    if (this.#retry !== null) clearTimeout(this.#retry);
  }

  #endWatchdog(): void {
    if (this.#watchdog !== null) clearInterval(this.#watchdog);
    this.#watchdog = null;
  }

  #send(state: string): void {
    if (this.#address === null || this.#silent || this.#waiting.length >= MOST_WAITING) return;
    this.#waiting.push(state);
    if (this.#retry === null) this.#flush();
  }

  #flush(): void {
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#retry = null;
    for (let state = this.#waiting[0]; state !== undefined; state = this.#waiting[0]) {
      const result = put(this.#address!, state);
      if (result === EAGAIN) {
        this.#retry = setTimeout(() => this.#flush(), RETRY_MS).unref();
        return;
      }
      this.#waiting.shift();
      if (result < 0 && !this.#complained) {
        this.#log().debug(`Cannot notify the service manager at ${this.#address}: ${native.errnoName(result)}`);
      }
      this.#complained = result < 0;
    }
  }
}

/** One datagram over a socket of its own, so that a receiver that was started anew is found. @returns 0 or -errno. */
function put(address: string, state: string): number {
  const fd = native.socket('unix', true);
  if (fd < 0) return fd;
  const connected = native.connect(fd, 'unixDatagram', address);
  const result = connected < 0 ? connected : native.sendString(fd, state, 1);
  native.close(fd);
  return result;
}
