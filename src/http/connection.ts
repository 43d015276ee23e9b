/**
 * Connection: one client connection as the thread that owns it sees it: the message being read, the request and response
 * at work, the bytes that came early. Made when a thread first serves the connection and kept by it while the
 * connection stays active, so that the usual request allocates little.
 *
 * A request's life: receive -> head -> (handler) -> body -> response handed to the socket -> flushed -> host.finishRequest,
 * which decides in one place what becomes of the connection. Bytes of pipelined requests wait in `early`.
 *
 *     reading: NONE --body incomplete--> WAITING --_read--> FLOWING --push() is false--> WAITING
 *              any --response done, body unread--> DRAINING --message done | too much--> NONE | close
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { EAGAIN, native } from '../native/binding.js';
import { errorResponse } from './errors.js';
import { FAILED, MESSAGE_DONE, type MessageParser, type RequestParser } from './parser.js';
import { ClientSocket, type Wire, type WriteCallback } from './socket.js';

/** Most bytes of an unread body that are read and thrown away to keep the connection. */
const MAX_DRAIN = 256 * 1024;
/** Most bytes that are read in one turn for one body, so that an upload does not hold up the thread. */
const MAX_TURN = 512 * 1024;

const NONE = 0;
const WAITING = 1;
const FLOWING = 2;
const DRAINING = 3;
/** The answer is out and the connection ends; input is thrown away so that no reset overtakes the answer. */
const LINGERING = 4;

/** What a connection needs of its thread (thread/handle.ts). */
export interface ConnectionHost {
  readonly parser: RequestParser;
  /** The thread's clock words: [coarse ms, bytes of the last send]. */
  readonly clock: Int32Array;
  /** Wait in the thread's own event loop for the fd; neither: no more waiting. */
  watch(conn: Connection, read: boolean, write: boolean): void;
  /** A byte of a response leaves. */
  markSent(conn: Connection): void;
  /** The response is out, the request read: keep-alive, next pipelined request, or close. */
  finishRequest(conn: Connection): void;
  /** The connection broke or must end now. */
  drop(conn: Connection, error: Error | null): void;
  /** Runs write callbacks, at once if no handler is on the stack. */
  later(conn: Connection, callbacks: WriteCallback[]): void;
  /** A request refused while its body was read. */
  refused(conn: Connection, status: number, reason: string): void;
}

export class Connection implements Wire {
  readonly host: ConnectionHost;
  readonly fd: number;
  readonly generation: number;
  req: IncomingMessage | null = null;
  res: ServerResponse | null = null;
  /** Called when the connection breaks while a fetch exchange is open. */
  onGone: ((error: Error) => void) | null = null;
  /** Called when queued output of a fetch exchange has left. */
  onFlushed: (() => void) | null = null;
  /** True from the head of a request to finishRequest. */
  active = false;
  /** A handler is on the stack. */
  inHandler = false;
  /** The whole response was handed to the socket. */
  responded = false;
  /** finishRequest has to close: an error, Connection: close, HTTP/1.0. */
  last = false;
  closed = false;
  method = '';
  url = '';
  /** Clock word when the request began, and when this connection was last at work. */
  began = 0;
  touched = 0;
  /** Counts requests on this connection in this thread. */
  requests = 0;
  /** Bytes behind the current message. */
  early: Buffer | null = null;
  status = 0;
  rawHeaders: string[] = [];
  versionMinor = 1;
  /** Bytes sent beside the socket, and length of the response's head, for the access log. */
  directBytes = 0;
  headBytes = 0;
  /** The client has sent requests before it had the response to an earlier one. */
  pipelines = false;
  private bytesBefore = 0;

  private message: MessageParser | null = null;
  private reading = NONE;
  private pieces: Buffer[] = [];
  private bodyRequest: IncomingMessage | null = null;
  private drained = 0;
  private lingerLeft = 0;
  private watchRead = false;
  private watchWrite = false;
  private socketObject: ClientSocket | null = null;

  constructor(host: ConnectionHost, fd: number, generation: number) {
    this.host = host;
    this.fd = fd;
    this.generation = generation;
  }

  get socket(): ClientSocket {
    this.socketObject ??= new ClientSocket(this, this.host.clock);
    return this.socketObject;
  }

  get hasSocket(): boolean {
    return this.socketObject !== null;
  }

  /** The request's message is not read to its end. */
  get unread(): boolean {
    return this.message !== null;
  }

  get lingering(): boolean {
    return this.reading === LINGERING;
  }

  private get bytesOut(): number {
    return this.directBytes + (this.socketObject?.bytesWritten ?? 0);
  }

  /** A request's head was read: what is told of it later. */
  begin(parser: RequestParser, now: number): void {
    this.active = true;
    this.responded = false;
    this.method = parser.method;
    this.url = parser.url;
    this.rawHeaders = parser.headers;
    this.versionMinor = parser.versionMinor;
    this.began = this.touched = now;
    this.status = 0;
    this.requests++;
    this.headBytes = 0;
    this.bytesBefore = this.bytesOut;
  }

  /** Bytes of the response's body that were sent (framing of chunks counted in). */
  get bodyBytes(): number {
    const head = this.headBytes || ((this.res as unknown as { _header?: string })?._header?.length ?? 0);
    return Math.max(0, this.bytesOut - this.bytesBefore - head);
  }

  /** Nothing of this connection waits or works here. */
  get quiet(): boolean {
    return !this.active && this.early === null && this.message === null && !this.watchRead && !this.watchWrite;
  }

  // --- the body ---

  /** The head of a message was parsed; `complete`: all of its body too. Pieces are taken from the parser. */
  startBody(message: MessageParser, complete: boolean): void {
    this.takePieces();
    if (complete) {
      this.reading = NONE;
      return;
    }
    this.message = message;
    this.reading = WAITING;
    this.drained = 0;
  }

  private takePieces(): void {
    const { parser } = this.host;
    const { body, memory } = parser;
    for (let i = 0; i < body.length; i += 2) {
      // A copy: the parser's memory is used again by the next recv.
      this.pieces.push(Buffer.from(memory.subarray(body[i], body[i] + body[i + 1])));
    }
  }

  get hasPieces(): boolean {
    return this.pieces.length > 0;
  }

  /** The handler's request object that gets the body. */
  feed(req: IncomingMessage): void {
    this.bodyRequest = req;
  }

  /** Gives up the pieces, to a reader that does not want a stream. Only when the whole body is there. */
  takeBody(): Buffer[] {
    const { pieces } = this;
    this.pieces = [];
    return pieces;
  }

  /** The request's reader wants data. */
  wantBody(req: IncomingMessage): void {
    if (req !== this.bodyRequest) {
      // A reader that comes after the response: the rest was thrown away.
      if (!req.readableEnded) req.push(null);
      return;
    }
    const { pieces } = this;
    if (pieces.length > 0) {
      this.pieces = [];
      let room = true;
      for (const piece of pieces) room = req.push(piece);
      if (!room && this.message) return;
    }
    if (!this.message) {
      this.endBody(null);
      return;
    }
    if (this.reading === WAITING) {
      this.reading = FLOWING;
      this.setWatch(true, this.watchWrite);
    }
  }

  private endBody(trailers: string[] | null): void {
    const req = this.bodyRequest;
    if (!req) return;
    this.bodyRequest = null;
    req.complete = true;
    if (trailers && trailers.length > 0) addTrailers(req, trailers);
    req.push(null);
  }

  /** The fd is readable while the thread waits for a body (or lingers). */
  onReadable(): void {
    if (this.reading === LINGERING) return this.linger();
    const { parser } = this.host;
    let taken = 0;
    while (this.message && (this.reading === FLOWING || this.reading === DRAINING)) {
      const n = native.recv(this.fd, parser.memory, parser.inputAt, parser.inputSize);
      if (n === EAGAIN) return;
      if (n <= 0) return this.host.drop(this, disconnected(n));
      this.touched = this.host.clock[0];
      this.socketObject?.touch();
      const result = parser.more(this.message, parser.inputAt, n);
      if (result === FAILED) return this.host.refused(this, parser.status, parser.reason);
      this.takePieces();
      if (result === MESSAGE_DONE) {
        if (parser.consumed < n) {
          const at = parser.inputAt + parser.consumed;
          this.early = Buffer.from(parser.memory.subarray(at, parser.inputAt + n));
          this.pipelines = true;
        }
        return this.messageDone();
      }
      if (!this.pushPieces()) return;
      taken += n;
      if (taken >= MAX_TURN || n < parser.inputSize) return;
    }
  }

  /** Gives the pieces to the reader; false if reading stops for now. */
  private pushPieces(): boolean {
    const { pieces } = this;
    if (this.reading === DRAINING) {
      for (const piece of pieces) this.drained += piece.length;
      this.pieces = [];
      if (this.drained <= MAX_DRAIN) return true;
      this.last = true;
      this.host.finishRequest(this);
      return false;
    }
    if (pieces.length === 0) return true;
    this.pieces = [];
    let room = true;
    for (const piece of pieces) room = this.bodyRequest?.push(piece) ?? true;
    if (room || this.reading !== FLOWING) return this.reading === FLOWING;
    this.reading = WAITING;
    this.setWatch(false, this.watchWrite);
    return false;
  }

  private messageDone(): void {
    const draining = this.reading === DRAINING;
    const trailers = this.message?.trailers.slice() ?? [];
    this.endMessage();
    if (draining) {
      this.pieces = [];
      this.host.finishRequest(this);
      return;
    }
    const { pieces } = this;
    this.pieces = [];
    for (const piece of pieces) this.bodyRequest?.push(piece);
    this.endBody(trailers);
    if (this.responded) this.settle();
  }

  private endMessage(): void {
    if (this.message) {
      this.host.parser.end(this.message);
      this.message = null;
    }
    this.reading = NONE;
    this.setWatch(false, this.watchWrite);
  }

  // --- the end of a request ---

  /** The whole response was handed over. */
  responseDone(): void {
    this.responded = true;
    if (!this.inHandler) this.settle();
  }

  /** Goes on to finishRequest when the response is out and the request is read (or given up). */
  settle(): void {
    if (!this.active || !this.responded || this.inHandler || this.closed) return;
    if (this.socketObject?.blocked) return;
    if (this.message) {
      // What is unread of a connection that ends is met by a lingering close: finishRequest sees `unread`.
      if (this.last) this.setWatch(false, false);
      else if (this.reading !== DRAINING) {
        // The rest of the body nobody wants: read it within bounds, so that the connection can be kept.
        this.reading = DRAINING;
        this.bodyRequest = null;
        if (this.pushPieces()) {
          this.setWatch(true, false);
          this.onReadable();
        }
        return;
      } else return;
    }
    this.host.finishRequest(this);
  }

  /** Makes ready for the next request. */
  reset(): void {
    this.req = null;
    this.res = null;
    this.onGone = null;
    this.onFlushed = null;
    this.active = false;
    this.responded = false;
    this.pieces = [];
    this.bodyRequest = null;
    this.reading = NONE;
  }

  /** Sends an answer of the engine's own and ends the connection without losing the answer to a reset. */
  refuse(status: number, detail = '', extra = ''): void {
    this.status = status;
    this.host.markSent(this);
    native.sendString(this.fd, errorResponse(status, detail, extra), 1);
    this.startLinger();
  }

  /** Shuts the writing side and throws input away until the client has closed too (bounded by bytes and time). */
  startLinger(): void {
    if (this.message) this.endMessage();
    this.pieces = [];
    this.early = null;
    native.shutdown(this.fd, 1);
    this.reading = LINGERING;
    this.lingerLeft = MAX_DRAIN;
    this.touched = this.host.clock[0];
    this.setWatch(true, false);
    this.linger();
  }

  private linger(): void {
    const { parser } = this.host;
    while (this.reading === LINGERING) {
      const n = native.recv(this.fd, parser.memory, parser.inputAt, parser.inputSize);
      if (n === EAGAIN) return;
      this.lingerLeft -= n;
      if (n <= 0 || this.lingerLeft <= 0) return this.host.drop(this, null);
    }
  }

  /** The connection is closed: lets everybody know, once. Called by the host before the fd is closed. */
  gone(error: Error | null): void {
    if (this.closed) return;
    this.closed = true;
    if (this.watchRead || this.watchWrite) this.setWatch(false, false);
    if (this.message) this.host.parser.end(this.message);
    this.message = null;
    this.reading = NONE;
    this.pieces = [];
    const { req, res, onGone, socketObject } = this;
    const reason = error ?? disconnected(0);
    if (socketObject && !socketObject.destroyed) socketObject.destroy();
    if (socketObject) socketObject._httpMessage = null;
    if (req && this.active && !req.destroyed && !(req.complete && this.responded)) {
      req.destroy(req.listenerCount('error') > 0 ? reason : undefined);
    }
    if (res && this.active) closeResponse(res);
    onGone?.(reason);
    this.onGone = null;
  }

  // --- Wire: what the socket asks ---

  beforeSend(): void {
    this.host.markSent(this);
  }

  wantWrite(on: boolean): void {
    this.setWatch(this.watchRead, on);
  }

  flushed(): void {
    this.touched = this.host.clock[0];
    if (this.responded) this.settle();
    else if (this.onFlushed) this.onFlushed();
  }

  socketGone(error: Error | null): void {
    if (!this.closed) this.host.drop(this, error);
  }

  later(callbacks: WriteCallback[]): void {
    this.host.later(this, callbacks);
  }

  /** The fd is writable. */
  onWritable(): void {
    this.touched = this.host.clock[0];
    this.socketObject?.touch();
    this.socketObject?.onWritable();
  }

  private setWatch(read: boolean, write: boolean): void {
    if (read === this.watchRead && write === this.watchWrite) return;
    this.watchRead = read;
    this.watchWrite = write;
    this.host.watch(this, read, write);
  }

  /** Something of this connection waits for its fd in the thread's event loop. */
  get waiting(): boolean {
    return this.watchRead || this.watchWrite;
  }
}

/** As Node: the error that an interrupted request carries. */
export function disconnected(errno: number): Error {
  const code = errno < 0 ? native.errnoName(errno) : 'ECONNRESET';
  return Object.assign(new Error('aborted'), { code });
}

/** As Node's emitCloseNT: the response is over. */
export function closeResponse(res: ServerResponse): void {
  const r = res as unknown as { _closed: boolean; destroyed: boolean; emit(event: string): void };
  if (r._closed) return;
  r.destroyed = true;
  r._closed = true;
  r.emit('close');
}

function addTrailers(req: IncomingMessage, trailers: string[]): void {
  (req as unknown as { _addHeaderLines(h: string[], n: number): void })._addHeaderLines(trailers, trailers.length);
}
