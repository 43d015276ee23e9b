/** An HTTP client on a bare socket: writes what it is told, and reads responses one by one, whatever was asked for. */
import { connect, type Socket } from 'node:net';
import { until } from './poll.js';

export interface RawResponse {
  status: number;
  version: string;
  /** All of the head, latin1. */
  head: string;
  /** Names in lower case; those that come more than once joined by ', '. */
  headers: Record<string, string>;
  /** Body without its framing, latin1. */
  body: string;
  /** Ended by the close of the connection. */
  untilClose: boolean;
}

export class RawClient {
  readonly socket: Socket;
  /** Bytes that no response has taken yet. */
  data = Buffer.alloc(0);
  /** Bytes that have come in all. */
  received = 0;
  /** The server has ended its side. */
  ended = false;
  error: NodeJS.ErrnoException | null = null;
  private wake: () => void = () => {};

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk) => {
      this.data = this.data.length === 0 ? chunk : Buffer.concat([this.data, chunk]);
      this.received += chunk.length;
      this.wake();
    });
    socket.on('end', () => {
      this.ended = true;
      this.wake();
    });
    socket.on('error', (error) => {
      this.error = error;
      this.wake();
    });
    socket.on('close', () => {
      this.ended = true;
      this.wake();
    });
  }

  /** path: a unix socket, in place of the port. localAddress: to connect from; all of 127.0.0.0/8 is this machine's. */
  static connect(
    port: number,
    options: { readableHighWaterMark?: number; localAddress?: string; path?: string } = {},
  ): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true, ...options });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new RawClient(socket));
      });
    });
  }

  get port(): number {
    return this.socket.localPort!;
  }

  write(text: string | Uint8Array): void {
    this.socket.write(typeof text === 'string' ? Buffer.from(text, 'latin1') : text);
  }

  /** Writes, and resolves when the kernel has taken it: what follows goes in a packet of its own. */
  send(text: string | Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      this.socket.write(typeof text === 'string' ? Buffer.from(text, 'latin1') : text, () => setImmediate(resolve));
    });
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** Waits for bytes until `look` finds what it wants in them. */
  async when<T>(look: () => T | null | undefined, what: string, timeoutMs = 10_000): Promise<T> {
    const end = performance.now() + timeoutMs;
    for (;;) {
      const found = look();
      if (found !== null && found !== undefined) return found;
      const left = end - performance.now();
      if (this.ended || this.error || left <= 0) {
        const why = this.error ? this.error.message : this.ended ? 'the connection ended' : `${timeoutMs} ms passed`;
        throw new Error(
          `${why} before ${what}; received ${JSON.stringify(this.data.toString('latin1').slice(0, 500))}`,
        );
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** The next whole response. head: it answers HEAD. */
  async response(options: { head?: boolean; timeoutMs?: number } = {}): Promise<RawResponse> {
    const what = 'a whole response';
    const head = await this.when(() => this.takeHead(), what, options.timeoutMs);
    const lines = head.split('\r\n');
    const [, version, status] = /^(HTTP\/\d\.\d) (\d\d\d)/.exec(lines[0]) ?? [];
    if (!status) throw new Error(`no status line: ${JSON.stringify(head)}`);
    const headers: Record<string, string> = {};
    for (const line of lines.slice(1)) {
      const colon = line.indexOf(':');
      const name = line.slice(0, colon).toLowerCase();
      const value = line.slice(colon + 1).trim();
      headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
    }
    const response = { status: Number(status), version, head, headers, body: '', untilClose: false };
    if (options.head || response.status < 200 || response.status === 204 || response.status === 304) return response;
    if (headers['transfer-encoding'] === 'chunked') response.body = await this.when(() => this.takeChunks(), what);
    else if (headers['content-length'] !== undefined) {
      const length = Number(headers['content-length']);
      response.body = (
        await this.when(() => (this.data.length >= length ? this.take(length) : null), what, options.timeoutMs)
      ).toString('latin1');
    } else {
      response.untilClose = true;
      await this.closed(options.timeoutMs);
      response.body = this.take(this.data.length).toString('latin1');
    }
    return response;
  }

  /** Waits until the server has closed, without reset; returns what is left unread, latin1. */
  async end(timeoutMs = 10_000): Promise<string> {
    await this.closed(timeoutMs);
    if (this.error) throw this.error;
    return this.data.toString('latin1');
  }

  async closed(timeoutMs = 10_000): Promise<void> {
    await until(() => this.ended || this.error !== null, { timeoutMs, what: 'the server to close', everyMs: 2 });
  }

  private take(length: number): Buffer {
    const taken = this.data.subarray(0, length);
    this.data = this.data.subarray(length);
    return taken;
  }

  private takeHead(): string | null {
    const end = this.data.indexOf('\r\n\r\n');
    return end < 0 ? null : this.take(end + 4).toString('latin1', 0, end);
  }

  private takeChunks(): string | null {
    const parts: Buffer[] = [];
    let at = 0;
    for (;;) {
      const line = this.data.indexOf('\r\n', at);
      if (line < 0) return null;
      const text = this.data.toString('latin1', at, line);
      if (!/^[0-9a-f]+$/.test(text)) throw new Error(`no chunk size: ${JSON.stringify(text)}`);
      const size = Number.parseInt(text, 16);
      const end = line + 2 + size + 2;
      if (this.data.length < end) return null;
      if (this.data.toString('latin1', end - 2, end) !== '\r\n') throw new Error('a chunk is longer than its size');
      parts.push(this.data.subarray(line + 2, end - 2));
      at = end;
      if (size === 0) break;
    }
    this.take(at);
    return Buffer.concat(parts).toString('latin1');
  }
}
