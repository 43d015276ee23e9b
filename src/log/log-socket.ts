/**
 * A socket to a log server or to statsd: opened when it is first needed and again after it broke, never waited for. It is
 * made of the addon's calls rather than Node's sockets, which have no unix datagrams and send from the event loop: here a
 * message has left when send() returns, also in a thread that does not turn its loop any more.
 */
import { lookup } from 'node:dns';
import { isIP } from 'node:net';
import type { LogAddress } from '../config/log-address.js';
import { EAGAIN, type Family, native } from '../native/binding.js';

const EINPROGRESS = -115;
const EALREADY = -114;
const EPROTOTYPE = -91;
const ENOTCONN = -107;
const EHOSTUNREACH = -113;
/** Pause between two tries to open it, ms. */
const REOPEN_MS = 1000;

export class LogSocket {
  readonly #address: LogAddress;
  #fd = -1;
  #isStream: boolean;
  /** Numeric address of the host; null while it is looked up. */
  #ip: string | null = null;
  #looking = false;
  #notBefore = 0;
  #closed = false;

  constructor(address: LogAddress) {
    this.#address = address;
    this.#isStream = address.stream === true;
    if (address.family === 'inet') this.#ip = numeric(address.host);
  }

  /** What is sent has to say where it ends. Of a unix socket that may be either it is only known when it is open. */
  get isStream(): boolean {
    return this.#isStream;
  }

  /** ms until it may be opened again, 0 = now or open. */
  get restMs(): number {
    return this.#fd >= 0 ? 0 : Math.max(0, this.#notBefore - performance.now());
  }

  /** Sends bytes from `at` on: how many left, or -errno; -EAGAIN: not now. A socket that broke is opened again later. */
  send(bytes: Buffer, at: number): number {
    const result = this.open();
    if (result < 0) return result;
    // A server that went away is noticed before the line is lost in the kernel's buffer.
    if (this.#isStream && native.hangup(this.#fd) > 0) return this.#broken(ENOTCONN);
    const n = native.send(this.#fd, bytes, at, bytes.length - at);
    if (n >= 0 || n === EAGAIN || n === EALREADY) return n === EALREADY ? EAGAIN : n;
    // A datagram that nobody takes says nothing of the next one; but a unix socket's server may come back as another one.
    if (!this.#isStream && this.#address.family === 'inet') return n;
    return this.#broken(n);
  }

  /** Opens it if it is not: 0, or -errno; -EAGAIN: not now. */
  open(): number {
    if (this.#fd >= 0) return 0;
    if (this.#closed) return ENOTCONN;
    if (this.restMs > 0) return EAGAIN;
    const { family } = this.#address;
    if (family === 'unix') {
      const { path, stream } = this.#address;
      let result = this.#connect('unix', path, 0);
      if (result === EPROTOTYPE && stream === null) {
        this.#isStream = !this.#isStream;
        result = this.#connect('unix', path, 0);
      }
      return result;
    }
    if (this.#ip === null) {
      this.#lookUp(this.#address.host);
      return EAGAIN;
    }
    return this.#connect(isIP(this.#ip) === 6 ? 'tcp6' : 'tcp4', this.#ip, this.#address.port);
  }

  #connect(family: Family, address: string, port: number): number {
    const fd = native.socket(family, !this.#isStream);
    if (fd < 0) return fd;
    const result = native.connect(fd, family, address, port);
    if (result < 0 && result !== EINPROGRESS) {
      native.close(fd);
      // Tried as the other type of socket at once.
      if (result !== EPROTOTYPE) this.#notBefore = performance.now() + REOPEN_MS;
      return result;
    }
    this.#fd = fd;
    return 0;
  }

  #lookUp(host: string): void {
    if (this.#looking) return;
    this.#looking = true;
    lookup(host, (err, ip) => {
      this.#looking = false;
      if (err === null) this.#ip = ip;
      else this.#notBefore = performance.now() + REOPEN_MS;
    });
  }

  #broken(result: number): number {
    this.#drop();
    this.#notBefore = performance.now() + REOPEN_MS;
    // It may have moved.
    if (this.#address.family === 'inet') this.#ip = numeric(this.#address.host);
    return result;
  }

  #drop(): void {
    if (this.#fd >= 0) native.close(this.#fd);
    this.#fd = -1;
  }

  /** A second call does nothing. */
  close(): void {
    this.#closed = true;
    this.#drop();
  }
}

/** An address without asking anybody; null if somebody has to be asked. */
function numeric(host: string): string | null {
  if (isIP(host) > 0) return host;
  return host === 'localhost' ? '127.0.0.1' : null;
}

/** True for errors of a message that is too long for a datagram. */
export function isTooLong(result: number): boolean {
  return result === -90;
}

/** What `why` says of an error of send(). */
export function reasonOf(result: number): string {
  return result === ENOTCONN || result === EHOSTUNREACH ? 'the server went away' : native.errnoName(result);
}
