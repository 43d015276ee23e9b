/**
 * Lines to syslog, in the form that gunicorn sends (Python's SysLogHandler): `<PRIORITY>PROGRAM: [PID] MESSAGE`, without time
 * and host, which the server adds. A datagram is a message; in a stream a message ends with a newline (TCP; RFC 6587, 3.4.2)
 * or a NUL (unix sockets, as syslog(3) has it).
 *
 * write() sends at once where the server takes it. What it does not take waits, up to a bound, and is tried again; more is
 * dropped and counted. Nothing throws or blocks.
 */
import { FACILITIES, type Facility, parseSyslogAddress } from '../config/log-address.js';
import type { LogLevel } from '../config/settings.js';
import { EAGAIN } from '../native/binding.js';
import type { Recovered } from './file-sink.js';
import { isTooLong, LogSocket, reasonOf } from './log-socket.js';

/** Where and as what a process writes to syslog. */
export interface SyslogOptions {
  address: string;
  facility: Facility;
  /** Program name. */
  program: string;
}

/** syslog's severities. */
const SEVERITY: Record<LogLevel, number> = { debug: 7, info: 6, warning: 4, error: 3, critical: 2 };

/** Bytes that wait for a server that does not take them. */
const MAX_HELD = 1024 * 1024;
/** Longest message; rsyslog's default. Longer ones are cut. */
const MAX_MESSAGE = 8192;
/** Least size that any server takes (RFC 5426); where the system refuses more. */
const SHORT_MESSAGE = 1024;
/** A server is taken to work again after so many datagrams in a row without an error: the error comes with the next one. */
const PROOF = 2;
const RETRY_MS = 5;

export class SyslogSink {
  /** Messages lost so far. */
  dropped = 0;
  onRecovered: Recovered | null = null;
  readonly #socket: LogSocket;
  readonly #facility: number;
  readonly #program: string;
  readonly #end: Buffer;
  #waiting: Buffer[] = [];
  #size = 0;
  /** Bytes of the first one that have left. */
  #sent = 0;
  #lost = 0;
  #why = '';
  /** Sends without an error that are missing until the server counts as back. */
  #proof = 0;
  #retry: NodeJS.Timeout | null = null;
  #open = true;

  constructor({ address, facility, program }: SyslogOptions) {
    const where = parseSyslogAddress(address);
    this.#socket = new LogSocket(where);
    this.#facility = FACILITIES[facility] * 8;
    this.#program = program;
    this.#end = Buffer.from(where.family === 'unix' ? '\0' : '\n');
    openSinks.add(this);
  }

  /** Sends one message. Its text has no control characters. Never throws. */
  write(level: LogLevel, text: string): void {
    const bytes = cut(Buffer.from(`<${this.#facility + SEVERITY[level]}>${this.#program}: ${text}`), MAX_MESSAGE);
    if (!this.#open || this.#size + bytes.length > MAX_HELD) {
      this.#lose('the server takes nothing');
      return;
    }
    this.#waiting.push(bytes);
    this.#size += bytes.length;
    this.flush();
  }

  /** Sends what waits. @returns false if some of it still does. */
  flush(): boolean {
    while (this.#waiting.length > 0) {
      const message = this.#waiting[0];
      const opened = this.#socket.open();
      const stream = this.#socket.isStream;
      const bytes = stream ? Buffer.concat([message, this.#end]) : message;
      const n = opened < 0 ? opened : this.#socket.send(bytes, this.#sent);
      if (n >= 0) {
        this.#sent += n;
        if (this.#sent < bytes.length && stream) continue;
        this.#shift();
        if (this.#proof > 0) this.#proof--;
      } else if (isTooLong(n) && message.length > SHORT_MESSAGE) {
        this.#waiting[0] = cut(message, SHORT_MESSAGE);
        this.#size -= message.length - SHORT_MESSAGE;
      } else if (n === EAGAIN || stream || this.#socket.restMs > 0) {
        if (n !== EAGAIN) this.#failed(n);
        this.#later();
        return false;
      } else {
        // The error is that of an earlier datagram: that one is lost, this one has not been sent.
        this.#failed(n);
        this.#lose(reasonOf(n));
        if (isTooLong(n)) this.#shift();
      }
    }
    if (this.#lost > 0 && this.#proof === 0) {
      const lost = this.#lost;
      this.#lost = 0;
      this.onRecovered?.(lost, this.#why);
    }
    return true;
  }

  #shift(): void {
    this.#size -= this.#waiting[0].length;
    this.#waiting.shift();
    this.#sent = 0;
  }

  #failed(n: number): void {
    // What a stream has not finished begins anew on the next connection.
    this.#sent = 0;
    this.#proof = PROOF;
    this.#why = reasonOf(n);
  }

  #lose(why: string): void {
    this.dropped++;
    this.#lost++;
    this.#why = why;
  }

  #later(): void {
    if (this.#retry !== null || !this.#open) return;
    this.#retry = setTimeout(
      () => {
        this.#retry = null;
        this.flush();
      },
      Math.max(RETRY_MS, this.#socket.restMs),
    ).unref();
  }

  /** Sends what waits, with patience of `ms` at most. For the end of a process. */
  drain(ms: number): void {
    const until = performance.now() + ms;
    const nap = new Int32Array(new SharedArrayBuffer(4));
    while (!this.flush() && performance.now() < until && this.#socket.restMs === 0) Atomics.wait(nap, 0, 0, 10);
  }

  /** Later messages are dropped. A second call does nothing. */
  close(): void {
    if (!this.#open) return;
    this.drain(DRAIN_MS);
    this.#open = false;
    if (this.#retry !== null) clearTimeout(this.#retry);
    openSinks.delete(this);
    this.#socket.close();
  }
}

/** Longest wait for a server at the end of a process or thread, ms. */
const DRAIN_MS = 200;
const openSinks = new Set<SyslogSink>();
process.once('exit', () => {
  for (const sink of openSinks) sink.drain(DRAIN_MS);
});

/** The first bytes of a message, no character of it halved. */
function cut(bytes: Buffer, length: number): Buffer {
  if (bytes.length <= length) return bytes;
  let end = length;
  while ((bytes[end] & 0xc0) === 0x80) end--;
  return bytes.subarray(0, end);
}
