/**
 * What a thread does with a connection, in gunicorn's words: handle(conn) receives and parses, handleRequest calls the app,
 * finishRequest decides what becomes of the connection. The only file that joins the shared state of a connection
 * (shared/tconn.ts) with its life in HTTP (http/connection.ts).
 *
 *     handle ─ recv, parse ─┬ head incomplete ─> keepHead ─> selector (head deadline)
 *                           ├ malformed ─> refuse ─> linger ─> close
 *                           └ handleRequest ─ app ─> response out, body read ─> finishRequest ─┬ early bytes: next request
 *                                                                                            ├ keep-alive: selector
 *                                                                                            └ close
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { App, FetchExchange } from '../app/types.js';
import type { Config } from '../config/settings.js';
import { Connection, type ConnectionHost, closeResponse, disconnected } from '../http/connection.js';
import { Exchange, type ExchangeHost } from '../http/exchange.js';
import { detach, drainResponse, makeRequest, makeResponse } from '../http/message.js';
import { FAILED, MESSAGE_DONE, NEED_MORE, RequestParser } from '../http/parser.js';
import type { WriteCallback } from '../http/socket.js';
import type { AccessLog, Logger } from '../log.js';
import { EAGAIN, native } from '../native/binding.js';
import { EVENT_READ, EVENT_WRITE, type EventMask, type Selector } from '../selector/selector.js';
import type { Driver } from '../shared/driver.js';
import { C, type Shared, T } from '../shared/memory.js';
import { type ConnTable, HAS_HEAD, REGISTERED, SERVED_ONE } from '../shared/tconn.js';
import { accessLine } from './access-log.js';

/** How long a lingering close may take, ms. */
const LINGER_MS = 2000;
/** A connection's objects are dropped when it has not been served here for so long, ms. */
const FORGET_MS = 1000;

export interface HandlerOptions {
  slot: number;
  shared: Shared;
  table: ConnTable;
  driver: Driver;
  /** The thread's own selector: bodies and blocked writes wait in it. */
  selector: Selector<Connection>;
  config: Config;
  keepAlive: boolean;
  app: App;
  log: Logger;
  accessLog: AccessLog | null;
  /** A connection has early bytes to go on with in a turn of its own. */
  again(conn: Connection): void;
  /** A request ended. */
  ended(): void;
  /** Main asked to hear when the connection has been handled. */
  notice(fd: number, generation: number, visits: number, kept: boolean): void;
}

export class Handler implements ConnectionHost, ExchangeHost {
  readonly parser: RequestParser;
  readonly clock: Int32Array;
  readonly keepAliveLines: string;
  /** Connections that this thread owns now, or keeps the objects of. */
  readonly connections = new Map<number, Connection>();
  /** Requests in hand. */
  readonly active = new Set<Connection>();
  /** The request that ran last, for errors that carry no trace of theirs. */
  latest = '';
  private readonly o: HandlerOptions;
  private readonly control: Int32Array;
  private readonly begun: number;
  private readonly inflight: number;
  private readonly served: number;
  private readonly keepAliveMs: number;
  private readonly headMs: number;
  private readonly maxHead: number;
  private deferred: WriteCallback[] | null = null;

  constructor(options: HandlerOptions) {
    this.o = options;
    const { shared, slot, config } = options;
    this.control = shared.control;
    this.begun = shared.threadWord(slot, T.BEGUN);
    this.inflight = shared.threadWord(slot, T.INFLIGHT);
    this.served = shared.threadWord(slot, T.SERVED);
    this.clock = shared.control.subarray(shared.threadWord(slot, T.CLOCK), shared.threadWord(slot, T.CLOCK) + 2);
    this.parser = new RequestParser({
      line: config.limitRequestLine,
      fields: config.limitRequestFields,
      fieldSize: config.limitRequestFieldSize,
    });
    this.maxHead = this.parser.maxHead;
    this.keepAliveMs = options.keepAlive ? config.keepalive * 1000 : 0;
    this.headMs = config.headerTimeout > 0 ? config.headerTimeout * 1000 : 0x3fffffff;
    this.keepAliveLines = `Connection: keep-alive\r\nKeep-Alive: timeout=${config.keepalive}\r\n\r\n`;
  }

  /** Serves a connection that the driver gave out. */
  handle(fd: number, generation: number): void {
    let conn = this.connections.get(fd);
    if (conn === undefined || conn.generation !== generation) {
      conn = new Connection(this, fd, generation);
      this.connections.set(fd, conn);
    }
    this.receive(conn);
  }

  /** Goes on with early bytes of a connection, see again(). */
  resume(conn: Connection): void {
    const { early } = conn;
    if (conn.closed || conn.active || early === null) return;
    conn.early = null;
    const { parser } = this;
    while (parser.inputSize < early.length) parser.grow(0);
    early.copy(parser.memory, parser.inputAt);
    this.process(conn, early.length);
  }

  private receive(conn: Connection): void {
    const { parser, o } = this;
    const { fd } = conn;
    let have = 0;
    const facts = o.table.facts(fd);
    if ((facts & HAS_HEAD) !== 0) {
      while (parser.inputSize - 4096 < native.headLength(fd)) parser.grow(0);
      have = native.headTake(fd, parser.memory, parser.inputAt, parser.inputSize);
      o.table.setFacts(fd, facts & ~HAS_HEAD);
    }
    const n = native.recv(fd, parser.memory, parser.inputAt + have, parser.inputSize - have);
    if (n > 0) {
      if (conn.hasSocket) conn.socket.bytesRead += n;
      this.process(conn, have + n, have);
    } else if (n === EAGAIN) {
      if (have > 0) this.keepHead(conn, have, false);
      else this.release(conn);
    } else this.drop(conn, null);
  }

  /** Parses `length` bytes of input, the first `old` of which were there before. */
  private process(conn: Connection, length: number, old = 0): void {
    const { parser } = this;
    // Bytes that do not end a head need not be parsed again and again: a client that sends single bytes stays cheap.
    if (old > 0 && !endsHead(parser.memory, parser.inputAt, old, length) && length < this.maxHead) {
      this.keepHead(conn, length, false);
      return;
    }
    const message = parser.begin();
    const result = parser.head(message, parser.inputAt, length);
    if (result === NEED_MORE && length < this.maxHead) {
      parser.end(message);
      this.keepHead(conn, length, old === 0);
      return;
    }
    if (result === FAILED || result === NEED_MORE) {
      parser.end(message);
      const status = result === FAILED ? parser.status : 431;
      this.refused(conn, status, result === FAILED ? parser.reason : 'Request head too long');
      return;
    }
    const complete = result === MESSAGE_DONE;
    if (complete) parser.end(message);
    conn.startBody(message, complete);
    conn.early =
      complete && parser.consumed < length
        ? Buffer.from(parser.memory.subarray(parser.inputAt + parser.consumed, parser.inputAt + length))
        : null;
    if (conn.early !== null) conn.pipelines = true;
    this.handleRequest(conn, complete);
  }

  /** Keeps the bytes of an incomplete head for whichever thread goes on, and gives the connection back. */
  private keepHead(conn: Connection, length: number, first: boolean): void {
    const { parser, o } = this;
    const { fd } = conn;
    const { table } = o;
    if (native.headPut(fd, parser.memory, parser.inputAt, length) < 0) return this.drop(conn, null);
    const facts = table.facts(fd);
    table.setFacts(fd, facts | HAS_HEAD);
    // The deadline counts from the first byte; `first` is wrong only for bytes that waited with an earlier request.
    this.release(conn, first ? (this.clock[0] + this.headMs) | 0 : table.deadline(fd));
  }

  private handleRequest(conn: Connection, complete: boolean): void {
    const { parser, o, control } = this;
    conn.begin(parser, this.clock[0]);
    conn.last = !o.keepAlive || !parser.keepAlive || control[C.DRAINING] !== 0;
    control[this.begun]++;
    control[this.inflight]++;
    this.active.add(conn);
    if (parser.upgrade && parser.method === 'CONNECT') {
      return this.refused(
        conn,
        405,
        'CONNECT is not supported',
        'Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n',
      );
    }
    const expectation = parser.headers.length > 0 ? expectOf(parser) : '';
    if (expectation !== '' && expectation !== '100-continue') return this.refused(conn, 417, 'Unknown expectation');
    conn.inHandler = true;
    try {
      if (o.app.kind === 'fetch') this.callFetch(conn, complete, expectation);
      else this.callNode(conn, complete, expectation);
    } catch (error) {
      this.failed(conn, error);
    }
    conn.inHandler = false;
    if (this.deferred !== null) this.runDeferred();
    if (conn.responded) conn.settle();
  }

  private callNode(conn: Connection, complete: boolean, expectation: string): void {
    const { parser, o } = this;
    const req = makeRequest(conn, parser, complete);
    const res = makeResponse(conn, req, !conn.last, this.keepAliveMs);
    conn.req = req;
    conn.res = res;
    if (expectation !== '' && !complete) res.writeContinue();
    const result = (o.app as { handle(req: IncomingMessage, res: ServerResponse): unknown }).handle(req, res);
    if (isPromise(result)) result.then(undefined, (error: unknown) => this.rejected(conn, res, error));
  }

  private callFetch(conn: Connection, complete: boolean, expectation: string): void {
    if (expectation !== '' && !complete) native.sendString(conn.fd, 'HTTP/1.1 100 Continue\r\n\r\n', 0);
    const exchange = new Exchange(this, conn, complete);
    exchange.onAbort(() => exchange.abort());
    (this.o.app as { dispatch(exchange: FetchExchange): void }).dispatch(exchange);
  }

  private rejected(conn: Connection, res: ServerResponse, error: unknown): void {
    if (conn.res === res) this.failed(conn, error);
    else this.o.log.error(`Error after the response to ${conn.method} ${conn.url}`, error);
  }

  /** The handler of the request in hand failed: 500 where no byte of the response has left, otherwise the connection ends. */
  failed(conn: Connection, error: unknown): void {
    this.o.log.error(`Error handling request ${conn.method} ${conn.url}`, error);
    this.abandon(conn, 500);
  }

  /** Ends the request in hand without its handler: `status` where no byte has left, otherwise by closing. */
  abandon(conn: Connection, status: number): void {
    if (!conn.active || conn.closed) return;
    if (conn.responded) return;
    if (this.o.table.wasSent(conn.fd)) return this.drop(conn, null);
    const { req, res } = conn;
    this.endRequest(conn, status);
    conn.req = null;
    conn.res = null;
    conn.refuse(status);
    // The handler may go on using its objects: they are detached from the connection.
    if (res) {
      conn.socket._httpMessage = null;
      (res as unknown as { socket: null }).socket = null;
      closeResponse(res);
    }
    if (req && !req.destroyed) {
      (req as unknown as { socket: unknown }).socket = null;
      req.destroy();
    }
  }

  /** Answers a request that is not handled at all. */
  refused(conn: Connection, status: number, reason: string, extra = ''): void {
    this.o.log.debug(`Refused a request: ${status} ${reason}`);
    if (conn.active && this.o.table.wasSent(conn.fd)) return this.drop(conn, null);
    if (conn.active) {
      const { req, res } = conn;
      this.endRequest(conn, status);
      conn.req = conn.res = null;
      if (req && !req.destroyed) req.destroy();
      if (res) closeResponse(res);
    } else if (this.o.accessLog) {
      conn.method = conn.url = '';
      conn.rawHeaders = [];
      this.o.accessLog.write(accessLine(conn, status));
    }
    conn.refuse(status, reason, extra);
  }

  keeps(conn: Connection): boolean {
    return !conn.last && this.control[C.DRAINING] === 0;
  }

  markSent(conn: Connection): void {
    if (conn.active) this.o.table.markSent(conn.fd);
  }

  later(conn: Connection, callbacks: WriteCallback[]): void {
    if (conn.inHandler) {
      if (this.deferred === null) this.deferred = callbacks;
      else this.deferred.push(...callbacks);
      return;
    }
    process.nextTick(runAll, callbacks);
  }

  private runDeferred(): void {
    const callbacks = this.deferred;
    this.deferred = null;
    if (callbacks !== null) runAll(callbacks);
  }

  private endRequest(conn: Connection, status: number): void {
    if (!this.active.delete(conn)) return;
    conn.active = false;
    this.control[this.inflight]--;
    this.control[this.served]++;
    this.o.ended();
    this.latest = '';
    this.o.accessLog?.write(accessLine(conn, status));
  }

  /** The one place that decides what becomes of a connection whose request and response are over. */
  finishRequest(conn: Connection): void {
    const { o, control } = this;
    const { req, res, fd } = conn;
    this.endRequest(conn, res ? res.statusCode : conn.status);
    if (res) {
      detach(conn, req!, res);
      closeResponse(res);
    } else if (req) detachRequest(req);
    conn.reset();
    if (conn.last || conn.closed) {
      // Closing with input unread resets the connection, and the end of the response may be lost with it.
      if (!conn.closed && (conn.unread || conn.pipelines || native.peek(fd) > 0)) conn.startLinger();
      else this.drop(conn, null);
      return;
    }
    const { table } = o;
    table.clearSent(fd);
    const facts = table.facts(fd);
    if ((facts & SERVED_ONE) === 0) table.setFacts(fd, facts | SERVED_ONE);
    if (conn.early !== null) {
      o.again(conn);
      return;
    }
    if (control[C.DRAINING] !== 0) {
      // This response did not say that it is the last: the client may be sending already.
      conn.startLinger();
      return;
    }
    this.release(conn, (this.clock[0] + this.keepAliveMs) | 0);
  }

  /** Back to the selector, unless bytes came meanwhile. */
  private release(conn: Connection, deadline = this.o.table.deadline(conn.fd)): void {
    const { table, driver } = this.o;
    const { fd, generation } = conn;
    const facts = table.facts(fd);
    if ((facts & REGISTERED) === 0) {
      table.setFacts(fd, facts | REGISTERED);
      if (driver.register(fd, generation) < 0) return this.drop(conn, null);
    }
    if (deadline === 0) deadline = (this.clock[0] + this.headMs) | 0;
    if (!table.release(fd, deadline)) {
      // An event came while we had it: look again.
      this.receive(conn);
      return;
    }
    if (table.notice >= 0) this.o.notice(fd, generation, table.notice, true);
  }

  /** Closes a connection that this thread owns. */
  drop(conn: Connection, error: Error | null): void {
    const { table } = this.o;
    if (conn.closed) return;
    if (conn.active) this.endRequest(conn, conn.res?.headersSent ? conn.res.statusCode : conn.status);
    conn.active = conn.req !== null || conn.onGone !== null;
    conn.gone(error);
    conn.active = false;
    this.connections.delete(conn.fd);
    table.close(conn.fd);
    if (table.notice >= 0) this.o.notice(conn.fd, conn.generation, table.notice, false);
  }

  watch(conn: Connection, read: boolean, write: boolean): void {
    const { selector } = this.o;
    const { fd } = conn;
    if (!read && !write) {
      if (selector.has(fd)) selector.unregister(fd);
      return;
    }
    const events = ((read ? EVENT_READ : 0) | (write ? EVENT_WRITE : 0)) as EventMask;
    if (selector.has(fd)) selector.modify(fd, events, conn);
    else selector.register(fd, events, conn);
  }

  /** An event of the thread's own selector. */
  onEvent(conn: Connection, events: number): void {
    if (conn.closed) return;
    if ((events & EVENT_WRITE) !== 0) {
      conn.onWritable();
      if (conn.res && !conn.closed) drainResponse(conn.res);
    }
    if (!conn.closed && (events & EVENT_READ) !== 0) conn.onReadable();
  }

  /**
   * Once in a while: ends what waits for too long, notices clients that have left, forgets objects of connections
   * that others serve or that idle. Returns true while there is something to look after.
   */
  sweep(): boolean {
    const { config, table, slot } = this.o;
    const now = native.clock();
    const bodyMs = config.bodyTimeout * 1000;
    const requestMs = config.timeout * 1000;
    for (const conn of [...this.connections.values()]) {
      const mine = table.generation(conn.fd) === conn.generation && (table.owner(conn.fd) & 0xfff) === 16 + slot;
      const idle = (now - conn.touched) | 0;
      if (!mine) {
        if (idle > FORGET_MS) this.connections.delete(conn.fd);
      } else if (conn.lingering) {
        if (idle > LINGER_MS) this.drop(conn, null);
      } else if (conn.waiting && bodyMs > 0 && idle > bodyMs) {
        this.o.log.info(`Client too slow in ${conn.method} ${conn.url}`);
        if (conn.active && !conn.responded && !conn.socket.blocked) this.abandon(conn, 408);
        else this.drop(conn, disconnected(0));
      } else if (
        conn.active &&
        !conn.responded &&
        requestMs > 0 &&
        ((now - conn.began) | 0) > requestMs &&
        !conn.waiting
      ) {
        this.o.log.error(`Request timed out after ${config.timeout} s: ${conn.method} ${conn.url}`);
        if (conn.res?.headersSent) conn.began = now;
        else this.abandon(conn, 500);
      } else if (conn.active && native.peek(conn.fd) < 0 && native.peek(conn.fd) !== EAGAIN) {
        this.drop(conn, disconnected(0));
      }
    }
    return this.connections.size > 0;
  }

  /** Requests in hand, for messages about errors that belong to none of them for sure. */
  describe(): string {
    const names = [...this.active].slice(0, 5).map((conn) => `${conn.method} ${conn.url}`);
    if (names.length === 0 && this.latest !== '') names.push(this.latest);
    return names.length === 0 ? 'no request in hand' : names.join(', ');
  }
}

function runAll(callbacks: WriteCallback[]): void {
  for (const callback of callbacks) callback();
}

function detachRequest(req: IncomingMessage): void {
  if (req.listenerCount('end') > 0 && !req.readableEnded) req.resume();
}

function isPromise(value: unknown): value is Promise<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as Promise<unknown>).then === 'function';
}

/** CR LF CR LF, ending behind `from`. */
function endsHead(memory: Buffer, at: number, from: number, length: number): boolean {
  const found = memory.indexOf('\r\n\r\n', at + Math.max(0, from - 3), 'latin1');
  return found >= 0 && found < at + length;
}

function expectOf(parser: RequestParser): string {
  const { headers } = parser;
  if (parser.versionMinor === 0) return '';
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i].length === 6 && headers[i].toLowerCase() === 'expect') return headers[i + 1].toLowerCase();
  }
  return '';
}
