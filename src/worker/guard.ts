/**
 * The guard: a thread that is stuck in a late request is ended, and whatever ends a thread, its clients are seen to.
 *
 * check() looks at threads whose event loop does not turn: is a request in hand past its deadline, has its client left? Then
 * the thread's JavaScript stack is taken and the thread ended. lost() follows however a thread has ended: its connections
 * are main's now; the request to blame gets 504 (deadline), 503 (memory, no more time at the end) or 500 (exit, crash), the others 503 where nothing
 * was sent; one that had its whole response is over, and its connection goes on; the rest is closed. src/README.md has the table.
 */
import { errorResponse, INTERIM } from '../answers.js';
import type { Config } from '../config/settings.js';
import type { Logger } from '../log.js';
import { CLIENT_ENDED, CLIENT_GONE, native } from '../native/binding.js';
import { isOutOfMemory } from '../pool/host.js';
import { stackOf } from '../pool/inspect.js';
import { Overdue } from '../pool/thread-handle.js';
import type { ThreadPool } from '../pool/thread-pool.js';
import type { Driver } from '../shared/driver.js';
import { C, CLOSING, type Shared, T } from '../shared/memory.js';
import type { Routes } from '../shared/routes.js';
import {
  type ConnTable,
  HAS_HEAD,
  IN_HAND,
  OWNER_IDLE,
  OWNER_QUEUED,
  OWNER_THREAD,
  READ_AHEAD,
  SERVED_ONE,
  UPGRADED,
} from '../shared/tconn.js';
import type { MainAccess } from './access.js';
import type { Lingerer } from './lingerer.js';
import type { TConn } from './tconn.js';

/** ms between two checks, and for how long a thread has to be stuck to be looked at. */
const CHECK_MS = 20;
const STUCK_MS = 20;
/** Requests that a line names which may be to blame. */
const MOST_NAMES = 5;
/** ms that the inspector has for a stack. */
const STACK_MS = 150;

type Cause = 'timeout' | 'disconnect' | 'memory' | 'exit' | 'overdue' | 'crash';

const STATUS = { timeout: 504, disconnect: 503, memory: 503, exit: 500, overdue: 503, crash: 500 };

/** Why a thread is being ended. */
interface Sentence {
  cause: Cause;
  /** The connections one of whose requests is to blame, none = it is not known. */
  suspects: readonly TConn[];
  stack: string | null;
}

export interface GuardOptions {
  shared: Shared;
  table: ConnTable;
  conns: Map<number, TConn>;
  /** As it is now: a reload may change it. */
  config(): Config;
  pool: ThreadPool;
  driver: Driver;
  lingerer: Lingerer;
  routes: Routes;
  access: MainAccess;
  log: Logger;
  /** Hands a connection to a thread again. */
  enqueue(conn: TConn): void;
}

export class Guard {
  private readonly routes: Routes;
  private readonly o: GuardOptions;
  private readonly sentences = new Map<number, Sentence>();
  /** When the client of a request in hand was first seen gone. */
  private readonly goneAt = new Map<TConn, number>();
  private checkedAt = 0;

  constructor(options: GuardOptions) {
    this.o = options;
    this.routes = options.routes;
  }

  /** Called at each look of the supervisor. stuckMs: for how long a slot's event loop has not turned. */
  check(stuckMs: (slot: number) => number): void {
    const now = performance.now();
    if (now - this.checkedAt < CHECK_MS) return;
    this.checkedAt = now;
    const { shared } = this.o;
    let any = false;
    for (let slot = 1; slot <= shared.threads; slot++) {
      const ms = stuckMs(slot);
      if (ms < STUCK_MS || this.sentences.has(slot)) continue;
      any = true;
      this.judge(slot, stuckMs, now);
    }
    if (!any) this.goneAt.clear();
  }

  /** A request has turned out heavy: its route is known as such before it is over. */
  learn(slot: number, us: number): void {
    const conn = this.current(slot);
    if (conn === null) return;
    const route = this.o.table.route(conn.fd);
    if (!this.routes.heavy(route)) this.routes.record(route, us, native.clock());
  }

  /** Ends threads whose heaps have reached their limit; called when main is woken. At once: they take more meanwhile. */
  checkHeaps(): void {
    const { shared, pool } = this.o;
    for (let slot = 1; slot <= shared.threads; slot++) {
      if (Atomics.load(shared.control, shared.threadWord(slot, T.FULL)) === 0) continue;
      if (this.sentences.get(slot)?.cause === 'memory') continue;
      this.sentences.set(slot, { cause: 'memory', suspects: [], stack: null });
      pool.kill(slot);
    }
  }

  private judge(slot: number, stuckMs: (slot: number) => number, now: number): void {
    const { timeout, timeoutGrace, killOnDisconnect } = this.o.config();
    const ms = stuckMs(slot);
    const graceMs = timeoutGrace * 1000;
    const limitBy = (native.clock() - graceMs) | 0;
    const current = this.current(slot);
    // In a callback it may be any of those in hand. One that is late, or whose client has left, must not take another with it that
    // is at work: it takes all of them, or the bound below.
    const suspects = current !== null ? [current] : this.inHand(slot);
    const late = suspects.filter((conn) => this.isLate(conn, limitBy));
    const enough = timeout > 0 ? suspects.length : 1;
    if (late.length > 0 && late.length >= enough && ms >= graceMs) return this.end(slot, 'timeout', late, stuckMs);
    if (killOnDisconnect > 0 && suspects.length > 0) {
      const goneMs = Math.min(...suspects.map((conn) => this.goneMs(conn, slot, now)));
      if (goneMs >= killOnDisconnect * 1000) return this.end(slot, 'disconnect', suspects, stuckMs);
    }
    // Nobody's deadline: a response that has begun, a timer, what went on after an answer.
    if (timeout > 0 && ms >= timeout * 1000 + graceMs) this.end(slot, 'timeout', suspects, stuckMs);
  }

  /** Nothing was sent of it, and its deadline was before `clock`. */
  private isLate({ fd }: TConn, clock: number): boolean {
    const { table } = this.o;
    const limit = table.limit(fd);
    return limit !== 0 && !table.wasSent(fd) && ((clock - limit) | 0) >= 0;
  }

  /** The connection whose handler is on the thread's stack. */
  private current(slot: number): TConn | null {
    const { shared, table, conns } = this.o;
    const fd = Atomics.load(shared.control, shared.threadWord(slot, T.CURRENT)) - 1;
    const conn = fd >= 0 ? conns.get(fd) : undefined;
    return conn !== undefined && table.owner(fd) === OWNER_THREAD + slot ? conn : null;
  }

  private inHand(slot: number): TConn[] {
    const { table, conns } = this.o;
    const found: TConn[] = [];
    for (const conn of conns.values()) {
      if (table.owner(conn.fd) === OWNER_THREAD + slot && (table.facts(conn.fd) & IN_HAND) !== 0) found.push(conn);
    }
    return found;
  }

  /** For how long the client has been gone, ms; 0 = it is there. One that has only ended its side is there. */
  private goneMs(conn: TConn, slot: number, now: number): number {
    const since = this.goneAt.get(conn);
    if (since !== undefined) return now - since;
    let state = native.hangup(conn.fd);
    if (state === CLIENT_ENDED && !conn.asked && / HTTP\/1\.1$/.test(this.requestLine(conn))) {
      conn.asked = this.o.table.interpose(conn.fd, slot, INTERIM);
      state = native.hangup(conn.fd);
    }
    if (state === CLIENT_GONE) this.goneAt.set(conn, now);
    return 0;
  }

  private requestLine(conn: TConn): string {
    return native.headLine(conn.fd).split(/\r?\n/, 1)[0];
  }

  private end(slot: number, cause: Cause, suspects: readonly TConn[], stuckMs: (slot: number) => number): void {
    const { pool } = this.o;
    const sentence: Sentence = { cause, suspects, stack: null };
    this.sentences.set(slot, sentence);
    const threadId = pool.threadId(slot);
    const ms = stuckMs(slot);
    void (threadId > 0 ? stackOf(threadId, STACK_MS) : Promise.resolve(null)).then((stack) => {
      if (this.sentences.get(slot) !== sentence) return;
      // Its loop has turned meanwhile: it sees to what is late itself.
      if (stuckMs(slot) < ms) this.sentences.delete(slot);
      else {
        sentence.stack = stack;
        pool.kill(slot);
      }
    });
  }

  // --- a thread has ended ---

  /** The slot is free: what was decided about its thread is not about the next one. */
  gone(slot: number): void {
    this.sentences.delete(slot);
  }

  /** Its clients are answered or dropped, events that it had taken are asked for again. */
  lost(slot: number, error: unknown, retiring: boolean): void {
    const { table, conns, driver, lingerer } = this.o;
    const sentence = this.sentences.get(slot) ?? { cause: causeOf(error), suspects: [], stack: null };
    const hands = this.inHand(slot);
    const suspects = this.suspects(slot, sentence, hands);
    this.report(slot, sentence, suspects, hands, error, retiring);
    const queued: TConn[] = [];
    for (const [fd, conn] of conns) {
      if (table.generation(fd) !== conn.generation) continue;
      if (table.owner(fd) === OWNER_QUEUED) queued.push(conn);
      else if (table.inherit(fd, slot)) {
        const answer = this.answer(slot, conn, suspects.includes(conn) ? STATUS[sentence.cause] : 503);
        if (this.goesOn(conn)) this.o.enqueue(conn);
        else lingerer.end(conn, answer);
      } else if (table.owner(fd) === OWNER_IDLE && driver.rearm(fd, conn.generation) < 0) {
        // Not in the selector yet: the thread may have taken it out of main's ring and no further.
        if (table.seize(fd, conn.generation)) this.o.enqueue(conn);
      }
    }
    this.o.pool.requeue(queued);
  }

  /**
   * Between two requests, with nothing read of the next: the thread's end is none of the client's business, who would wait in vain.
   * That begins with the last byte of a response (ConnTable.outcome).
   */
  private goesOn({ fd }: TConn): boolean {
    const { table, shared, config } = this.o;
    const facts = table.facts(fd);
    if ((facts & (READ_AHEAD | UPGRADED)) !== 0) return false;
    if ((facts & IN_HAND) !== 0) {
      if (table.status(fd) === 0) return false;
      table.endRequest(fd, true, false);
    }
    // What the thread itself would have done.
    if (Atomics.load(shared.control, C.DRAINING) === CLOSING) return false;
    // The deadline in the table is the one before the request.
    const between = (table.facts(fd) & (SERVED_ONE | HAS_HEAD)) === SERVED_ONE;
    if (between) table.setDeadline(fd, (native.clock() + config().keepalive * 1000) | 0);
    return true;
  }

  /** Those of the requests in hand one of which has ended the thread. */
  private suspects(slot: number, sentence: Sentence, hands: readonly TConn[]): readonly TConn[] {
    const found = sentence.suspects.filter((conn) => hands.includes(conn));
    if (found.length > 0) return found;
    const current = this.current(slot);
    if (current !== null) return [current];
    return hands.length === 1 ? hands : [];
  }

  /** The answer that is owed, '' where bytes have gone out; the access line of every request that was in hand, with what its client got. */
  private answer(slot: number, conn: TConn, status: number): string {
    const { table, access } = this.o;
    const { fd } = conn;
    if ((table.facts(fd) & IN_HAND) === 0) return '';
    const head = native.headLine(fd);
    const whole = table.status(fd);
    const answer = whole > 0 || table.wasSent(fd) ? '' : errorResponse(status, '', '', head.startsWith('HEAD '));
    const durationMs = (native.clock() - table.began(fd)) | 0;
    // Its thread has not come to it.
    this.routes.count(table.route(fd), 1, 0, 0);
    access.write(fd, head, whole || status, answer, { thread: slot, durationMs, queueMs: -1 });
    return answer;
  }

  private report(
    slot: number,
    { cause, stack }: Sentence,
    suspects: readonly TConn[],
    hands: readonly TConn[],
    error: unknown,
    retiring: boolean,
  ): void {
    const { table, log } = this.o;
    const config = this.o.config();
    const clock = native.clock();
    const name = (conn: TConn) => {
      const seconds = ((clock - table.began(conn.fd)) | 0) / 1000;
      return `${this.requestLine(conn)} (id ${table.requestId(conn.fd)}, after ${seconds.toFixed(2)} s)`;
    };
    const at = suspects.length === 0 ? 'no request' : suspects.slice(0, MOST_NAMES).map(name).join(' or ');
    const leaving = retiring ? ' while it was being replaced' : '';
    const why = {
      timeout: `Request timed out: ${at}; thread ${slot} was stuck in it and is ended`,
      disconnect: `Client left: ${at}; thread ${slot} was stuck in it and is ended`,
      memory: `Out of memory (${config.threadMemory > 0 ? `--thread-memory ${config.threadMemory} MiB` : "V8's own limit"}): ${at}; thread ${slot} has ended${leaving}`,
      exit: `process.exit() was called: ${at}; thread ${slot} has ended${leaving}`,
      crash: `Unexpected end: ${at}; thread ${slot} has ended${leaving}`,
      overdue: `Not finished within --graceful-timeout: ${at}; thread ${slot} is ended`,
    }[cause];
    if (stack !== null) log.error(why, Object.assign(new Error(), { stack }));
    else if (cause === 'memory') log.error(why);
    else if (cause === 'overdue') log.warning(why);
    else if (cause === 'timeout' || cause === 'disconnect') log.error(`${why} (in native code: no stack)`);
    else log.error(why, error);
    const others = hands.filter((conn) => !suspects.includes(conn)).map(name);
    if (others.length > 0)
      log.warning(`Also on thread ${slot}, answered 503 where nothing was sent: ${others.join(', ')}`);
    const [route, ...more] = new Set(suspects.map(({ fd }) => table.route(fd)));
    // Nothing is held against a route that only might have been it.
    if (route === undefined || more.length > 0 || cause === 'overdue') return;
    if (cause === 'timeout' || cause === 'disconnect') {
      const us = ((clock - table.began(suspects[0].fd)) | 0) * 1000;
      this.routes.record(route, us, clock);
      this.routes.count(route, 0, us, 0);
    }
    const { fenceKills, fenceWindow, fenceTime } = config;
    if (fenceKills === 0) return;
    if (!this.routes.ended(route, clock, fenceKills, fenceWindow * 1000, fenceTime * 1000)) return;
    log.error(
      `Route ${this.routes.name(route)} has ended ${fenceKills} threads within ${fenceWindow} s: answered 503 for ${fenceTime} s`,
    );
  }
}

function causeOf(error: unknown): Cause {
  if (error instanceof Overdue) return 'overdue';
  if (isOutOfMemory(error)) return 'memory';
  return error instanceof Error && /exited with code/.test(error.message) ? 'exit' : 'crash';
}
