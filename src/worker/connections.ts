/**
 * The connections of a worker as its main thread keeps them, and the keepalive queue they wait in. Closes those that wait too long:
 * for their next request, or for the rest of a head. A thread may claim any of them at any time, so each is seized before
 * anything is done to it (shared/tconn.ts).
 */
import { errorResponse } from '../answers.js';
import type { Config } from '../config/settings.js';
import { native } from '../native/binding.js';
import { type ConnTable, HAS_HEAD, OWNER_FREE, OWNER_IDLE, SERVED_ONE } from '../shared/tconn.js';
import type { MainAccess } from './access.js';
import { KeepaliveQueue } from './keepalive-queue.js';
import type { Lingerer } from './lingerer.js';
import { TConn } from './tconn.js';

/** At --worker-connections: from when on an unused connection may be closed for a new one, ms. */
const RECLAIM_MS = 1000;
/** ms after which a connection that is being served is looked at again. */
const BUSY_MS = 500;

export interface ConnectionsOptions {
  table: ConnTable;
  config(): Config;
  access: MainAccess;
  lingerer: Lingerer;
  /** A request has arrived: it is to be served. */
  enqueue(conn: TConn): void;
}

export class Connections {
  /** By fd. */
  readonly all = new Map<number, TConn>();
  private readonly queue = new KeepaliveQueue<TConn>(performance.now());
  private readonly o: ConnectionsOptions;

  constructor(options: ConnectionsOptions) {
    this.o = options;
  }

  /** A waiting connection is looked at this often, ms: its deadline may have become an earlier one. */
  private get lookMs(): number {
    const { headerTimeout, keepalive } = this.o.config();
    return 1000 * Math.min(headerTimeout || keepalive || 1, keepalive || headerTimeout || 1);
  }

  open(fd: number, listener: number): TConn {
    const before = this.all.get(fd);
    if (before) this.queue.remove(before);
    const conn = new TConn(fd, this.o.table.open(fd, listener));
    this.all.set(fd, conn);
    this.queue.add(conn, performance.now() + this.lookMs);
    return conn;
  }

  forget(conn: TConn): void {
    if (this.all.get(conn.fd) === conn) this.all.delete(conn.fd);
    this.queue.remove(conn);
  }

  /** Closes those whose deadline has passed: keep-alive over, or a request head that did not come in time. */
  murder(): void {
    const { table } = this.o;
    const now = performance.now();
    const clock = native.clock();
    const { lookMs } = this;
    for (const conn of this.queue.due(now)) {
      const { fd, generation } = conn;
      if (table.generation(fd) !== generation || table.owner(fd) === OWNER_FREE) {
        if (this.all.get(fd) === conn) this.all.delete(fd);
        continue;
      }
      const left = (table.deadline(fd) - clock) | 0;
      if (table.owner(fd) !== OWNER_IDLE || table.deadline(fd) === 0) this.queue.add(conn, now + BUSY_MS);
      else if (left > 0) this.queue.add(conn, now + Math.min(left, lookMs));
      else if (!this.closeIdle(conn)) this.queue.add(conn, now + BUSY_MS);
    }
  }

  /** Closes those that nobody has used for longest: acceptor.ts. Returns how many. */
  makeRoom(most: number): number {
    const clock = native.clock();
    const unused: Array<[ms: number, conn: TConn]> = [];
    for (const conn of this.all.values()) {
      const ms = this.unusedMs(conn, clock);
      if (ms >= RECLAIM_MS) unused.push([ms, conn]);
    }
    unused.sort((a, b) => b[0] - a[0]);
    return unused.slice(0, most).filter(([, conn]) => this.closeIdle(conn)).length;
  }

  /** Closes all that wait for a request. fresh: also those that have not had one yet. */
  closeAll(fresh: boolean): void {
    const { table } = this.o;
    for (const [fd, conn] of this.all) {
      if (table.generation(fd) !== conn.generation || table.owner(fd) !== OWNER_IDLE) continue;
      if (fresh || (table.facts(fd) & SERVED_ONE) !== 0) this.closeIdle(conn);
    }
  }

  /** For how long a connection waits for its next request, or for the rest of a head, ms; 0: it is in use. */
  private unusedMs({ fd, generation }: TConn, clock: number): number {
    const { table } = this.o;
    const { keepalive, headerTimeout } = this.o.config();
    const deadline = table.deadline(fd);
    if (table.generation(fd) !== generation || table.owner(fd) !== OWNER_IDLE || deadline === 0) return 0;
    const between = (table.facts(fd) & (SERVED_ONE | HAS_HEAD)) === SERVED_ONE;
    const seconds = between ? keepalive : headerTimeout;
    return seconds > 0 ? (clock - deadline + seconds * 1000) | 0 : 0;
  }

  /** Closes a waiting connection, unless a request has arrived: that one is served. False if it is still open. */
  private closeIdle(conn: TConn): boolean {
    const { table, access, lingerer, enqueue } = this.o;
    const { fd, generation } = conn;
    if (!table.seize(fd, generation)) return false;
    const facts = table.facts(fd);
    const late = table.deadline(fd) !== 0 && ((table.deadline(fd) - native.clock()) | 0) <= 0;
    // The rest of a head may have come while we stop; one that is past its deadline gets no more time.
    if (native.peek(fd) > 0 && ((facts & HAS_HEAD) === 0 || !late)) {
      enqueue(conn);
      return false;
    }
    // An empty line begins no request.
    if (late && (facts & HAS_HEAD) !== 0 && /[^\r\n]/.test(native.headLine(fd))) {
      // It may be sending still: to close at once would be a reset, which takes the answer with it.
      const answer = errorResponse(408);
      access.write(fd, '', 408, answer, { thread: '', durationMs: -1, queueMs: -1 });
      lingerer.end(conn, answer);
      return true;
    }
    this.all.delete(fd);
    table.close(fd);
    return true;
  }
}
