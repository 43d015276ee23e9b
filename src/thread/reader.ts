/**
 * Reader: the way from bytes to a request whose head is whole. Takes what a connection has sent (or what was kept of it), a PROXY
 * header first, parses, and hands the request on to handleRequest() (handle.ts), unless it has to wait for a lane.
 *
 *     receive ─ begin ─ process ─┬ head incomplete ─> keepHead ─> selector (head deadline)
 *                                ├ malformed ─> refused
 *                                ├ heavy, and no lane free ─> holdOff ─> ring
 *                                └ handleRequest
 */
import type { Connection } from '../http/connection.js';
import { FAILED, MESSAGE_DONE, NEED_MORE, RequestParser } from '../http/parser.js';
import { EAGAIN, native } from '../native/binding.js';
import { Proxied } from '../shared/proxied.js';
import { HAS_HEAD, limitAfter, READ_AHEAD, WHOLE } from '../shared/tconn.js';
import { AllowList, Forwarded } from '../trust.js';
import { worthParsing } from './heads.js';
import { type HandlerOptions, Holder } from './holder.js';
import { FENCED, RUN, WAIT } from './lanes.js';
import { lookAtFields, MORE, takePreface } from './trust.js';

export abstract class Reader extends Holder {
  readonly parser: RequestParser;
  readonly forwarders: AllowList;
  readonly forwarded: Forwarded;
  readonly proxied: Proxied | null;
  readonly tls: boolean;
  private readonly maxHead: number;

  constructor(options: HandlerOptions) {
    super(options);
    const { config } = options;
    this.forwarders = new AllowList(config.forwardedAllowIps);
    this.forwarded = new Forwarded(config);
    this.tls = config.certfile !== null;
    this.proxied = Proxied.open(config, options.shared, options.table);
    const { limitRequestLine: line, limitRequestFields: fields, limitRequestFieldSize: fieldSize } = config;
    this.parser = new RequestParser({ line, fields, fieldSize }, this.forwarded.watch);
    this.maxHead = this.parser.maxHead;
  }

  /** The object of a connection that this thread has not met yet. */
  protected abstract connection(fd: number, generation: number): Connection;
  /** The request whose head the parser has just read; `complete`: its body too. */
  protected abstract handleRequest(conn: Connection, complete: boolean): void;
  /** Answers a request that is not handled. */
  abstract refused(conn: Connection, status: number, reason: string): void;
  protected abstract answer(conn: Connection, status: number, detail: string): void;

  /** Serves a connection that the driver gave out. queued: its request has waited for a thread or a lane. */
  handle(fd: number, generation: number, queued: boolean): void {
    let conn = this.connections.get(fd);
    if (conn === undefined || conn.generation !== generation) {
      conn = this.connection(fd, generation);
      this.connections.set(fd, conn);
    }
    // Another thread may have read it, also where this one has seen the connection before.
    if (this.tls) conn.ends ??= this.proxied?.of(fd) ?? null;
    else if (this.proxied !== null) conn.proxied ??= this.proxied.of(fd);
    conn.waitedMs = queued ? Math.max(0, (native.clock() - this.o.table.began(fd)) | 0) : -1;
    this.receive(conn);
    conn.waitedMs = -1;
  }

  /** Goes on with a connection: with its early bytes, or with what came while this thread had it. See again(). */
  resume(conn: Connection): void {
    if (conn.closed || conn.active || conn.lingering) return;
    const { early } = conn;
    if (early === null) {
      this.receive(conn, true);
      return;
    }
    conn.early = null;
    const { parser } = this;
    while (parser.inputSize < early.length) parser.grow(0);
    early.copy(parser.memory, parser.inputAt);
    native.headNote(conn.fd, early, 0, early.length);
    this.process(conn, early.length, 0, early);
  }

  /** pending: events came while the connection was being served. They may be two, the second of them the end of the client's side. */
  private receive(conn: Connection, pending = false): void {
    const { parser, o } = this;
    const { fd } = conn;
    let have = 0;
    const facts = o.table.facts(fd);
    // From here on nobody else knows what was read, should this thread die. It is so until keep() or release().
    o.table.setFacts(fd, (facts | READ_AHEAD) & ~(HAS_HEAD | WHOLE));
    if ((facts & HAS_HEAD) !== 0) {
      while (parser.inputSize - 4096 < native.headLength(fd)) parser.grow(0);
      have = native.headTake(fd, parser.memory, parser.inputAt, parser.inputSize);
      // It has waited for a lane; what may have come behind it is looked for afterwards.
      if ((facts & WHOLE) !== 0) {
        conn.full = true;
        // Nothing is received, so nothing has brought the clock up to date.
        this.clock[0] = native.clock();
        if (have > 0) return this.process(conn, have, 0, null);
      }
    }
    const room = parser.inputSize - have;
    const n = native.recvHead(fd, parser.memory, parser.inputAt, have, room);
    if (n > 0) {
      conn.full = n === room || pending;
      conn.bytesRead += n;
      if (this.proxied?.isUnread(facts)) this.begin(conn, this.proxied, have + n, have);
      else this.process(conn, have + n, have, null);
    } else if (n === EAGAIN) {
      conn.full = false;
      if (have > 0) this.keepHead(conn, have, false);
      else this.release(conn);
    } else if (n === 0 && have > 0 && !this.proxied?.isUnread(facts)) this.endHead(conn, have);
    else this.drop(conn, null);
  }

  /** The client has ended its side in the middle of a head, of which the last bytes may not have been worth parsing. */
  private endHead(conn: Connection, length: number): void {
    const { parser } = this;
    const message = parser.begin();
    const result = parser.head(message, parser.inputAt, length);
    parser.end(message);
    if (result === FAILED) this.refused(conn, parser.status, parser.reason);
    else this.drop(conn, null);
  }

  /** The first bytes of a connection, which a PROXY header may stand before. */
  private begin(conn: Connection, proxied: Proxied, length: number, old: number): void {
    const left = takePreface(this, proxied, conn, length);
    if (left === MORE) this.keepHead(conn, length, old === 0);
    else if (left > 0) this.process(conn, left, left === length ? old : 0, null);
    // The header alone: as one that has sent nothing yet.
    else if (left === 0) this.release(conn);
  }

  /** Parses `length` bytes of input, the first `old` of which were there before. `early`: the same bytes, to be kept. */
  private process(conn: Connection, length: number, old: number, early: Buffer | null): void {
    const { parser } = this;
    if (old > 0 && length < this.maxHead && !worthParsing(parser.memory, parser.inputAt, old, length)) {
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
    conn.secure = this.tls;
    const wrong = parser.notable ? lookAtFields(this, conn) : '';
    // RFC 9110, 7.4: a request for https has to come by it, or from a gateway that is trusted to say so.
    const misdirected = parser.https && !conn.secure && !conn.trusted;
    if (wrong !== '' || misdirected) {
      parser.end(message);
      if (wrong !== '') this.refused(conn, 400, wrong);
      else this.refused(conn, 421, 'A target of https on a connection in the clear');
      return;
    }
    const lane = this.lanes.judge(conn, parser.method, parser.url, this.clock[0]);
    if (lane !== RUN) {
      parser.end(message);
      this.holdOff(conn, lane, length);
      return;
    }
    const complete = result === MESSAGE_DONE;
    conn.startBody(message, complete);
    if (complete) {
      parser.end(message);
      const { consumed } = parser;
      if (consumed < length) {
        conn.pipelines = true;
        conn.early =
          early !== null
            ? early.subarray(consumed)
            : Buffer.from(parser.memory.subarray(parser.inputAt + consumed, parser.inputAt + length));
      }
    }
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
    // The deadline counts from the first byte.
    this.release(conn, first ? this.headDeadline() : table.deadline(fd));
  }

  /** A request that must not run now: it waits for a lane, or is refused. */
  private holdOff(conn: Connection, lane: number, length: number): void {
    const { parser, o } = this;
    const { table } = o;
    const { fd } = conn;
    if (lane === WAIT && native.headPut(fd, parser.memory, parser.inputAt, length) >= 0) {
      table.setFacts(fd, (table.facts(fd) | HAS_HEAD | WHOLE) & ~READ_AHEAD);
      table.setLimit(fd, limitAfter(this.clock[0], this.clientMs()));
      table.enqueue(fd, this.clock[0]);
      this.lanes.put(fd, conn.generation);
      return;
    }
    conn.method = parser.method;
    conn.url = parser.url;
    conn.rawHeaders = parser.headers;
    conn.versionMinor = parser.versionMinor;
    this.answer(conn, 503, lane === FENCED ? 'This route has ended too many threads' : 'Too many requests wait');
  }

  /** For how long the client will wait, as it says itself, ms; 0 = not said. */
  protected clientMs(): number {
    const name = this.o.config.deadlineHeader;
    if (name === '') return 0;
    const { headers } = this.parser;
    for (let i = 0; i < headers.length; i += 2) {
      if (headers[i].length !== name.length || headers[i].toLowerCase() !== name) continue;
      const ms = Number(headers[i + 1]);
      return ms > 0 && ms < 0x3fffffff ? Math.ceil(ms) : 0;
    }
    return 0;
  }
}
