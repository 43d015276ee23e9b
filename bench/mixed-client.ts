/**
 * One client of the mixed load: a keep-alive connection that has at most one request out. Requests become due when the
 * plan says so; one that is due while the connection waits for an answer is sent right after it, and its latency still
 * counts from when it was due. Bytes of the request are made once, a response costs one search for its head's end. A
 * connection that the server closes is made anew; what was out on it has failed.
 */
import { connect, type Socket } from 'node:net';

/** Where a client tells what became of its requests; times are those of performance.now(). */
export interface Outcomes {
  answered(due: number, now: number): void;
  /** `reason` is short and the same for the same kind of failure: they are counted by it. */
  failed(due: number, reason: string): void;
}

export interface Response {
  status: number;
  /** Valid until the next push(). */
  body: Buffer;
  /** The server will close the connection. */
  close: boolean;
}

const HEAD_END = Buffer.from('\r\n\r\n');
const EMPTY = Buffer.alloc(0);

/** Reads one response at a time, by its content-length. */
export class ResponseReader {
  private kept: Buffer = EMPTY;

  /** True between the first and the last byte of a response. */
  get inside(): boolean {
    return this.kept.length > 0;
  }

  /**
   * Takes bytes, which the caller may reuse afterwards. Returns the response when it is whole, undefined before.
   * Throws on what is no HTTP/1.x response, has no content-length, or goes on after its end.
   */
  push(chunk: Buffer): Response | undefined {
    const data = this.kept.length > 0 ? Buffer.concat([this.kept, chunk]) : chunk;
    const end = data.indexOf(HEAD_END);
    if (end >= 0) {
      const head = data.latin1Slice(0, end);
      const status = Number(/^HTTP\/1\.[01] (\d{3})\b/.exec(head)?.[1] ?? 0);
      if (status === 0) throw new Error('no HTTP response');
      const length = /\r\ncontent-length:[ \t]*(\d+)[ \t]*(?:\r\n|$)/i.exec(head)?.[1];
      if (length === undefined) throw new Error(`status ${status} without a content-length`);
      const total = end + HEAD_END.length + Number(length);
      if (data.length > total) throw new Error('bytes after the response');
      if (data.length === total) {
        this.kept = EMPTY;
        const body = data.subarray(end + HEAD_END.length);
        return { status, body, close: /\r\nconnection:[ \t]*close\b/i.test(head) };
      }
    }
    // Without concat, data is the caller's own buffer.
    this.kept = data === chunk ? Buffer.from(chunk) : data;
    return undefined;
  }
}

export class Client {
  private readonly port: number;
  private readonly request: Buffer;
  private readonly expected: Buffer;
  private readonly outcomes: Outcomes;
  /** Due times of what is not sent yet, oldest first. */
  private readonly queue: number[] = [];
  private readonly buffer = Buffer.allocUnsafe(16 * 1024);
  private socket: Socket | undefined;
  private reader = new ResponseReader();
  /** Due time of the request that is out. */
  private out: number | undefined;
  private ended = false;

  constructor(port: number, path: string, expected: string, outcomes: Outcomes) {
    this.port = port;
    this.request = Buffer.from(`GET ${path} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n\r\n`);
    this.expected = Buffer.from(expected);
    this.outcomes = outcomes;
  }

  /** Nothing is out and nothing is due. */
  get idle(): boolean {
    return this.out === undefined && this.queue.length === 0;
  }

  /** Connects. Resolves when connected, rejects when that fails. */
  open(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.connect(resolve, reject);
    });
  }

  /** A request is due: it is sent now, or after those before it. */
  offer(due: number): void {
    this.queue.push(due);
    this.next();
  }

  /** Gives up what has not been answered, as failed, and closes. */
  end(): void {
    this.ended = true;
    for (const due of this.out === undefined ? this.queue : [this.out, ...this.queue]) {
      this.outcomes.failed(due, 'no answer');
    }
    this.socket?.destroy();
  }

  private connect(onOpen: () => void, onError: (error: Error) => void): void {
    const socket = connect({
      port: this.port,
      host: '127.0.0.1',
      noDelay: true,
      onread: {
        buffer: this.buffer,
        callback: (length) => {
          if (this.socket === socket) this.received(socket, this.buffer.subarray(0, length));
          return true;
        },
      },
    });
    this.reader = new ResponseReader();
    socket.once('connect', () => {
      this.socket = socket;
      if (this.ended) socket.destroy();
      onOpen();
    });
    let reason = 'connection closed';
    socket.once('error', (error: NodeJS.ErrnoException) => {
      reason = error.code ?? error.message;
      if (this.socket !== socket) onError(error);
    });
    socket.once('close', () => {
      if (this.socket === socket) this.lost(this.reader.inside ? 'response cut' : reason);
    });
  }

  private next(): void {
    if (this.out !== undefined || this.queue.length === 0 || !this.socket) return;
    this.out = this.queue.shift();
    this.socket.write(this.request);
  }

  private received(socket: Socket, chunk: Buffer): void {
    let response: Response | undefined;
    let wrong: string | undefined;
    try {
      response = this.reader.push(chunk);
    } catch (error) {
      wrong = (error as Error).message;
    }
    const due = this.out;
    if (wrong !== undefined || due === undefined) {
      this.lost(wrong ?? 'bytes without a request');
      socket.destroy();
      return;
    }
    if (!response) return;
    this.out = undefined;
    const right = response.status === 200 && response.body.equals(this.expected);
    const reason = response.status === 200 ? 'wrong body' : `status ${response.status}`;
    if (response.close) {
      this.lost('');
      socket.destroy();
    }
    if (right) this.outcomes.answered(due, performance.now());
    else this.outcomes.failed(due, reason);
    this.next();
  }

  /** The connection is of no more use: fails what was out, and makes another. */
  private lost(reason: string): void {
    this.socket = undefined;
    const due = this.out;
    this.out = undefined;
    if (this.ended) return;
    if (due !== undefined) this.outcomes.failed(due, reason);
    this.connect(
      () => this.next(),
      (error) => this.refused(error),
    );
  }

  /** A connection could not be made: that fails one request; another try comes a little later. */
  private refused(error: NodeJS.ErrnoException): void {
    if (this.ended) return;
    const due = this.queue.shift();
    if (due !== undefined) this.outcomes.failed(due, error.code ?? error.message);
    setTimeout(() => this.lost(''), 10);
  }
}
