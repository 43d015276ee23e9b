/**
 * Connection: one client connection as the thread that owns it sees it: the request and response at work, the bytes that
 * came early, and the end. Made when a thread first serves the connection and kept by it while the connection stays
 * active, so that the usual request allocates little.
 *
 * A request's life: receive -> head -> (handler) -> body (body.ts) -> response handed to the socket -> flushed ->
 * host.finishRequest, which decides in one place what becomes of the connection. Bytes of pipelined requests wait in
 * `early`. What handlers listen to ('finish', 'close', 'aborted') runs after the handler or in a tick of its own,
 * never in the middle of their calls, as in Node.
 */
import { AsyncResource } from 'node:async_hooks';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { errorResponse } from '../answers.js';
import { EAGAIN, native } from '../native/binding.js';
import type { ProxyAddresses } from '../proxy-protocol.js';
import type { ClientInfo, ControlSource, RequestControl } from '../request.js';
import { type BodyOwner, BodyReader, readLate } from './body.js';
import { clientOf } from './client.js';
import type { ConnectionHost, OpenExchange } from './connection-host.js';
import { Control } from './control.js';
import { drainResponse } from './drain.js';
import { type Leaving, Lingering } from './lingering.js';
import { closeEarly, disconnected, hears, inChunks, loosen, part, unplug } from './message.js';
import type { MessageParser, RequestParser } from './parser.js';
import { ClientSocket } from './socket.js';
import type { SocketFace, Wire, WriteCallback } from './socket-face.js';

export class Connection implements Wire, BodyOwner, Leaving, ControlSource, RequestControl {
  readonly host: ConnectionHost;
  readonly fd: number;
  readonly generation: number;
  req: IncomingMessage | null = null;
  res: ServerResponse | null = null;
  exchange: OpenExchange | null = null;
  /** True from the head of a request to finishRequest. */
  active = false;
  /** A handler is on the stack. */
  inHandler = false;
  /** The whole response was handed to the socket. */
  responded = false;
  /** The same, already while the call that gives it the last byte is under way: see outcome(). */
  private handed = false;
  /** finishRequest has to close: an error, Connection: close, HTTP/1.0. */
  last = false;
  closed = false;
  /** Null until the last answer is out, or on its way. */
  lingering: Lingering | null = null;
  method = '';
  url = '';
  /** Clock word when the request (or the lingering) began, and when this connection was last at work. */
  began = 0;
  touched = 0;
  /** Bytes behind the current message. */
  early: Buffer | null = null;
  /** The last read filled its buffer: the kernel may hold more, and will not tell again (edge-triggered). */
  full = false;
  status = 0;
  rawHeaders: string[] = [];
  versionMinor = 1;
  /** What the request costs, and by what route that is remembered: thread/lanes.ts. CPU in microseconds. */
  route = 0;
  heavy = false;
  measured = false;
  laneUs = 0;
  laneAt = 0;
  laneFrom = 0;
  laneMix = 0;
  laneEnded = 0;
  /** How long the request waited for a thread, ms (known to 10 ms), 0 = not at all; and the next one, -1 = not at all. */
  queuedMs = 0;
  waitedMs = -1;
  /** Coarse clock until when the request may take, 0 = for ever. */
  limit = 0;
  /** The client has ended its side, and may have left: how often it was asked, and the clock when it will be again (sweep.ts). */
  asked = 0;
  askAt = 0;
  /** Bytes sent beside the socket, and the response's head where the fetch path has made it, for the access log. */
  directBytes = 0;
  /** Bytes that this thread has received. */
  bytesRead = 0;
  head = '';
  /** What it cost, us, -1 = not measured, and the clocks when it began (cost.ts). */
  cpuUs = -1;
  loopUs = -1;
  startedAt = 0;
  cpuAt = -1;
  idleAt = -1;
  /** The socket of a connection that has left HTTP (upgrade.ts), and what to do if its listener's promise rejects. */
  upgraded: Socket | null = null;
  upgradeFailed: ((error: unknown) => void) | null = null;
  /** The client has sent requests before it had the response to an earlier one. */
  pipelines = false;
  /** What a PROXY header has told, and whether the request in hand came by https to a trusted proxy. */
  proxied: ProxyAddresses | null = null;
  /** The client, and where it had connected to, with TLS; null: by a unix socket. */
  ends: ProxyAddresses | null = null;
  secure = false;
  /** The peer is one of --forwarded-allow-ips; null: nobody has asked yet. */
  private believed: boolean | null = null;
  /** Bytes of the current body as they came, framing counted in, and for how long they were waited for, ms (sweep.ts). */
  bodyIn = 0;
  bodyMs = 0;
  /** Bytes that the client had yet to take when the sweep last looked. */
  untaken = -1;
  private bytesBefore = 0;
  private resource: AsyncResource | null = null;
  /** Of a handler that asked for a signal. */
  private aborter: AbortController | null = null;

  /** The current request's body; null where it has none. `reader` is kept for the next one. */
  private body: BodyReader | null = null;
  private reader: BodyReader | null = null;
  /** settle() comes in a tick. */
  private settling = false;
  private watchRead = false;
  private watchWrite = false;
  private socketObject: ClientSocket | null = null;
  private controlObject: Control | null = null;

  constructor(host: ConnectionHost, fd: number, generation: number) {
    this.host = host;
    this.fd = fd;
    this.generation = generation;
  }

  get socket(): ClientSocket {
    this.socketObject ??= new ClientSocket(this, this.host.clock);
    return this.socketObject;
  }

  /** What its requests and responses have of it. */
  get control(): Control {
    this.controlObject ??= new Control(this);
    return this.controlObject;
  }

  /** What its peer says by forwarded headers is believed. */
  get trusted(): boolean {
    this.believed ??= this.host.forwarders.has(this.socket.peerName);
    return this.believed;
  }

  /**
   * What handlers are called in: an async context for each connection, as in Node. What one puts into an AsyncLocalStorage
   * (enterWith) reaches no other client.
   */
  get scope(): AsyncResource {
    this.resource ??= new AsyncResource('HTTPINCOMINGMESSAGE', { requireManualDestroy: true });
    return this.resource;
  }

  get tls(): boolean {
    return this.host.tls;
  }

  get hasSocket(): boolean {
    return this.socketObject !== null;
  }

  /** Output waits for the client. */
  get blocked(): boolean {
    return this.socketObject?.blocked ?? false;
  }

  /** Part of a chunked response has left, and what comes next is the size of a chunk. */
  get betweenChunks(): boolean {
    if (this.socketObject?.writableLength !== 0 || this.socketObject.writableCorked > 0) return false;
    return this.exchange !== null ? this.exchange.inChunks : this.res !== null && inChunks(this.res);
  }

  /** The request's message is not read to its end. */
  get unread(): boolean {
    return this.body?.unread ?? false;
  }

  private get bytesOut(): number {
    return this.directBytes + (this.socketObject?.bytesWritten ?? 0);
  }

  /** A request's head was read: what is told of it later. */
  begin(parser: RequestParser, now: number): void {
    this.active = true;
    this.responded = this.handed = false;
    this.method = parser.method;
    this.url = parser.url;
    this.rawHeaders = parser.headers;
    this.versionMinor = parser.versionMinor;
    this.began = this.touched = now;
    this.status = 0;
    this.asked = 0;
    this.head = '';
    this.queuedMs = Math.max(0, this.waitedMs);
    this.bytesBefore = this.bytesOut;
    this.socketObject?.beginResponse();
  }

  /** Head of the handler's response, '' before it is made. */
  get headSent(): string {
    return this.head || ((this.res as unknown as { _header?: string | null })?._header ?? '');
  }

  /** Bytes of the response's body that were sent (framing of chunks counted in). */
  get bodyBytes(): number {
    return Math.max(0, this.bytesOut - this.bytesBefore - this.headSent.length);
  }

  // --- the body ---

  /** A head was parsed; `complete`: the whole message. Body pieces and trailers are taken from the parser. */
  startBody(message: MessageParser, complete: boolean): void {
    if (complete && this.host.parser.body.length === 0 && message.trailers.bytes === 0) return;
    this.bodyIn = this.bodyMs = 0;
    const { body } = this.host.parser;
    for (let i = 1; i < body.length; i += 2) this.bodyIn += body[i];
    this.reader ??= new BodyReader(this, this.host.parser);
    this.body = this.reader;
    this.body.start(message, complete);
  }

  /** Some of the body came with the head. */
  get hasPieces(): boolean {
    return this.body?.hasPieces ?? false;
  }

  /** The handler's request object that gets the body. */
  feed(req: IncomingMessage): void {
    this.body?.feed(req);
  }

  /** The request's reader wants data. */
  wantBody(req: IncomingMessage): void {
    if (this.body?.feeds(req)) this.body.want();
    else readLate(req, this.body === null && req === this.req);
  }

  received(bytes: number): void {
    this.bodyIn += bytes;
    this.bytesRead += bytes;
    this.touched = this.host.clock[0];
    this.socketObject?.touch();
  }

  messageRead(early: Buffer | null, full: boolean): void {
    this.early = early;
    this.full = full;
    if (early !== null) this.pipelines = true;
  }

  tooMuch(): void {
    this.last = true;
    this.host.finishRequest(this);
  }

  broken(error: Error): void {
    this.host.drop(this, error);
  }

  malformed(status: number, reason: string): void {
    this.host.refused(this, status, reason);
  }

  /** The fd is readable while the thread waits for a body (or lingers). */
  onReadable(): void {
    if (this.lingering !== null) this.lingering.onReadable();
    else this.body?.onReadable();
  }

  // --- the end of a request ---

  /** The whole response was handed over. `now`: no handler's code is on the stack. */
  responseDone(now = false): void {
    this.responded = this.handed = true;
    if (now && !this.inHandler) return this.settle();
    // What the handler does until it returns, and others before the tick, may end the thread.
    if (this.active && !this.socketObject?.writableLength) this.host.noteOutcome(this);
    // In the context of the end(), which a listener for 'close' is told in.
    if (!this.inHandler || this.heard) this.settleLater();
  }

  /** Somebody has listeners on the response in hand. */
  get heard(): boolean {
    return this.res !== null && hears(this.res);
  }

  settleLater(): void {
    if (this.settling) return;
    this.settling = true;
    process.nextTick(settleNT, this);
  }

  settleNow(): void {
    this.settling = false;
    this.settle();
  }

  /** Goes on to finishRequest when the response is out and the request is read (or given up). */
  settle(): void {
    if (!this.active || !this.responded || this.inHandler || this.closed || this.settling) return;
    if (this.blocked) return;
    const { body } = this;
    if (body?.unread && !this.last) {
      const { res } = this;
      if (res !== null && this.socketObject?._httpMessage === res) closeEarly(this, res);
      // Who reads, gets the rest; messageRead() comes back here. Otherwise it is read and thrown away within bounds.
      if (!body.draining && !body.wanted) body.drain();
      return;
    }
    // Who has begun to read gets what is there, before it is forgotten.
    if (body !== null && (body.wanted || (this.exchange !== null && this.req !== null))) body.deliver();
    else if (body !== null) this.exchange?.keep(body.takeRest());
    if (this.active) this.host.finishRequest(this);
  }

  /** Makes ready for the next request. An unread message stays, for startLinger() or gone() to end. */
  reset(): void {
    this.req = null;
    this.res = null;
    this.exchange = null;
    this.aborter = null;
    this.active = false;
    this.responded = false;
    const { body } = this;
    if (body !== null) {
      body.forget();
      if (!body.unread) this.body = null;
    }
  }

  /** Takes the request in hand away from its handler, which may go on using its objects: they lead nowhere. */
  part(reason: Error): void {
    const { req, res, exchange, socketObject } = this;
    this.req = this.res = this.exchange = null;
    this.aborter?.abort(abortReason(reason));
    this.aborter = null;
    this.body?.forget();
    exchange?.gone(reason);
    if (res !== null) loosen(res);
    if (res !== null && !this.closed) {
      unplug(res);
      if (socketObject !== null) socketObject._httpMessage = null;
    }
    if (req !== null || res !== null) part(req, res, this.responded);
  }

  /** What comes is of no use any more, and the response is handed over: it leaves, then the connection ends in stages. */
  endInput(): void {
    const { req, body } = this;
    body?.stop();
    body?.forget();
    this.body = null;
    if (req !== null) part(req, null, this.responded);
    this.last = this.pipelines = true;
    this.settle();
  }

  /** Sends an answer of the engine's own and ends the connection without losing the answer to a reset. */
  refuse(status: number, detail = '', extra = ''): void {
    this.status = status;
    this.host.markSent(this);
    // Without a method: a head was refused.
    const head = this.method === '' ? this.host.parser.asksHead : this.method === 'HEAD';
    const text = errorResponse(status, detail, extra, head);
    const left = native.sendString(this.fd, text, 1);
    if (left > 0) this.startLinger(Buffer.from(text).subarray(-left));
    else this.startLinger(left === EAGAIN ? Buffer.from(text) : null);
  }

  /** The last answer is out but for `rest`. */
  startLinger(rest: Buffer | null = null): void {
    this.body?.stop();
    this.body = null;
    this.early = null;
    this.began = this.touched = this.host.clock[0];
    this.lingering = new Lingering(this, rest);
    this.lingering.start();
  }

  drop(): void {
    this.host.drop(this, null);
  }

  /** The connection is closed, or no longer this thread's: lets everybody know, once. Before the fd is closed. */
  gone(error: Error | null): void {
    if (this.closed) return;
    this.closed = true;
    this.active = false;
    this.lingering = null;
    this.setWatch(false, false);
    this.resource?.emitDestroy();
    this.body?.stop();
    this.early = null;
    this.upgraded?.destroy();
    const { socketObject } = this;
    const socket = socketObject !== null && !socketObject.destroyed ? socketObject : null;
    // The order in which Node tells it: a response that was handed over finishes first.
    if (this.responded) socket?.destroy();
    this.part(error ?? disconnected(0));
    if (!this.responded) socket?.destroy();
  }

  // --- what a handler says of its request (request.ts) ---

  controlOf(request: object): RequestControl | null {
    return this.active && (request === this.req || request === this.exchange) ? this : null;
  }

  failed(request: object, error: unknown): void {
    if (this.upgradeFailed !== null) this.upgradeFailed(error);
    else if (this.active && request === this.req) this.host.failed(this, error);
    else this.host.failedLate((request as IncomingMessage).method ?? '', (request as IncomingMessage).url ?? '', error);
  }

  expireIn(ms: number): void {
    this.host.expireIn(this, ms);
  }

  get abortSignal(): AbortSignal {
    this.aborter ??= new AbortController();
    return this.aborter.signal;
  }

  get client(): ClientInfo {
    return clientOf(this);
  }

  // --- Wire: what the socket asks ---

  get server(): Server | undefined {
    return this.host.server;
  }

  beforeSend(): boolean {
    // Bytes that a handler writes after its request would land in the middle of something else.
    if (!this.active) return false;
    this.host.markSent(this);
    return true;
  }

  hold(): number {
    return this.last ? 0 : this.host.hold();
  }

  whole(): void {
    this.handed = true;
  }

  outcome(): number {
    return this.handed && this.active ? this.host.outcome(this) : 0;
  }

  get crowded(): boolean {
    return this.host.inHand > 1;
  }

  wantWrite(on: boolean): void {
    this.setWatch(this.watchRead, on);
  }

  watchInput(on: boolean): void {
    this.setWatch(on, this.watchWrite);
  }

  keepToSelf(): void {
    this.host.keepToSelf(this);
  }

  flushed(): void {
    this.touched = this.host.clock[0];
    if (this.responded) this.settleLater();
    else this.exchange?.flushed();
  }

  drained(): void {
    if (this.res !== null) drainResponse(this.res);
  }

  timedOut(socket: SocketFace): boolean {
    const { req, res } = this;
    const heard = req !== null && !req.complete && req.emit('timeout', socket);
    return (res?.emit('timeout', socket) ?? false) || heard;
  }

  get open(): boolean {
    return !this.closed && this.host.isOpen(this);
  }

  socketGone(error: Error | null): void {
    if (this.res !== null) loosen(this.res);
    if (!this.closed) this.host.socketGone(this, error);
  }

  later(callbacks: WriteCallback[]): void {
    this.host.later(this, callbacks);
  }

  /** The fd is writable. */
  onWritable(): void {
    this.touched = this.host.clock[0];
    if (this.lingering !== null) this.lingering.onWritable();
    else this.socketObject?.onWritable();
  }

  setWatch(read: boolean, write: boolean): void {
    if (read === this.watchRead && write === this.watchWrite) return;
    this.watchRead = read;
    this.watchWrite = write;
    this.host.watch(this, read, write);
  }

  /** Something of this connection waits for its fd in the thread's event loop. */
  get waiting(): boolean {
    return this.watchWrite || (this.watchRead && this.body?.paused !== true);
  }
}

/** As fetch handlers see it: what names itself stays, everything else is the client's leaving. */
function abortReason(reason: Error): unknown {
  return reason.name === 'TimeoutError' ? reason : new DOMException('The client left', 'AbortError');
}

function settleNT(conn: Connection): void {
  conn.settleNow();
}
