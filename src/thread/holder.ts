/**
 * Holder: the connections of one thread, and what it may do with the fds that it owns: give one back to the selector, end
 * it, wait for it, count its requests. handle.ts adds what HTTP does with them.
 *
 * Objects outlive ownership: a connection that went back to the selector keeps its Connection here for a while, and a handler
 * may hold on to its socket for ever. So everything that is not done in the course of a request asks owns() first.
 */
import type { App } from '../app/types.js';
import type { Config } from '../config/settings.js';
import type { Connection } from '../http/connection.js';
import { CostMeter } from '../http/cost.js';
import { isLast } from '../http/message.js';
import type { ProcessLogs } from '../log/process-logs.js';
import type { Logger } from '../log.js';
import { native } from '../native/binding.js';
import { EVENT_READ, EVENT_WRITE, type EventMask, type Selector } from '../selector/selector.js';
import type { Driver } from '../shared/driver.js';
import { C, CLOSING, type Shared, T } from '../shared/memory.js';
import { type ConnTable, limitAfter, OWNER_FREE, OWNER_THREAD, READ_AHEAD, REGISTERED } from '../shared/tconn.js';
import { AccessLines } from './access-log.js';
import type { Ending } from './ending.js';
import { Lanes } from './lanes.js';

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
  /** What the program does at its end. Default: nothing. */
  ending?: Ending;
  /** Where requests are told of when they are over. */
  logs: Pick<ProcessLogs, 'access' | 'statsd'>;
  /** A connection has more to be done, in a turn of its own: see resume(). */
  again(conn: Connection): void;
  /** A heavy request begins: others take over the watch. */
  yieldWatch(): void;
  /** A request ended. */
  ended(): void;
  /** Main asked to hear when the connection has been handled. */
  notice(fd: number, generation: number, visits: number, kept: boolean): void;
}

export abstract class Holder {
  readonly o: HandlerOptions;
  readonly clock: Int32Array;
  /** Connections that this thread owns now, or keeps the objects of. */
  readonly connections = new Map<number, Connection>();
  /** How many requests are in hand. */
  inHand = 0;
  /** Connections that have left HTTP, and since when they are to be closed (upgrade.ts): clock, 0 = they stay. */
  readonly upgraded = new Set<Connection>();
  leavingAt = 0;
  readonly lanes: Lanes;
  /** A handler has answered before it returned: its 'close' needs no tick of its own. */
  protected inTurn = false;
  /** The thread is in a turn: more requests are at hand, and short responses may leave together (native outbox). */
  holding = false;
  /** Responses in the outbox, at most. */
  held = 0;
  readonly meter: CostMeter | null;
  readonly serverTiming: boolean;
  protected readonly accessLines: AccessLines | null;
  protected readonly control: Int32Array;
  protected readonly keepAliveMs: number;
  /** Requests have a post_request. */
  private readonly hearsEnd: boolean;
  private readonly begun: number;
  private readonly inflight: number;
  private readonly served: number;
  private readonly headMs: number;
  private readonly requestMs: number;

  constructor(options: HandlerOptions) {
    this.o = options;
    const { shared, slot, config } = options;
    this.control = shared.control;
    this.begun = shared.threadWord(slot, T.BEGUN);
    this.inflight = shared.threadWord(slot, T.INFLIGHT);
    this.served = shared.threadWord(slot, T.SERVED);
    this.clock = shared.control.subarray(shared.threadWord(slot, T.CLOCK), shared.threadWord(slot, T.CLOCK) + 2);
    this.keepAliveMs = options.keepAlive ? config.keepalive * 1000 : 0;
    this.requestMs = config.timeout * 1000;
    this.lanes = new Lanes({
      slot,
      shared,
      table: options.table,
      maxQueue: config.maxQueue,
      yieldAll: () => {
        this.flushHeld();
        options.yieldWatch();
      },
    });
    const { logs, table } = options;
    const told = logs.access !== null || logs.statsd !== null;
    const lines = told ? new AccessLines(logs, config, slot, table, this.lanes.routes) : null;
    this.accessLines = lines;
    this.hearsEnd = options.app.ended !== undefined;
    this.serverTiming = config.serverTiming;
    const costs = config.serverTiming || lines?.needsCost === true;
    this.meter = costs || lines?.needsTime ? new CostMeter(slot, costs) : null;
    this.headMs = config.headerTimeout > 0 ? config.headerTimeout * 1000 : 0x3fffffff;
  }

  // --- requests ---

  protected beginRequest(conn: Connection): void {
    const now = this.clock[0];
    let ms = this.requestMs;
    const client = this.clientMs();
    if (client > 0 && (ms === 0 || client < ms)) ms = client;
    conn.limit = limitAfter(now, ms);
    this.o.table.beginRequest(conn.fd, now, conn.limit, conn.route);
    this.control[this.begun]++;
    this.control[this.inflight]++;
    this.inHand++;
    if (this.meter !== null) this.meter.begin(conn);
  }

  /** For how long the client will wait, as its request says, ms; 0 = not said. */
  protected abstract clientMs(): number;

  /**
   * A request is over. kept: its connection goes on with the next one; false: it is closed; null: it is owed an answer yet. Whatever kills
   * the thread, the access line is there once: main writes it where the table does not say yet that the request is over.
   */
  protected endRequest(conn: Connection, status: number, kept: boolean | null): void {
    if (!this.leaveRequest(conn)) return;
    if (this.accessLines !== null) this.accessLines.write(conn, status);
    if (kept !== null) this.o.table.endRequest(conn.fd, kept, conn.early !== null);
    if (this.hearsEnd) this.o.app.ended?.(conn, status);
    this.o.ended();
  }

  /** A request is no longer in hand; its access line is the caller's. False if none was. */
  leaveRequest(conn: Connection): boolean {
    if (!conn.active) return false;
    conn.active = false;
    this.inHand--;
    this.lanes.end(conn, conn.inHandler || this.inTurn, this.clock[0], this.inHand);
    this.control[this.inflight]--;
    this.control[this.served]++;
    if (this.meter !== null) this.meter.measure(conn);
    return true;
  }

  /** The access line of a connection that has left HTTP. */
  logUpgrade(conn: Connection): void {
    this.accessLines?.write(conn, conn.status);
  }

  countUpgraded(): void {
    const { shared, slot } = this.o;
    Atomics.store(shared.control, shared.threadWord(slot, T.UPGRADED), this.upgraded.size);
  }

  markSent(conn: Connection): void {
    this.o.table.markSent(conn.fd);
  }

  outcome(conn: Connection): number {
    const { fd, res } = conn;
    const next = !conn.last && conn.early === null && !conn.unread && !(res !== null && isLast(res));
    return this.o.table.outcome(fd, res !== null ? res.statusCode : conn.status, next);
  }

  noteOutcome(conn: Connection): void {
    this.o.table.setFacts(conn.fd, this.outcome(conn));
  }

  interim<T>(conn: Connection, send: () => T): T {
    const { table } = this.o;
    const begun = table.wasSent(conn.fd);
    const result = send();
    // Where the kernel has not taken all of it, nothing else may follow.
    if (!begun && conn.active && !conn.blocked) table.clearSent(conn.fd);
    return result;
  }

  hold(): number {
    if (!this.holding) return 0;
    this.held++;
    return 1;
  }

  /** Sends what is held back. */
  flushHeld(): void {
    this.held = native.outboxFlush(this.o.slot);
  }

  // --- fds ---

  /** The connection ends; slowly if the client sends more than was read, for a reset would take the response with it. */
  protected close(conn: Connection): void {
    if (conn.unread || conn.pipelines || native.peek(conn.fd) > 0) conn.startLinger();
    else this.drop(conn, null);
  }

  protected keep(conn: Connection): void {
    const { o, control } = this;
    if (conn.early !== null) o.again(conn);
    // This response did not say that it is the last: the client may be sending already.
    else if (control[C.DRAINING] === CLOSING) conn.startLinger();
    else this.release(conn, (this.clock[0] + this.keepAliveMs) | 0);
  }

  /** Back to the selector, unless bytes came meanwhile. */
  protected release(conn: Connection, deadline = this.o.table.deadline(conn.fd)): void {
    const { table, driver } = this.o;
    const { fd, generation } = conn;
    const facts = table.facts(fd);
    if ((facts & (REGISTERED | READ_AHEAD)) !== REGISTERED) table.setFacts(fd, (facts | REGISTERED) & ~READ_AHEAD);
    if ((facts & REGISTERED) === 0) {
      if (driver.register(fd, generation) < 0) {
        this.drop(conn, null);
        return;
      }
    }
    if (deadline === 0) deadline = this.headDeadline();
    if (conn.full) {
      // Events are edge-triggered: what stayed in the kernel is not reported again.
      table.setDeadline(fd, deadline);
      this.o.again(conn);
      return;
    }
    if (!table.release(fd, deadline)) this.o.again(conn);
    else if (table.notice >= 0) this.o.notice(fd, generation, table.notice, true);
  }

  /** Closes a connection that this thread owns. */
  drop(conn: Connection, error: Error | null): void {
    const { table } = this.o;
    if (conn.closed) return;
    if (conn.active) this.endRequest(conn, conn.res?.headersSent ? conn.res.statusCode : conn.status, false);
    conn.gone(error);
    if (this.connections.get(conn.fd) === conn) this.connections.delete(conn.fd);
    table.close(conn.fd);
    if (table.notice >= 0) this.o.notice(conn.fd, conn.generation, table.notice, false);
  }

  expireIn(conn: Connection, ms: number): void {
    conn.limit = limitAfter(native.clock(), ms);
    this.o.table.setLimit(conn.fd, conn.limit);
  }

  /** This thread owns the connection. */
  owns(conn: Connection): boolean {
    const { table, slot } = this.o;
    return table.generation(conn.fd) === conn.generation && table.owner(conn.fd) === OWNER_THREAD + slot;
  }

  isOpen(conn: Connection): boolean {
    const { table } = this.o;
    return table.generation(conn.fd) === conn.generation && table.owner(conn.fd) !== OWNER_FREE;
  }

  socketGone(conn: Connection, error: Error | null): void {
    const { table, slot } = this.o;
    if (this.owns(conn) || table.claim(conn.fd, conn.generation, slot)) this.drop(conn, error);
    else this.forget(conn);
  }

  /** Lets go of the objects of a connection that is not this thread's now. */
  forget(conn: Connection): void {
    if (this.connections.get(conn.fd) === conn) this.connections.delete(conn.fd);
    conn.gone(null);
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

  /** Each piece of a long body would wake whoever watches the shared selector. release() registers it again. */
  keepToSelf(conn: Connection): void {
    const { table, driver } = this.o;
    const facts = table.facts(conn.fd);
    if ((facts & REGISTERED) === 0) return;
    table.setFacts(conn.fd, facts & ~REGISTERED);
    driver.unregister(conn.fd);
  }

  /** When a head that begins now has to be whole. */
  protected headDeadline(): number {
    return (this.clock[0] + this.headMs) | 0;
  }
}
