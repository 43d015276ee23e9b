/**
 * The queue: requests that wait while every thread is busy. Then main takes ready events out of the kernel every few ms,
 * gives them the time (QUEUED in shared/tconn.ts) and puts them into its ring, from where threads take them: so
 * it is known to 10 ms how long each has waited, and while a thread is free main does nothing. Heavy requests that wait for a
 * lane (thread/lanes.ts) are QUEUED by their thread; from here on both are alike.
 *
 *     event ── await ──> QUEUED ──┬ a thread takes it
 *                                 ├ more than --max-queue wait: the new one is refused
 *                                 ├ longer than --queue-timeout, or than its client will wait: refused
 *                                 └ its client has left: closed, never handled
 */
import { errorResponse, INTERIM } from '../answers.js';
import type { Config } from '../config/settings.js';
import type { Logger } from '../log.js';
import { CLIENT_ENDED, EPOLLRDHUP, native } from '../native/binding.js';
import type { ThreadPool } from '../pool/thread-pool.js';
import type { ProxyAddresses } from '../proxy-protocol.js';
import { C, type Shared } from '../shared/memory.js';
import type { Proxied } from '../shared/proxied.js';
import { type ConnTable, HAS_HEAD, limitAfter, OWNER_IDLE, OWNER_QUEUED, REGISTERED } from '../shared/tconn.js';
import type { MainAccess } from './access.js';
import type { Lingerer } from './lingerer.js';
import type { TConn } from './tconn.js';

/** ms between two looks into the kernel while every thread is busy, and between two looks at what waits. */
const POLL_MS = 4;
const LOOK_MS = 10;
/** ms between two looks at whether those who wait are still there. */
const PRESENCE_MS = 50;
const EVENTS = 256;
/** Bytes of a head that is looked at while it waits. */
const HEAD = 4096;
const REPORT_MS = 1000;

export interface WaitQueueOptions {
  shared: Shared;
  table: ConnTable;
  conns: ReadonlyMap<number, TConn>;
  config: Config;
  pool: ThreadPool;
  lingerer: Lingerer;
  access: MainAccess;
  /** Null: no PROXY headers are looked for. */
  proxied: Proxied | null;
  log: Logger;
  /** A request that main can answer itself: the whole response, or null. Asked with the first bytes of what waits. */
  answer(head: Buffer): string | null;
  /** Puts a connection that main owns, and no thread has had yet, into the selector. */
  toSelector(conn: TConn): void;
}

export class WaitQueue {
  private readonly o: WaitQueueOptions;
  private readonly events = new Int32Array(EVENTS * 3);
  private readonly head = Buffer.alloc(HEAD);
  private readonly timeoutMs: number;
  private readonly deadlineHeader: RegExp | null;
  private polledAt = 0;
  private lookedAt = 0;
  private presenceAt = 0;
  private reportedAt = 0;
  private refusals = 0;

  constructor(options: WaitQueueOptions) {
    this.o = options;
    const { queueTimeout, deadlineHeader } = options.config;
    this.timeoutMs = queueTimeout * 1000;
    this.deadlineHeader =
      deadlineHeader === ''
        ? null
        : new RegExp(`\\r\\n${literally(deadlineHeader)}:[ \\t]*(\\d{1,9})[ \\t]*\\r\\n`, 'i');
  }

  /** Called at each look of the supervisor. allBusy: no thread is free. */
  tick(allBusy: boolean): void {
    const now = performance.now();
    if (allBusy && now - this.polledAt >= POLL_MS) {
      this.polledAt = now;
      this.poll();
    }
    if (this.refusals > 0) this.report(now);
    if (this.o.shared.control[C.QUEUED] === 0 || now - this.lookedAt < LOOK_MS) return;
    this.lookedAt = now;
    this.look(now);
  }

  /** What became readable goes from the kernel into main's ring. */
  private poll(): void {
    const { shared, table, conns, pool, config } = this.o;
    const events = this.events;
    const clock = native.clock();
    if (pool.submitted) this.takeBack();
    for (let n = EVENTS; n === EVENTS; ) {
      n = native.epollWait(shared.memory.epfd, events, EVENTS, 0);
      for (let i = 0; i < n * 3; i += 3) {
        const fd = events[i];
        const generation = events[i + 1];
        const conn = conns.get(fd);
        if (conn === undefined || conn.generation !== generation) continue;
        if (!table.await(fd, generation, clock)) continue;
        // The end of the client's side is reported only once: whoever serves the connection has to look again.
        if ((events[i + 2] & EPOLLRDHUP) !== 0) table.await(fd, generation, clock);
        if (config.maxQueue > 0 && shared.control[C.QUEUED] > config.maxQueue)
          this.refuse(conn, 'Too many requests wait');
        else if (!this.inspect(conn, clock)) pool.enqueue(conn);
      }
    }
  }

  /** New connections that were handed over when a thread still seemed free: they wait as the others do. */
  private takeBack(): void {
    const { table, conns, toSelector } = this.o;
    for (const conn of conns.values()) {
      const { fd, generation } = conn;
      if (table.owner(fd) !== OWNER_IDLE || (table.facts(fd) & REGISTERED) !== 0) continue;
      // Between that look and this a thread may have taken it, registered it and given it back: toSelector looks again.
      if (table.seize(fd, generation)) toSelector(conn);
    }
  }

  /** Looks at what begins to wait; true if main is done with it. */
  private inspect(conn: TConn, clock: number): boolean {
    const { table, lingerer } = this.o;
    const { fd } = conn;
    const n = native.peekBytes(fd, this.head, HEAD);
    // The end of one that asks for nothing is no request.
    if (n === 0 && (table.facts(fd) & HAS_HEAD) === 0) {
      if (table.seizeQueued(fd, conn.generation)) lingerer.end(conn, '');
      return true;
    }
    if (n <= 0) return false;
    const head = this.beginning(fd, n).rest;
    const answer = this.o.answer(head);
    if (answer !== null) {
      if (table.seizeQueued(fd, conn.generation)) lingerer.end(conn, answer);
      return true;
    }
    const ms = Number(this.deadlineHeader?.exec(head.latin1Slice())?.[1] ?? 0);
    if (ms > 0) table.setLimit(fd, limitAfter(clock, ms));
    return false;
  }

  /** Refuses what has waited for too long, and forgets those who have left. */
  private look(now: number): void {
    const { table, conns } = this.o;
    const clock = native.clock();
    const presence = now - this.presenceAt >= PRESENCE_MS;
    if (presence) this.presenceAt = now;
    for (const conn of conns.values()) {
      const { fd } = conn;
      if (table.owner(fd) !== OWNER_QUEUED || table.generation(fd) !== conn.generation) continue;
      const limit = table.limit(fd);
      const late = limit !== 0 && ((clock - limit) | 0) >= 0;
      if (late || (this.timeoutMs > 0 && ((clock - table.began(fd)) | 0) >= this.timeoutMs)) {
        this.refuse(conn, late ? 'The client would not have waited' : 'Waited too long for a thread');
      } else if (presence) this.attend(conn);
    }
  }

  /** As thread/sweep.ts: one that has ended its side is asked whether it is still there; one that has left is forgotten. */
  private attend(conn: TConn): void {
    const { table, pool, lingerer } = this.o;
    const { fd } = conn;
    let state = native.hangup(fd);
    if (state === 0 || (state === CLIENT_ENDED && conn.asked)) return;
    const began = table.began(fd);
    if (!table.seizeQueued(fd, conn.generation)) return;
    if (state === CLIENT_ENDED) {
      conn.asked = true;
      if (/^[^\r\n]* HTTP\/1\.1\r?\n/.test(this.headOf(fd).head)) native.sendString(fd, INTERIM, 0);
      state = native.hangup(fd);
    }
    if (state !== CLIENT_ENDED) return lingerer.end(conn, '');
    // The entry that stands in a ring may have been met in between, and passed over: this one counts.
    table.enqueue(fd, began);
    pool.enqueue(conn);
  }

  /** The first bytes of what waits: kept by the thread that read it, or still in the kernel. */
  private headOf(fd: number): { head: string; client?: ProxyAddresses } {
    if ((this.o.table.facts(fd) & HAS_HEAD) !== 0) return { head: native.headLine(fd) };
    const n = native.peekBytes(fd, this.head, HEAD);
    if (n <= 0) return { head: '' };
    const { rest, addresses } = this.beginning(fd, n);
    return { head: rest.latin1Slice(), client: addresses ?? undefined };
  }

  /** The first n bytes of what waits, which were looked at, without a PROXY header. */
  private beginning(fd: number, n: number): { rest: Buffer; addresses: ProxyAddresses | null } {
    const { proxied } = this.o;
    const head = this.head.subarray(0, n);
    return proxied === null ? { rest: head, addresses: null } : proxied.peel(fd, head);
  }

  private refuse(conn: TConn, why: string): void {
    const { table, lingerer, access } = this.o;
    const { fd } = conn;
    const queueMs = (native.clock() - table.began(fd)) | 0;
    if (!table.seizeQueued(fd, conn.generation)) return;
    this.refusals++;
    const { head, client } = this.headOf(fd);
    const answer = errorResponse(503, why, '', head.startsWith('HEAD '));
    access.write(fd, head, 503, answer, { thread: '', durationMs: queueMs, queueMs, client });
    lingerer.end(conn, answer);
  }

  private report(now: number): void {
    if (now - this.reportedAt < REPORT_MS) return;
    this.reportedAt = now;
    this.o.log.warning(`Refused ${this.refusals} request(s) with 503: no thread was free for them`);
    this.refusals = 0;
  }
}

function literally(name: string): string {
  return name.replace(/[.*+?^$|]/g, '\\$&');
}
