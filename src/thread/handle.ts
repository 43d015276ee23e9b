/**
 * What a thread does with a connection, in gunicorn's words: handle(conn) receives and parses (reader.ts), handleRequest calls the
 * app, finishRequest decides what becomes of the connection. With reader.ts and holder.ts, what joins the shared state of a
 * connection (shared/tconn.ts) with its life in HTTP (http/connection.ts).
 *
 *     handle ─ recv, parse ─┬ head incomplete ─> keepHead ─> selector (head deadline)
 *                           ├ malformed ─> refuse ─> linger ─> close
 *                           └ handleRequest ─ app ─> response out, body read ─> finishRequest ─┬ early bytes: next request
 *                                                                                            ├ keep-alive: selector
 *                                                                                            └ close
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { FetchApp, HookEvent, NodeApp } from '../app/types.js';
import { Connection } from '../http/connection.js';
import type { ConnectionHost } from '../http/connection-host.js';
import { Exchange, type ExchangeHost } from '../http/exchange.js';
import {
  closeResponse,
  detach,
  disconnected,
  endUnread,
  isDisconnected,
  listened,
  makeRequest,
  makeResponse,
} from '../http/message.js';
import { handleObserved, observed } from '../http/observe.js';
import type { WriteCallback } from '../http/socket-face.js';
import { native } from '../native/binding.js';
import { EVENT_READ, EVENT_WRITE } from '../selector/selector.js';
import { C, T } from '../shared/memory.js';
import { expectOf } from './heads.js';
import { answerHealth } from './health.js';
import type { HandlerOptions } from './holder.js';
import { Reader } from './reader.js';
import { hasLeft } from './sweep.js';
import { handOver, hookFor, hookForExpect, offerOf } from './upgrade.js';

const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';

export class Handler extends Reader implements ConnectionHost, ExchangeHost {
  readonly keepAliveLines: string;
  /** The connection whose handler ran last, for errors that carry no trace of theirs. */
  private latest: Connection | null = null;
  private readonly current: number;
  private readonly healthPath: string;
  private deferred: WriteCallback[] | null = null;
  private closing: ServerResponse | null = null;

  constructor(options: HandlerOptions) {
    super(options);
    const { config } = options;
    this.current = options.shared.threadWord(options.slot, T.CURRENT);
    this.healthPath = config.healthPath;
    this.keepAliveLines = `Connection: keep-alive\r\nKeep-Alive: timeout=${config.keepalive}\r\n\r\n`;
  }

  protected connection(fd: number, generation: number): Connection {
    return new Connection(this, fd, generation);
  }

  protected handleRequest(conn: Connection, complete: boolean): void {
    const { parser, o, control } = this;
    conn.begin(parser, this.clock[0]);
    conn.last = !o.keepAlive || !parser.keepAlive || control[C.DRAINING] !== 0;
    this.beginRequest(conn);
    let event = parser.upgrade ? hookFor(this, complete) : '';
    if (event === '' && parser.upgrade && parser.method === 'CONNECT') {
      this.refused(conn, 405, 'CONNECT is not supported', 'Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n');
      return;
    }
    const expectation = parser.versionMinor === 1 ? expectOf(parser.headers) : '';
    if (expectation !== '' && event === '') event = hookForExpect(this, expectation);
    if (expectation !== '' && event === '' && expectation !== '100-continue') {
      this.refused(conn, 417, 'Unknown expectation');
      return;
    }
    // Nobody waits for what would be made here.
    if (conn.waitedMs >= 0 && hasLeft(this, conn)) {
      this.drop(conn, disconnected(0));
      return;
    }
    if (expectation !== '' && event === '' && !complete) this.sendContinue(conn);
    conn.scope.runInAsyncScope(this.run, this, conn, complete, event);
  }

  /** Calls the handler, and goes on with what it has done at once. */
  private run(conn: Connection, complete: boolean, event: HookEvent | ''): void {
    this.latest = conn;
    conn.inHandler = true;
    this.control[this.current] = conn.fd + 1;
    this.lanes.begin(conn, this.inHand - 1 + this.upgraded.size);
    try {
      const offer = event === 'upgrade' ? offerOf(this, conn) : null;
      const made = offer?.req ?? null;
      if (offer?.taken === false) event = '';
      if (event === 'upgrade' || event === 'connect') handOver(this, conn, event, made);
      else if (this.healthPath === '' || !answerHealth(this, conn, complete, this.healthPath))
        this.callApp(conn, complete, event, made);
    } catch (error) {
      this.failed(conn, error);
    }
    this.lanes.returned(conn);
    this.control[this.current] = 0;
    conn.inHandler = false;
    if (this.deferred !== null) this.runDeferred(conn);
    // Who listens to 'finish' hears of it in its turn among the ticks that the handler has asked for, and then of 'close'.
    if (conn.responded && conn.heard) conn.settleLater();
    else if (conn.responded) {
      this.inTurn = true;
      conn.settle();
      this.inTurn = false;
    }
  }

  /** made: the request, where it had to be there before. */
  private callApp(conn: Connection, complete: boolean, event: HookEvent | '', made: IncomingMessage | null): void {
    const { app } = this.o;
    if (app.kind === 'fetch') this.callFetch(conn, complete, app);
    else this.callNode(conn, complete, app, event, made ?? makeRequest(conn, this.parser));
  }

  private callNode(
    conn: Connection,
    complete: boolean,
    app: NodeApp,
    event: HookEvent | '',
    req: IncomingMessage,
  ): void {
    const res = makeResponse(conn, req, !conn.last, this.keepAliveMs);
    conn.feed(req);
    conn.req = req;
    conn.res = res;
    const result =
      event !== ''
        ? app.hooks?.call(event, req, res)
        : observed()
          ? handleObserved(app, app.hooks?.server, req, res)
          : app.handle(req, res);
    if (complete) req.complete = true;
    if (isPromise(result)) result.then(undefined, (error: unknown) => this.rejected(conn, res, error));
  }

  private callFetch(conn: Connection, complete: boolean, app: FetchApp): void {
    const exchange = new Exchange(this, conn, complete);
    conn.exchange = exchange;
    app.dispatch(exchange);
  }

  /** Not a byte of the response: a handler that fails afterwards is still answered by 500. */
  private sendContinue(conn: Connection): void {
    const left = native.sendString(conn.fd, CONTINUE, 0);
    // Where there is no room the client goes on by itself after a while; half a line is not left behind.
    if (left > 0) conn.socket.write(CONTINUE.slice(CONTINUE.length - left), 'latin1');
  }

  private rejected(conn: Connection, res: ServerResponse, error: unknown): void {
    if (conn.res === res) this.failed(conn, error);
    else this.failedLate(res.req.method ?? '', res.req.url ?? '', error);
  }

  /** The handler of a request failed whose response is out. */
  failedLate(method: string, url: string, error: unknown): void {
    // It only passes on that its request was cut short: clients that leave, or are too slow, are no errors.
    if (isDisconnected(error)) {
      this.o.log.info(`${method} ${url} was cut short`);
      return;
    }
    this.o.log.error(`Error after the response to ${method} ${url}`, error);
  }

  /** The handler of the request in hand failed: 500 where no byte of the response has left, otherwise the connection ends. */
  failed(conn: Connection, error: unknown): void {
    if (conn.responded) this.failedLate(conn.method, conn.url, error);
    else this.o.log.error(`Error handling request ${conn.method} ${conn.url}`, error);
    this.abandon(conn, 500);
  }

  /** Ends the request in hand without its handler: `status` where no byte has left, otherwise by closing. */
  abandon(conn: Connection, status: number): void {
    if (!conn.active || conn.closed || conn.responded) return;
    if (this.o.table.wasSent(conn.fd)) this.drop(conn, null);
    else this.answer(conn, status);
  }

  /** The request in hand is past its deadline, and nothing has been sent: its handler is told to stop, the client gets 504. */
  expire(conn: Connection, now: number): void {
    const seconds = ((now - conn.began) | 0) / 1000;
    this.o.log.error(
      `Request timed out after ${seconds.toFixed(1)} s: ${conn.method} ${conn.url} ` +
        `(id ${this.o.table.requestId(conn.fd)}, thread ${this.o.slot})`,
    );
    this.answer(conn, 504, '', '', timedOut());
  }

  /** Answers a request that is not handled, or no longer. */
  refused(conn: Connection, status: number, reason: string, extra = ''): void {
    // Nothing in it is the client's.
    this.o.log.info(`Refused a request from ${conn.socket.remoteAddress ?? 'a client'}: ${status} ${reason}`);
    if (conn.active && conn.responded) {
      // The rest of a body whose request is answered: that answer is not to be lost.
      conn.endInput();
      return;
    }
    if (conn.active && this.o.table.wasSent(conn.fd)) {
      this.drop(conn, null);
      return;
    }
    if (!conn.active) {
      // The access log shows what is known of it: nothing.
      conn.method = conn.url = '';
      conn.rawHeaders = [];
    }
    this.answer(conn, status, reason, extra);
  }

  protected answer(conn: Connection, status: number, detail = '', extra = '', reason = disconnected(0)): void {
    const owed = conn.active;
    if (owed) this.endRequest(conn, status, null);
    else this.accessLines?.write(conn, status);
    conn.part(reason);
    conn.refuse(status, detail, extra);
    if (owed && !conn.closed) this.o.table.endRequest(conn.fd, false, false);
  }

  keeps(conn: Connection): boolean {
    return !conn.last && this.control[C.DRAINING] === 0;
  }

  later(conn: Connection, callbacks: WriteCallback[]): void {
    if (!conn.inHandler || callbacks.length > 1 || conn.heard) {
      process.nextTick(runAll, this, conn, callbacks);
    } else if (this.deferred === null) this.deferred = callbacks;
    else this.deferred.push(...callbacks);
  }

  private runDeferred(conn: Connection): void {
    const callbacks = this.deferred;
    this.deferred = null;
    if (callbacks !== null) runAll(this, conn, callbacks);
  }

  /** A listener of a handler threw where nobody but the engine could catch it. */
  strayed(error: unknown): void {
    this.o.log.error(`Error in a listener (${this.describe()})`, error);
  }

  /** The one place that decides what becomes of a connection whose request and response are over. */
  finishRequest(conn: Connection): void {
    const { req, res } = conn;
    this.endRequest(conn, res !== null ? res.statusCode : conn.status, !conn.last);
    if (res !== null) detach(conn, req as IncomingMessage, res);
    conn.reset();
    if (conn.last) this.close(conn);
    else this.keep(conn);
    if (res === null) return;
    // In Node 'close' comes after the ticks that the handler has asked for, and between the request's own events.
    if (this.inTurn && this.closing === null && !listened(req as IncomingMessage)) this.closing = res;
    else process.nextTick(emitCloseNT, this, res);
  }

  /** Called between two requests, when the ticks of the first have run. */
  afterTicks(): void {
    const res = this.closing;
    if (res === null) return;
    this.closing = null;
    this.emitClose(res);
  }

  emitClose(res: ServerResponse): void {
    try {
      closeResponse(res);
      endUnread(res.req);
    } catch (error) {
      this.strayed(error);
    }
  }

  /** An event of the thread's own selector. What a handler's stream callback throws fails its request alone. */
  onEvent(conn: Connection, events: number): void {
    conn.scope.runInAsyncScope(this.react, this, conn, events);
  }

  private react(conn: Connection, events: number): void {
    try {
      if (!conn.closed && (events & EVENT_WRITE) !== 0) conn.onWritable();
      if (!conn.closed && (events & EVENT_READ) !== 0) conn.onReadable();
    } catch (error) {
      this.failed(conn, error);
    }
  }

  get server(): Server | undefined {
    return this.o.app.hooks?.server;
  }

  /** The request that an error belongs to which no call threw: `inTurn`, it came out of the handler that ran last. */
  culprit(inTurn: boolean): Connection | null {
    if (inTurn && this.latest?.active) return this.latest;
    // It may have come out of a WebSocket's callback, too.
    if (this.inHand !== 1 || this.upgraded.size > 0) return null;
    return this.requests()[0];
  }

  /** The connections that have a request in hand. */
  private requests(): Connection[] {
    return [...this.connections.values()].filter((conn) => conn.active);
  }

  /** Requests in hand, for messages about errors that belong to none of them for sure. */
  describe(): string {
    const names = this.requests()
      .slice(0, 5)
      .map((conn) => `${conn.method} ${conn.url}`);
    if (names.length > 0) return names.join(', ');
    return this.latest === null ? 'no request in hand' : `after ${this.latest.method} ${this.latest.url}`;
  }
}

function emitCloseNT(handler: Handler, res: ServerResponse): void {
  handler.emitClose(res);
}

/** What a listener for 'finish' or 'drain' throws fails its request alone. */
function runAll(handler: Handler, conn: Connection, callbacks: WriteCallback[]): void {
  for (const callback of callbacks) {
    try {
      callback();
    } catch (error) {
      handler.failed(conn, error);
    }
  }
}

function isPromise(value: unknown): value is Promise<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as Promise<unknown>).then === 'function';
}

function timedOut(): Error {
  return new DOMException('The request is past its deadline', 'TimeoutError');
}
