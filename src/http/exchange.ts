/**
 * The fetch path's own short way out (design, idea 9): one Exchange for each request, a response head made as one string and
 * sent with its body in one system call. No IncomingMessage or ServerResponse unless the handler asks for the body.
 *
 *     NEW --send--> DONE        NEW --writeHead--> STREAMING --end--> DONE        NEW, STREAMING --gone--> ABORTED
 *
 * In DONE and ABORTED nothing reaches the connection any more: by then it may serve another request, on another thread.
 */
import type { IncomingMessage } from 'node:http';
import { httpDate } from '../answers.js';
import { native } from '../native/binding.js';
import { STATUS_CODES } from '../node-http.js';
import type { ControlSource, RequestControl } from '../request.js';
import type { Connection } from './connection.js';
import type { OpenExchange } from './connection-host.js';
import { disconnected, makeRequest } from './message.js';
import type { RequestParser } from './parser.js';
import { timedHead, timingTrailer } from './server-timing.js';

const NEW = 0;
const STREAMING = 1;
const DONE = 2;
const ABORTED = 3;

/** What the exchange needs of the thread. */
export interface ExchangeHost {
  readonly parser: RequestParser;
  readonly clock: Int32Array;
  /** ` Keep-Alive` line with the timeout, or '' where connections are not kept. */
  readonly keepAliveLines: string;
  /** False: the connection ends after this response. */
  keeps(conn: Connection): boolean;
  failed(conn: Connection, error: unknown): void;
  /** An error that comes when the response is out already. */
  failedLate(method: string, target: string, error: unknown): void;
}

export class Exchange implements OpenExchange, ControlSource {
  readonly method: string;
  readonly target: string;
  readonly rawHeaders: string[];
  readonly scheme: 'http' | 'https';
  readonly hasBody: boolean;
  private readonly conn: Connection;
  private readonly host: ExchangeHost;
  private readonly versionMinor: number;
  private readonly keepAlive: boolean;
  private readonly complete: boolean;
  private state = NEW;
  private chunked = false;
  /** HEAD, 204, 304: the head says all. */
  private bodyless = false;
  /** Bytes of the body still to come where a length was declared, otherwise -1. */
  private left = -1;
  private request: IncomingMessage | null = null;
  /** A body that nobody had asked for when the response was out. */
  private kept: Buffer[] | null = null;
  private abortListeners: ((reason: Error) => void)[] | null = null;
  private drainListener: (() => void) | null = null;

  constructor(host: ExchangeHost, conn: Connection, complete: boolean) {
    const { parser } = host;
    this.host = host;
    this.conn = conn;
    this.method = parser.method;
    this.target = parser.url;
    this.rawHeaders = parser.headers;
    this.scheme = conn.secure ? 'https' : 'http';
    this.versionMinor = parser.versionMinor;
    this.keepAlive = parser.keepAlive;
    this.complete = complete;
    this.hasBody = !complete || conn.hasPieces;
  }

  get localAuthority(): string {
    const { localAddress, localPort } = this.conn.socket;
    if (!localAddress) return 'localhost';
    return localAddress.includes(':') ? `[${localAddress}]:${localPort}` : `${localAddress}:${localPort}`;
  }

  get req(): IncomingMessage {
    if (!this.request) {
      const { conn, method, target: url, rawHeaders: headers, versionMinor } = this;
      this.request = makeRequest(conn, { method, url, headers, versionMinor });
      this.request.complete = this.complete;
      if (conn.exchange === this) {
        conn.feed(this.request);
        conn.req = this.request;
      } else if (this.kept !== null) {
        // The response is out, and the connection has gone on.
        for (const piece of this.kept) this.request.push(piece);
        this.request.push(null);
        this.kept = null;
      }
    }
    return this.request;
  }

  keep(body: Buffer[]): void {
    if (body.length > 0) this.kept = body;
  }

  controlOf(): RequestControl | null {
    return this.conn.controlOf(this);
  }

  get aborted(): boolean {
    return this.state === ABORTED;
  }

  onAbort(fn: (reason: Error) => void): void {
    if (this.state === DONE) return;
    if (this.state === ABORTED) fn(disconnected(0));
    else if (this.abortListeners === null) this.abortListeners = [fn];
    else this.abortListeners.push(fn);
  }

  /** The connection broke, or the engine has ended the request. Listeners run in a tick. */
  gone(reason: Error): void {
    if (this.state !== ABORTED) this.abort(reason);
  }

  private abort(reason: Error): void {
    this.state = ABORTED;
    const listeners = this.abortListeners;
    const waiting = this.drainListener;
    this.abortListeners = this.drainListener = null;
    if (listeners !== null) for (const listener of listeners) process.nextTick(listener, reason);
    // Who waits for room looks at `aborted` then.
    if (waiting !== null) process.nextTick(waiting);
  }

  send(status: number, statusText: string, headers: string[], body: string | Uint8Array | null): void {
    if (this.state !== NEW) return;
    const { conn } = this;
    let head = this.head(status, statusText, headers);
    // What a GET would be answered is not known where HEAD was answered without it (Hono's way).
    const unknown = body === null && (status === 304 || this.method === 'HEAD');
    const declared = status === 204 || unknown ? -1 : lengthOf(body);
    if (declared >= 0) head += `Content-Length: ${declared}\r\n`;
    head += this.connectionLines();
    if (conn.host.serverTiming) head = timedHead(conn, head, false);
    this.state = DONE;
    conn.status = status;
    conn.head = head;
    const bodyless = this.method === 'HEAD' || status === 204 || status === 304;
    conn.whole();
    if (bodyless || body === null || declared === 0) this.sendText(head);
    else if (typeof body !== 'string') this.sendBytes(head, body);
    // Heads are latin1. A body with as many bytes as characters is ASCII and may go with it as one string.
    else if (declared === body.length) this.sendText(head + body);
    else this.sendBytes(head, Buffer.from(body));
    conn.responseDone(true);
  }

  writeHead(status: number, statusText: string, headers: string[], length: number | null): void {
    if (this.state !== NEW) return;
    const { conn } = this;
    let head = this.head(status, statusText, headers);
    const bodyless = this.method === 'HEAD' || status === 204 || status === 304;
    if (length !== null && status !== 204) head += `Content-Length: ${length}\r\n`;
    else if (status !== 204 && status !== 304) {
      if (this.versionMinor === 1) {
        head += 'Transfer-Encoding: chunked\r\n';
        this.chunked = !bodyless;
      } else conn.last = true;
    }
    this.bodyless = bodyless;
    this.left = bodyless ? -1 : (length ?? -1);
    head += this.connectionLines();
    if (conn.host.serverTiming) head = timedHead(conn, head, this.chunked);
    this.state = STREAMING;
    conn.status = status;
    conn.head = head;
    conn.socket.write(head, 'latin1');
  }

  write(chunk: Uint8Array): boolean {
    if (this.state !== STREAMING) return false;
    const { conn } = this;
    const size = chunk.byteLength;
    if (size === 0 || this.bodyless) return true;
    if (this.left >= 0) {
      if (size > this.left) {
        this.fail(new Error(`The body is longer than its Content-Length by at least ${size - this.left} bytes`));
        return false;
      }
      this.left -= size;
    }
    const { socket } = conn;
    if (!this.chunked) return socket.write(chunk);
    socket.cork();
    socket.write(`${size.toString(16)}\r\n`, 'latin1');
    socket.write(chunk);
    socket.write('\r\n', 'latin1');
    socket.uncork();
    return !socket.blocked;
  }

  onDrain(fn: () => void): void {
    if (this.state === STREAMING && this.conn.blocked) this.drainListener = fn;
    else queueMicrotask(fn);
  }

  get inChunks(): boolean {
    return this.chunked && this.state === STREAMING;
  }

  /** Queued output has left. */
  flushed(): void {
    const fn = this.drainListener;
    if (fn === null) return;
    this.drainListener = null;
    queueMicrotask(fn);
  }

  end(): void {
    if (this.state !== STREAMING) return;
    if (this.left > 0) {
      this.fail(new Error(`The body is shorter than its Content-Length by ${this.left} bytes`));
      return;
    }
    this.state = DONE;
    const { conn } = this;
    conn.whole();
    if (this.chunked) conn.socket.write(`0\r\n${conn.host.serverTiming ? timingTrailer(conn) : ''}\r\n`, 'latin1');
    conn.responseDone(true);
  }

  fail(error: unknown): void {
    if (this.state === DONE) this.host.failedLate(this.method, this.target, error);
    if (this.state === DONE || this.state === ABORTED) return;
    this.abort(disconnected(0));
    this.host.failed(this.conn, error);
  }

  private head(status: number, statusText: string, headers: string[]): string {
    let head = `HTTP/1.1 ${status} ${statusText === '' ? (STATUS_CODES[status] ?? 'Unknown') : statusText}\r\n`;
    let date = false;
    for (let i = 0; i < headers.length; i += 2) {
      const name = headers[i];
      // Framing and the connection are the engine's.
      if (name.length === 4 && name.toLowerCase() === 'date') date = true;
      else if (name.length >= 10 && isFraming(name)) {
        if (name.toLowerCase() === 'connection' && /\bclose\b/i.test(headers[i + 1])) this.conn.last = true;
        continue;
      }
      head += `${name}: ${headers[i + 1]}\r\n`;
    }
    if (!date) head += `Date: ${httpDate(this.host.clock[0])}\r\n`;
    return head;
  }

  private connectionLines(): string {
    const { conn, host } = this;
    if (conn.last || !this.keepAlive || !host.keeps(conn)) {
      conn.last = true;
      return 'Connection: close\r\n\r\n';
    }
    return host.keepAliveLines;
  }

  /** Sends what is latin1 in one system call. */
  private sendText(text: string): void {
    const { conn } = this;
    if (!conn.beforeSend()) return;
    if (conn.blocked) {
      conn.socket.write(text, 'latin1');
      return;
    }
    const left = native.sendString(conn.fd, text, 0, conn.hold(), conn.outcome());
    if (left >= 0) conn.directBytes += this.host.clock[1];
    if (left === 0) return;
    // Partly taken, or not at all: the socket waits with the rest, or meets the error itself.
    const bytes = Buffer.from(text, 'latin1');
    conn.socket.write(left > 0 ? bytes.subarray(bytes.length - left) : bytes);
  }

  private sendBytes(head: string, body: Uint8Array): void {
    const { conn } = this;
    conn.socket.cork();
    conn.socket.write(head, 'latin1');
    conn.socket.write(body);
    conn.socket.uncork();
  }
}

const FRAMING = new Set(['connection', 'keep-alive', 'transfer-encoding', 'content-length']);

function isFraming(name: string): boolean {
  return FRAMING.has(name.toLowerCase());
}

function lengthOf(body: string | Uint8Array | null): number {
  if (body === null) return 0;
  return typeof body === 'string' ? Buffer.byteLength(body) : body.byteLength;
}
