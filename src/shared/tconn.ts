/**
 * TConn: the state of a client connection, one word in shared memory, and the rules by which it changes hands.
 *
 * Every fd has exactly one owner at a time: the selector (IDLE), a pool thread, or the supervisor (MAIN). The word
 *
 *     31........16 15..11 10......0
 *      generation  flags   owner
 *
 * changes by compare-and-swap only, along the transitions of src/README.md; the generation tells a connection from an
 * earlier one on the same fd number. The fd is added to the selector edge-triggered once and stays there: an event that
 * comes while somebody owns the connection is remembered as PENDING in the word, and release() then fails, so that the
 * owner looks again. That spares the system call that arms a one-shot event for every request.
 *
 *     FREE --accept--> MAIN --submit--> IDLE --claim--> thread --release--> IDLE
 *     IDLE --seize (deadline, drain)--> MAIN --submit--> IDLE
 *     IDLE --await--> QUEUED --dequeue--> thread --enqueue--> QUEUED --seize (refused, gone)--> MAIN
 *     MAIN, thread --closing, close(fd)--> FREE
 */
import { native } from '../native/binding.js';
import { C, CONN_WORDS, type Shared } from './memory.js';

export const OWNER_FREE = 0;
export const OWNER_IDLE = 1;
export const OWNER_MAIN = 2;
/** A request was read or reported and waits for a thread, in a ring or with main. */
export const OWNER_QUEUED = 3;
/** Owner of slot s is OWNER_THREAD + s. */
export const OWNER_THREAD = 16;

const OWNER_MASK = 0x7ff;
/** Main sends an interim response on a thread's connection: the thread waits a moment before it sends, or closes. */
const PROBE = 1 << 11;
/** Readiness was seen while somebody owned the connection. */
const PENDING = 1 << 12;
/** A byte of the current response has gone out: nobody may answer in the thread's place. */
const SENT = 1 << 13;
/** Main waits for the outcome (a Future with a callback). */
const NOTIFY = 1 << 14;
/** The owner is about to close the fd. */
const CLOSING = 1 << 15;
const GENERATION_SHIFT = 16;

/** Second word: when the waiting connection is due, coarse ms. Third: facts that only the owner changes. */
const DEADLINE = 1;
export const FACTS = 2;
/** Fourth: how often an owner was done with it. Tells a late asker that the outcome is there already. */
const VISITS = 3;
/** When the request in hand began, or when one began to wait in a queue: coarse ms. */
const BEGAN = 4;
/** When the request in hand is due, coarse ms; 0 = never. */
const LIMIT = 5;
/** Requests begun on this connection: part of a request's id. */
const NUMBER = 6;
/** Route of the request in hand or waiting (shared/routes.ts). */
const ROUTE = 7;
/** The fd is in the selector. */
export const REGISTERED = 1;
/** Bytes of an incomplete request head are kept for it (native.headTake). */
export const HAS_HEAD = 2;
/** It has completed at least one request: waiting now is keep-alive. */
export const SERVED_ONE = 4;
/** A request was begun and is not finished. */
export const IN_HAND = 8;
/** The kept bytes hold a whole request head: it can be served without receiving more. */
export const WHOLE = 16;
/** Its owner is reading, or has read, bytes of the next request that nobody else knows. */
export const READ_AHEAD = 32;
/** It has left HTTP: its thread keeps it until it is closed, and nobody else can do anything with it. */
export const UPGRADED = 64;
/** Its beginning was looked at for a PROXY header (proxied.ts). */
export const PREFACED = 128;
/** Next bits: status of the response in hand once all of it has left, until then 0. Bits above: index of the listener it came from. */
const STATUS_SHIFT = 8;
const STATUS = 0x3ff << STATUS_SHIFT;
const LISTENER_SHIFT = 18;

/** `ms` from `now` on the coarse clock, as a limit: never 0, which means none; 0 ms = none. */
export function limitAfter(now: number, ms: number): number {
  return ms > 0 ? (now + ms) | 0 || 1 : 0;
}

export class ConnTable {
  readonly shared: Shared;
  private readonly words: Int32Array;
  /** After release() and close(): -1, or, where main asked for a notice, the visits to report. */
  notice = -1;

  constructor(shared: Shared) {
    this.shared = shared;
    this.words = shared.conns;
  }

  private at(fd: number): number {
    return fd * CONN_WORDS;
  }

  word(fd: number): number {
    return Atomics.load(this.words, this.at(fd));
  }

  generation(fd: number): number {
    return this.word(fd) >>> GENERATION_SHIFT;
  }

  owner(fd: number): number {
    return this.word(fd) & OWNER_MASK;
  }

  /** FREE -> MAIN, with the next generation; returns it. Only main accepts. */
  open(fd: number, listener: number): number {
    const i = this.at(fd);
    const generation = ((this.words[i] >>> GENERATION_SHIFT) + 1) & 0xffff;
    this.words[i + DEADLINE] = 0;
    this.words[i + FACTS] = listener << LISTENER_SHIFT;
    this.words[i + NUMBER] = 0;
    Atomics.store(this.words, i, (generation << GENERATION_SHIFT) | OWNER_MAIN);
    Atomics.add(this.shared.control, C.OPEN, 1);
    return generation;
  }

  /**
   * IDLE -> thread. False if the connection is not this one any more or somebody has it; in the latter case the event
   * is remembered as PENDING for its owner.
   */
  claim(fd: number, generation: number, slot: number): boolean {
    const i = this.at(fd);
    for (;;) {
      const word = Atomics.load(this.words, i);
      if (word >>> GENERATION_SHIFT !== generation) return false;
      const owner = word & OWNER_MASK;
      if (owner === OWNER_IDLE) {
        const next = (word & ~(OWNER_MASK | PENDING | SENT)) | (OWNER_THREAD + slot);
        if (Atomics.compareExchange(this.words, i, word, next) === word) return true;
      } else {
        if (owner === OWNER_FREE || (word & PENDING) !== 0) return false;
        if (Atomics.compareExchange(this.words, i, word, word | PENDING) === word) return false;
      }
    }
  }

  /**
   * Owner -> IDLE. False, and still owned, if the connection became readable meanwhile: the owner has to look again
   * (PENDING is taken back). Deadline: coarse ms, see native.clock. Sets `notice`.
   */
  release(fd: number, deadline: number): boolean {
    const i = this.at(fd);
    this.words[i + DEADLINE] = deadline;
    const word = Atomics.load(this.words, i);
    if ((word & PENDING) === 0) {
      const next = (word & ~(OWNER_MASK | SENT | NOTIFY)) | OWNER_IDLE;
      const visits = ++this.words[i + VISITS];
      if (Atomics.compareExchange(this.words, i, word, next) === word) {
        this.notice = (word & NOTIFY) === 0 ? -1 : visits;
        return true;
      }
      this.words[i + VISITS]--;
    }
    Atomics.and(this.words, i, ~PENDING);
    return false;
  }

  /** IDLE -> MAIN, for the supervisor; false if somebody else has it. */
  seize(fd: number, generation: number): boolean {
    const i = this.at(fd);
    const word = Atomics.load(this.words, i);
    if (word >>> GENERATION_SHIFT !== generation || (word & OWNER_MASK) !== OWNER_IDLE) return false;
    const next = (word & ~OWNER_MASK) | OWNER_MAIN;
    return Atomics.compareExchange(this.words, i, word, next) === word;
  }

  /**
   * IDLE -> QUEUED, for main, which saw it readable while no thread was free; it puts the connection into its ring. It may wait for
   * ever (setLimit). False if somebody else has it: the event is remembered as in claim().
   */
  await(fd: number, generation: number, clock: number): boolean {
    const i = this.at(fd);
    for (;;) {
      const word = Atomics.load(this.words, i);
      if (word >>> GENERATION_SHIFT !== generation) return false;
      const owner = word & OWNER_MASK;
      if (owner === OWNER_IDLE) {
        const next = (word & ~(OWNER_MASK | SENT)) | OWNER_MAIN;
        if (Atomics.compareExchange(this.words, i, word, next) !== word) continue;
        // Before it is QUEUED: from there on an older entry in a ring may give it to a thread, whose request has a limit of its own.
        this.words[i + LIMIT] = 0;
        this.enqueue(fd, clock);
        return true;
      }
      if (owner === OWNER_FREE || (word & PENDING) !== 0) return false;
      if (Atomics.compareExchange(this.words, i, word, word | PENDING) === word) return false;
    }
  }

  /** Owner -> QUEUED: the caller puts it into a ring afterwards. PENDING stays as it is. */
  enqueue(fd: number, clock: number): void {
    const i = this.at(fd);
    this.words[i + BEGAN] = clock;
    Atomics.add(this.shared.control, C.QUEUED, 1);
    for (;;) {
      const word = Atomics.load(this.words, i);
      const next = (word & ~OWNER_MASK) | OWNER_QUEUED;
      if (Atomics.compareExchange(this.words, i, word, next) === word) return;
    }
  }

  /** QUEUED -> thread. False if main has seized it meanwhile. PENDING stays: what it tells was perhaps not received yet. */
  dequeue(fd: number, generation: number, slot: number): boolean {
    return this.leaveQueue(fd, generation, OWNER_THREAD + slot);
  }

  /** QUEUED -> MAIN, to refuse it, or because its client has gone. False if a thread has it. */
  seizeQueued(fd: number, generation: number): boolean {
    return this.leaveQueue(fd, generation, OWNER_MAIN);
  }

  private leaveQueue(fd: number, generation: number, owner: number): boolean {
    const i = this.at(fd);
    for (;;) {
      const word = Atomics.load(this.words, i);
      if (word >>> GENERATION_SHIFT !== generation || (word & OWNER_MASK) !== OWNER_QUEUED) return false;
      if (Atomics.compareExchange(this.words, i, word, (word & ~(OWNER_MASK | SENT)) | owner) !== word) continue;
      Atomics.sub(this.shared.control, C.QUEUED, 1);
      return true;
    }
  }

  /** MAIN -> IDLE without looking at PENDING: the caller puts the connection into a ring afterwards. */
  handOver(fd: number, notify: boolean): void {
    const i = this.at(fd);
    const word = Atomics.load(this.words, i);
    const next = (word & ~(OWNER_MASK | PENDING)) | OWNER_IDLE | (notify ? NOTIFY : 0);
    // Only claim() of somebody with an old event can interfere, and it only sets PENDING.
    if (Atomics.compareExchange(this.words, i, word, next) !== word) Atomics.store(this.words, i, next);
  }

  /** Thread of a dead slot -> MAIN, also where it was about to close. Returns false if it is not the slot's. */
  inherit(fd: number, slot: number): boolean {
    const i = this.at(fd);
    for (;;) {
      const word = Atomics.load(this.words, i);
      if ((word & OWNER_MASK) !== OWNER_THREAD + slot) return false;
      const next = (word & ~(OWNER_MASK | CLOSING)) | OWNER_MAIN;
      if (Atomics.compareExchange(this.words, i, word, next) === word) return true;
    }
  }

  /** Closes the fd and makes its entry FREE. The caller owns it. Sets `notice`. */
  close(fd: number): void {
    const i = this.at(fd);
    const visits = ++this.words[i + VISITS];
    const { control } = this.shared;
    const before = Atomics.or(this.words, i, CLOSING);
    if ((before & PROBE) !== 0) this.probed(i);
    const free = before & (-1 << GENERATION_SHIFT);
    // The fd is closed, the entry FREE and OPEN less by one in a single step: a thread may die before or after it. From
    // there on main may accept a new connection under the same number: its open() wins. Anybody may still set PENDING or
    // NOTIFY.
    const last = native.closeEntry(fd, this.words, i, CLOSING, free, control, C.OPEN);
    const asked = (before & NOTIFY) !== 0 || ((last & CLOSING) !== 0 && (last & NOTIFY) !== 0);
    this.notice = asked ? visits : -1;
    if (Atomics.load(control, C.ACCEPT_PAUSED) !== 0) native.eventfdWrite(this.shared.memory.mainWake);
  }

  /** Marks that bytes of a response leave now; once per response, before the first system call that sends. */
  markSent(fd: number): void {
    const i = this.at(fd);
    if ((Atomics.or(this.words, i, SENT) & PROBE) !== 0) this.probed(i);
  }

  /** Main is in the middle of one system call on the fd: waits until it is over. */
  private probed(i: number): void {
    while ((Atomics.load(this.words, i) & PROBE) !== 0);
  }

  /**
   * Main sends text on a connection that a thread owns, ahead of its response: false, and nothing sent, if the response has
   * begun or the thread does not own it.
   */
  interpose(fd: number, slot: number, text: string): boolean {
    const i = this.at(fd);
    const word = Atomics.load(this.words, i);
    if ((word & OWNER_MASK) !== OWNER_THREAD + slot || (word & (SENT | CLOSING)) !== 0) return false;
    if (Atomics.compareExchange(this.words, i, word, word | PROBE) !== word) return false;
    native.sendString(fd, text, 0);
    Atomics.and(this.words, i, ~PROBE);
    return true;
  }

  wasSent(fd: number): boolean {
    return (this.word(fd) & SENT) !== 0;
  }

  clearSent(fd: number): void {
    Atomics.and(this.words, this.at(fd), ~SENT);
  }

  visits(fd: number): number {
    return Atomics.load(this.words, this.at(fd) + VISITS);
  }

  /** Asks for a notice while nobody has seen the connection yet or a thread works on it. */
  askNotice(fd: number): void {
    Atomics.or(this.words, this.at(fd), NOTIFY);
  }

  // --- the request in hand ---

  /** A request begins: now and until when (coarse ms, 0 = for ever), on which route. Owner only. */
  beginRequest(fd: number, now: number, limit: number, route: number): void {
    const { words } = this;
    const i = this.at(fd);
    words[i + BEGAN] = now;
    words[i + LIMIT] = limit;
    words[i + NUMBER]++;
    words[i + ROUTE] = route;
    words[i + FACTS] = (words[i + FACTS] & ~STATUS) | IN_HAND;
  }

  /**
   * The facts of a connection with a request in hand when the last byte of the response has left. next: whoever takes the connection over
   * may go on with the next request, nothing of which was read; otherwise it has to be closed.
   */
  outcome(fd: number, status: number, next: boolean): number {
    const facts = this.facts(fd);
    return (next ? facts & ~(STATUS | READ_AHEAD) : facts & ~STATUS) | ((status << STATUS_SHIFT) & STATUS);
  }

  /** Status of the response in hand that has left as a whole, 0 = it has not. */
  status(fd: number): number {
    return (this.facts(fd) & STATUS) >>> STATUS_SHIFT;
  }

  /** The request in hand is over, its access line written. kept: the connection goes on. ahead: with bytes that only its owner has. */
  endRequest(fd: number, kept: boolean, ahead: boolean): void {
    const facts = this.facts(fd) & ~(IN_HAND | STATUS);
    if (!kept) return this.setFacts(fd, facts);
    this.setFacts(fd, (facts & ~READ_AHEAD) | SERVED_ONE | (ahead ? READ_AHEAD : 0));
    this.clearSent(fd);
  }

  /** When the request began, or, while QUEUED, began to wait: coarse ms. */
  began(fd: number): number {
    return this.words[this.at(fd) + BEGAN];
  }

  /** Until when the request in hand may take, coarse ms; 0 = for ever. */
  limit(fd: number): number {
    return this.words[this.at(fd) + LIMIT];
  }

  setLimit(fd: number, limit: number): void {
    this.words[this.at(fd) + LIMIT] = limit;
  }

  route(fd: number): number {
    return this.words[this.at(fd) + ROUTE];
  }

  /** A request's name in logs, unique within the worker for a long time: fd, generation, number on its connection. */
  requestId(fd: number): string {
    return `${fd}.${this.generation(fd)}.${this.words[this.at(fd) + NUMBER] >>> 0}`;
  }

  deadline(fd: number): number {
    return this.words[this.at(fd) + DEADLINE];
  }

  setDeadline(fd: number, deadline: number): void {
    this.words[this.at(fd) + DEADLINE] = deadline;
  }

  facts(fd: number): number {
    return this.words[this.at(fd) + FACTS];
  }

  /** Owner only. */
  setFacts(fd: number, facts: number): void {
    this.words[this.at(fd) + FACTS] = facts;
  }

  listener(fd: number): number {
    return this.words[this.at(fd) + FACTS] >>> LISTENER_SHIFT;
  }
}
