/**
 * The fetch path's own short way out (design, idea 9): one Exchange for each request, a response head made as one string and
 * sent with its body in one system call. No IncomingMessage or ServerResponse unless the handler asks for the body.
 *
 *     NEW --send--> DONE        NEW --writeHead--> STREAMING --end--> DONE        any --connection gone--> ABORTED
 */
import type { IncomingMessage } from 'node:http';
import { STATUS_CODES } from 'node:http';
import { native } from '../native/binding.js';
import type { Connection } from './connection.js';
import { httpDate } from './date.js';
import { makeRequest } from './message.js';
import type { RequestParser } from './parser.js';

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
}

export class Exchange {
  readonly method: string;
  readonly target: string;
  readonly rawHeaders: string[];
  readonly scheme = 'http';
  readonly hasBody: boolean;
  private readonly conn: Connection;
  private readonly host: ExchangeHost;
  private readonly versionMinor: number;
  private readonly keepAlive: boolean;
  private readonly complete: boolean;
  private state = NEW;
  private chunked = false;
  /** Bytes of the body still to come where a length was declared, otherwise -1. */
  private left = -1;
  private request: IncomingMessage | null = null;

  constructor(host: ExchangeHost, conn: Connection, complete: boolean) {
    const { parser } = host;
    this.host = host;
    this.conn = conn;
    this.method = parser.method;
    this.target = parser.url;
    this.rawHeaders = parser.headers;
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
      const { method, target: url, rawHeaders: headers, versionMinor } = this;
      this.request = makeRequest(this.conn, { method, url, headers, versionMinor }, this.complete);
      this.conn.req = this.request;
    }
    return this.request;
  }

  get aborted(): boolean {
    return this.state === ABORTED;
  }

  onAbort(fn: (reason: Error) => void): void {
    if (this.state === DONE) return;
    if (this.state === ABORTED) {
      fn(new Error('aborted'));
      return;
    }
    const before = this.conn.onGone;
    this.conn.onGone = before
      ? (reason) => {
          before(reason);
          fn(reason);
        }
      : fn;
  }

  /** The connection is gone; called by the thread before onAbort's functions. */
  abort(): void {
    if (this.state !== DONE) this.state = ABORTED;
  }

  send(status: number, statusText: string, headers: string[], body: string | Uint8Array | null): void {
    if (this.state !== NEW) return;
    const { conn } = this;
    const bodyless = this.method === 'HEAD' || status === 204 || status === 304;
    let head = this.head(status, statusText, headers);
    const declared = status === 204 || (status === 304 && body === null) ? -1 : lengthOf(body);
    if (declared >= 0) head += `Content-Length: ${declared}\r\n`;
    head += this.connectionLines();
    this.state = DONE;
    conn.status = status;
    conn.headBytes = head.length;
    conn.beforeSend();
    if (bodyless || body === null || body.length === 0) this.sendText(head, false);
    else if (typeof body === 'string') this.sendText(head + body, true);
    else this.sendBytes(head, body);
    conn.responseDone();
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
    this.left = bodyless ? 0 : (length ?? -1);
    head += this.connectionLines();
    this.state = STREAMING;
    conn.status = status;
    conn.headBytes = head.length;
    conn.socket.write(head, 'latin1');
  }

  write(chunk: Uint8Array): boolean {
    if (this.state !== STREAMING) return this.state !== ABORTED;
    const { conn } = this;
    const size = chunk.byteLength;
    if (size === 0 || (this.left === 0 && this.method === 'HEAD')) return true;
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
    const { conn } = this;
    if (!conn.socket.blocked) {
      queueMicrotask(fn);
      return;
    }
    conn.onFlushed = () => {
      conn.onFlushed = null;
      fn();
    };
  }

  end(): void {
    if (this.state !== STREAMING) return;
    if (this.left > 0) {
      this.fail(new Error(`The body is shorter than its Content-Length by ${this.left} bytes`));
      return;
    }
    this.state = DONE;
    const { conn } = this;
    if (this.chunked) conn.socket.write('0\r\n\r\n', 'latin1');
    conn.responseDone();
  }

  fail(error: unknown): void {
    if (this.state === DONE || this.state === ABORTED) return;
    this.state = DONE;
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

  private sendText(text: string, utf8: boolean): void {
    const { conn } = this;
    if (conn.hasSocket && conn.socket.blocked) {
      conn.socket.write(text, utf8 ? 'utf8' : 'latin1');
      return;
    }
    const left = native.sendString(conn.fd, text, utf8 ? 1 : 0);
    if (left >= 0) conn.directBytes += this.host.clock[1];
    if (left === 0) return;
    // Partly taken, or not at all: the socket waits with the rest, or meets the error itself.
    const bytes = Buffer.from(text, utf8 ? 'utf8' : 'latin1');
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
