/**
 * A client that loads a server with requests which can be told apart: each carries its own id in URL, header and body,
 * and each response has to repeat all three. Raw sockets; requests are pipelined, split at random and sent with a length
 * or in chunks; responses are parsed strictly (response-parser.ts) and have to come in order.
 *
 * What goes with a connection that ends is counted, not judged: `lost` had no byte of a response, `cut` had some. A test
 * says what it allows. Whatever is wrong in itself stands in `wrong`.
 */
import { connect, type Socket } from 'node:net';
import { Random } from './random.js';
import { type Response, ResponseParser, show } from './response-parser.js';

/** What the echo apps (test/stress/apps) can be asked to do, with how often. */
export type Mode = 'echo' | 'chunks' | 'stream' | 'sync' | 'timer' | 'brisk' | 'spin' | 'exit' | 'throw' | 'bomb';

export interface LoadOptions {
  target: { host?: string; port: number } | { path: string };
  seed: number;
  connections?: number;
  /** Ends after so many requests, or when stop() is called. */
  total?: number;
  /** Most requests outstanding on a connection. */
  depth?: number;
  /** Longest request body; 0: only GETs. */
  maxBody?: number;
  modes?: readonly Mode[];
  /** Chance that a request asks for the connection to be closed after it. */
  closeChance?: number;
  /** Responses with this status are allowed in place of an echo. */
  allowStatus?: readonly number[];
  /** Connections may fail, refuse and end at any time: they are made anew. */
  faults?: boolean;
  /** Connections that ended are not made anew. */
  once?: boolean;
  /** The server may say Connection: close at any response. Use it with depth 1: what was sent behind such a response is lost. */
  allowClose?: boolean;
  /** Chance of a pause (ms, at random up to pauseMs) before a request. */
  pauseChance?: number;
  pauseMs?: number;
  /** A whole response that took longer (ms) is listed in `slow`. */
  slowMs?: number;
  /** Source addresses, used in turn. */
  localAddresses?: readonly string[];
}

export interface LoadResult {
  sent: number;
  ok: number;
  /** Allowed statuses other than 200. */
  refused: Map<number, number>;
  /** Requests whose connection ended before a byte of their response. */
  lost: number;
  /** Requests whose response was cut. */
  cut: number;
  connects: number;
  connectFailures: number;
  wrong: string[];
  slow: string[];
  /** Ids of the requests that got a whole response. */
  answered: Set<string>;
  cutIds: string[];
  /** ms, one for each whole response (the first million). */
  latencies: number[];
}

interface Pending {
  id: string;
  mode: Mode;
  body: Buffer;
  sentAt: number;
  lastOne: boolean;
}

/** A connection on which nothing comes for so long, although a response is due, is forgotten by the server, ms. */
const FORGOTTEN_MS = 20_000;

const NOISE = makeNoise();

/** Bytes that no two places of have alike. */
function makeNoise(): Buffer {
  const random = new Random(4711);
  const bytes = Buffer.alloc(256 * 1024);
  for (let i = 0; i < bytes.length; i++) bytes[i] = random.int(0, 255);
  return bytes;
}

export function percentile(values: readonly number[], p: number): number {
  if (values.length === 0) return 0;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((p / 100) * sorted.length))];
}

export class LoadClient {
  readonly result: LoadResult = {
    sent: 0,
    ok: 0,
    refused: new Map(),
    lost: 0,
    cut: 0,
    connects: 0,
    connectFailures: 0,
    wrong: [],
    slow: [],
    answered: new Set(),
    cutIds: [],
    latencies: [],
  };
  readonly o: LoadOptions;
  readonly random: Random;
  private readonly conns = new Set<ClientConn>();
  private running = 0;
  private stopped = false;
  private finish: (result: LoadResult) => void = () => {};

  constructor(options: LoadOptions) {
    this.o = options;
    this.random = new Random(options.seed);
  }

  /** Resolves when all requests are answered or lost. */
  run(): Promise<LoadResult> {
    return new Promise((resolve) => {
      const watch = setInterval(() => {
        for (const conn of this.conns) conn.checkForgotten();
      }, 1000);
      this.finish = (result) => {
        clearInterval(watch);
        resolve(result);
      };
      const n = this.o.connections ?? 64;
      this.running = n;
      for (let i = 0; i < n; i++) this.open(i);
    });
  }

  /** Sends nothing new; run() resolves when what is outstanding has been answered. */
  stop(): void {
    this.stopped = true;
    for (const conn of this.conns) conn.pump();
  }

  /** Requests outstanding now. */
  get outstanding(): number {
    let n = 0;
    for (const conn of this.conns) n += conn.pending.length;
    return n;
  }

  get done(): boolean {
    return (
      this.stopped || (this.o.total !== undefined && this.result.sent >= this.o.total) || this.result.wrong.length > 20
    );
  }

  /** For connection `index`, now or after a failed try. */
  private open(index: number): void {
    if (this.done) return this.leave();
    const conn = new ClientConn(this, index);
    this.conns.add(conn);
  }

  /** A connection ended. */
  over(conn: ClientConn, failed: boolean): void {
    this.conns.delete(conn);
    if (failed) {
      this.result.connectFailures++;
      setTimeout(() => this.open(conn.index), 5);
    } else if (this.o.once) this.leave();
    else this.open(conn.index);
  }

  private leave(): void {
    if (--this.running === 0) this.finish(this.result);
  }
}

class ClientConn {
  readonly index: number;
  readonly pending: Pending[] = [];
  private readonly client: LoadClient;
  private readonly socket: Socket;
  private readonly parser: ResponseParser;
  private readonly depth: number;
  private connected = false;
  /** Bytes to send, still to be split. */
  private out: Buffer[] = [];
  private sending = false;
  /** No request may follow on this connection. */
  private finished = false;
  private ended = false;
  private pausing = false;
  private heardAt = 0;

  constructor(client: LoadClient, index: number) {
    this.client = client;
    this.index = index;
    const { target, localAddresses, depth = 16 } = client.o;
    this.depth = client.random.int(1, depth);
    const localAddress = localAddresses?.[index % localAddresses.length];
    this.socket = connect('path' in target ? target : { host: '127.0.0.1', ...target, localAddress });
    this.socket.setNoDelay(true);
    this.parser = new ResponseParser(() => this.pending.length > 0);
    this.socket.on('connect', () => {
      this.connected = true;
      client.result.connects++;
      this.pump();
    });
    this.socket.on('data', (data) => this.onData(data));
    this.socket.on('end', () => this.onEnd());
    this.socket.on('error', (error: NodeJS.ErrnoException) => {
      if (!client.o.faults && !this.ended && !this.finished) this.wrong(`connection error ${error.code}`);
    });
    this.socket.on('close', () => this.onClose());
  }

  private wrong(what: string): void {
    const { wrong } = this.client.result;
    const request = this.pending[0];
    wrong.push(`conn ${this.index}, ${request ? `request ${request.id} (${request.mode})` : 'no request'}: ${what}`);
    this.ended = true;
    this.socket.destroy();
  }

  checkForgotten(): void {
    if (this.ended || this.pending.length === 0) return;
    const now = performance.now();
    if (now - Math.max(this.heardAt, this.pending[0].sentAt) > FORGOTTEN_MS) this.wrong('no response any more');
  }

  /** Sends requests up to the depth. */
  pump(): void {
    const { client } = this;
    if (!this.connected || this.ended) return;
    if (client.done || this.finished) {
      if (this.pending.length === 0 && !this.finished) {
        this.ended = true;
        this.socket.end();
      }
      return;
    }
    while (this.pending.length < this.depth && !this.finished && !client.done && !this.pausing) {
      const { pauseChance = 0, pauseMs = 20 } = client.o;
      if (pauseChance > 0 && client.random.chance(pauseChance)) {
        this.pausing = true;
        setTimeout(() => {
          this.pausing = false;
          this.request();
          this.pump();
        }, client.random.next() * pauseMs);
        return;
      }
      this.request();
    }
  }

  private request(): void {
    const { client } = this;
    const { random, o, result } = client;
    if (this.ended || this.finished || client.done) return;
    const id = `${(o.seed >>> 0).toString(36)}-${result.sent++}`;
    const mode = random.pick<Mode>(o.modes ?? ['echo']);
    const max = o.maxBody ?? 100_000;
    const kind = random.next();
    const size =
      kind < 0.3 || max === 0
        ? 0
        : kind < 0.8
          ? random.int(1, Math.min(max, 1000))
          : random.int(1, kind < 0.95 ? Math.min(max, 12_000) : max);
    const at = random.int(0, NOISE.length - size);
    const body =
      size === 0
        ? Buffer.alloc(0)
        : Buffer.concat([
            Buffer.from(id.slice(0, size)),
            NOISE.subarray(at, at + Math.max(0, size - id.length)),
          ]).subarray(0, size);
    const lastOne = random.chance(o.closeChance ?? 0);
    if (lastOne) this.finished = true;
    let head = `${size === 0 ? 'GET' : 'POST'} /${mode}/${id} HTTP/1.1\r\nHost: stress\r\nX-Id: ${id}\r\n`;
    if (lastOne) head += 'Connection: close\r\n';
    const parts: Buffer[] = [];
    if (size === 0) parts.push(Buffer.from(`${head}\r\n`, 'latin1'));
    else if (random.chance(0.5)) parts.push(Buffer.from(`${head}Content-Length: ${size}\r\n\r\n`, 'latin1'), body);
    else {
      parts.push(Buffer.from(`${head}Transfer-Encoding: chunked\r\n\r\n`, 'latin1'));
      for (let i = 0; i < size; ) {
        const n = random.int(1, random.chance(0.5) ? 200 : size);
        const piece = body.subarray(i, i + n);
        parts.push(Buffer.from(`${piece.length.toString(16)}\r\n`, 'latin1'), piece, Buffer.from('\r\n', 'latin1'));
        i += n;
        if (parts.length > 60) {
          const rest = body.subarray(i);
          if (rest.length > 0)
            parts.push(Buffer.from(`${rest.length.toString(16)}\r\n`, 'latin1'), rest, Buffer.from('\r\n', 'latin1'));
          break;
        }
      }
      parts.push(Buffer.from('0\r\n\r\n', 'latin1'));
    }
    this.pending.push({ id, mode, body, sentAt: performance.now(), lastOne });
    this.out.push(Buffer.concat(parts));
    if (!this.sending) this.send();
  }

  /** Sends what is there: often all at once, sometimes cut at random with a turn of the event loop in between. */
  private send(): void {
    const { random } = this.client;
    if (this.ended) return;
    let data = this.out.length === 1 ? this.out[0] : Buffer.concat(this.out);
    this.out = [];
    if (random.chance(0.6) && data.length > 1) {
      const n = random.int(1, random.chance(0.5) ? Math.min(data.length - 1, 100) : data.length - 1);
      this.out = [data.subarray(n)];
      data = data.subarray(0, n);
    }
    this.socket.write(data);
    this.sending = this.out.length > 0;
    if (!this.sending) return;
    if (random.chance(0.1)) setTimeout(() => this.send(), 1);
    else setImmediate(() => this.send());
  }

  private onData(data: Buffer): void {
    if (this.ended) return;
    this.heardAt = performance.now();
    try {
      this.parser.push(data, (response) => this.onResponse(response));
    } catch (error) {
      if (!this.ended) this.wrong((error as Error).message);
    }
    if (!this.ended) this.pump();
  }

  private onResponse(response: Response): void {
    const { client } = this;
    const { result, o } = client;
    const request = this.pending[0];
    const problem = this.check(request, response);
    if (problem !== null) {
      this.wrong(problem);
      throw new Error(problem);
    }
    this.pending.shift();
    result.answered.add(request.id);
    const took = performance.now() - request.sentAt;
    if (result.latencies.length < 1_000_000) result.latencies.push(took);
    if (o.slowMs !== undefined && took > o.slowMs)
      result.slow.push(`${request.id} (${request.mode}, ${request.body.length} bytes): ${took.toFixed(0)} ms`);
    if (response.status === 200) result.ok++;
    else result.refused.set(response.status, (result.refused.get(response.status) ?? 0) + 1);
    if (response.close || request.lastOne) {
      this.finished = true;
      if (!response.close) {
        this.wrong('Connection: close was not honoured');
        return;
      }
      // Requests behind it were not read.
      this.ended = true;
      this.out = [];
      this.lose(0);
      this.socket.end();
      return;
    }
    if (client.done && this.pending.length === 0) {
      this.ended = true;
      this.socket.end();
    }
  }

  private check(request: Pending, response: Response): string | null {
    const { o } = this.client;
    const { status, headers, body, close } = response;
    if (status !== 200) {
      if (!o.allowStatus?.includes(status)) return `status ${status}: ${show(body)}`;
      return headers.has('x-id') && headers.get('x-id') !== request.id ? `status ${status} of another request` : null;
    }
    if (headers.get('x-id') !== request.id) return `header of another request: ${headers.get('x-id')}`;
    if (headers.get('x-url') !== `/${request.mode}/${request.id}`)
      return `URL of another request: ${headers.get('x-url')}`;
    if (close && !request.lastOne && !o.faults && !o.allowClose) return 'Connection: close for no reason';
    if (['sync', 'brisk', 'spin'].includes(request.mode)) {
      return body.toString('latin1') === request.id ? null : `body of another request: ${show(body)}`;
    }
    if (!body.equals(request.body)) return `wrong body, ${body.length} bytes for ${request.body.length}: ${show(body)}`;
    return null;
  }

  /** The requests that are still outstanding are lost; the first `cut` of them had some bytes. */
  private lose(cut: number): void {
    const { result } = this.client;
    for (const request of this.pending.slice(0, cut)) result.cutIds.push(request.id);
    result.cut += cut;
    result.lost += this.pending.length - cut;
    this.pending.length = 0;
  }

  private onEnd(): void {
    if (this.ended) return;
    const { o } = this.client;
    const response = this.parser.eof();
    if (response) this.onResponse(response);
    if (!o.faults && !o.once && this.pending.length > 0 && !this.ended) this.wrong('the server closed');
  }

  private onClose(): void {
    if (this.pending.length > 0) this.lose(this.parser.partial ? 1 : 0);
    this.ended = true;
    this.client.over(this, !this.connected);
  }
}

/** What a load did, in one line. */
export function describe(result: LoadResult): string {
  const { sent, ok, lost, cut, connects, connectFailures, refused, latencies } = result;
  const others = [...refused].map(([status, n]) => `${n} x ${status}`).join(', ');
  return (
    `${sent} sent, ${ok} ok${others ? `, ${others}` : ''}, ${lost} lost, ${cut} cut, ${connects} connections (${connectFailures} failed), ` +
    `p50 ${percentile(latencies, 50).toFixed(1)} ms, p99 ${percentile(latencies, 99).toFixed(1)} ms, max ${percentile(latencies, 100).toFixed(0)} ms`
  );
}
