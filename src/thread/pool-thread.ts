/**
 * PoolThread: a pool thread at work: takes connections until it is told to stop. entry.ts starts and ends it.
 *
 * The thread waits in its own event loop. While it is the leader, its loop also watches the selector that all threads
 * share; other threads are parked until the supervisor wakes them. A turn takes ready connections one by one, runs the ticks and
 * promises of each (ticks.ts), and then rests:
 *
 *     PARKED --woken--> turn --nothing ready--> rest ─┬ leader (or the leader is busy: takes over): watches the selector
 *                        ^                            └ otherwise: PARKED
 *                        └──── selector readable ─────┘
 *
 * src/README.md has the reasons; worker/supervisor.ts decides how many threads may be active.
 */
import type { MessagePort } from 'node:worker_threads';
import type { App } from '../app/types.js';
import { TunicornError } from '../errors.js';
import type { Connection } from '../http/connection.js';
import type { ProcessLogs } from '../log/process-logs.js';
import type { Logger } from '../log.js';
import { native } from '../native/binding.js';
import type { ThreadTask, ThreadToMain } from '../pool/messages.js';
import { defaultSelector } from '../selector/epoll.js';
import type { Selector } from '../selector/selector.js';
import { Driver } from '../shared/driver.js';
import { ACTIVE, C, CONN_WORDS, PARKED, Shared, T, TAKEN } from '../shared/memory.js';
import { ConnTable, FACTS } from '../shared/tconn.js';
import type { Ending } from './ending.js';
import { Handler } from './handle.js';
import { handBack, holdsNothing, isRetiring } from './retire.js';
import { sweep } from './sweep.js';
import { runTicks } from './ticks.js';
import { closeUpgraded } from './upgrade.js';

/** Requests in a turn before the event loop gets its own. */
const TURN = 128;
/** Connections gone on with in a row before new ones get their turn: about one pipeline. */
const AGAIN_TURN = 16;
/** For so long bodies and blocked writes are served before others get their turn, ms. */
const OWN_TURN_MS = 5;
/** ms between looks at what waits for too long. */
const SWEEP_MS = 250;
const ALWAYS = 1 << 30;

export class PoolThread {
  private readonly task: ThreadTask;
  private readonly slot: number;
  private readonly shared: Shared;
  private readonly control: Int32Array;
  private readonly table: ConnTable;
  private readonly driver: Driver;
  private readonly selector: Selector<Connection>;
  private readonly handler: Handler;
  /** Null: nothing is collected in a turn. */
  private readonly collected: ProcessLogs | null;
  private readonly log: Logger;
  private readonly busyWord: number;
  private readonly stateWord: number;
  private readonly holdWord: number;
  private readonly heapWord: number;
  private readonly wakeFd: number;
  /** Connections to be gone on with, each in a step of its own, and how many of them went in a row. */
  private readonly againList: Connection[] = [];
  private againRow = 0;
  /** Events of bodies and blocked writes for which the last turn had no time. */
  private unserved: ReturnType<Selector<Connection>['select']> = [];
  private readonly polls: number[] = [];
  private watchPoll = 0;
  private watching = false;
  private inTurn = false;
  private steps = 0;
  private polled = false;
  private stopping = false;
  private sweeper: NodeJS.Timeout | null = null;
  private finish: () => void = () => {};
  readonly ended: Promise<void>;

  constructor(task: ThreadTask, app: App, logs: ProcessLogs, ending: Ending) {
    const { log } = logs;
    this.task = task;
    this.log = log;
    this.slot = task.slot;
    this.shared = new Shared(task.shared);
    this.control = this.shared.control;
    this.busyWord = this.shared.threadWord(task.slot, T.BUSY);
    this.stateWord = this.shared.threadWord(task.slot, T.STATE);
    this.holdWord = this.shared.threadWord(task.slot, T.HOLD);
    this.heapWord = this.shared.threadWord(task.slot, T.FULL);
    this.wakeFd = task.shared.threadWake[task.slot];
    this.table = new ConnTable(this.shared);
    this.driver = new Driver(this.shared, this.table, task.slot);
    this.selector = defaultSelector<Connection>();
    Atomics.store(this.control, this.shared.threadWord(task.slot, T.EPFD), this.selector.fd);
    this.collected = logs.access !== null || logs.statsd !== null ? logs : null;
    this.handler = new Handler({
      slot: task.slot,
      shared: this.shared,
      table: this.table,
      driver: this.driver,
      selector: this.selector,
      config: task.config,
      keepAlive: task.keepAlive,
      app,
      ending,
      log,
      logs,
      again: (conn) => this.again(conn),
      yieldWatch: () => this.yieldWatch(),
      ended: () => this.requestEnded(),
      notice: (fd, generation, visits, kept) => send(task.port, { type: 'done', fd, generation, visits, kept }),
    });
    native.useClock(this.handler.clock);
    native.useOutcomes(this.shared.conns, CONN_WORDS, FACTS);
    this.ended = new Promise((resolve) => {
      this.finish = resolve;
    });
    const step = () => this.step();
    this.polls.push(native.pollStart(this.wakeFd, step, ALWAYS, 1));
    this.polls.push(native.pollStart(this.selector.fd, () => this.ownEvents(), 1, 0));
    this.watchPoll = native.pollStart(task.shared.epfd, step, ALWAYS, 0);
    this.polls.push(this.watchPoll);
    for (const id of this.polls) {
      if (id < 0) throw new TunicornError('ERR_TUNICORN_THREAD', `No poll handle: ${native.errnoName(id)}.`);
    }
    native.pollPause(this.watchPoll, 1);
  }

  /** Begins to take connections. */
  open(): void {
    Atomics.store(this.control, this.stateWord, ACTIVE);
    this.beginTurn();
    this.rest();
  }

  // --- turns ---

  private beginTurn(): void {
    this.inTurn = true;
    this.steps = 0;
    this.polled = false;
    Atomics.store(this.control, this.busyWord, 1);
    if (this.control[this.stateWord] !== ACTIVE) Atomics.store(this.control, this.stateWord, ACTIVE);
    if (this.control[C.SUPERVISING] === 0 && Atomics.compareExchange(this.control, C.SUPERVISING, 0, 1) === 0) {
      native.eventfdWrite(this.task.shared.mainWake);
    }
    if (this.sweeper === null) this.sweeper = setInterval(() => this.sweep(), SWEEP_MS);
  }

  private endTurn(): void {
    const { handler } = this;
    this.inTurn = handler.holding = false;
    if (handler.held > 0) handler.flushHeld();
  }

  /** Called by the event loop: serves one connection after the other, as if each were a call of its own; true: call again. */
  private step(): boolean {
    while (this.one()) if (!runTicks()) return true;
    return false;
  }

  /** Serves one connection; true: there may be more. */
  private one(): boolean {
    try {
      return this.serve();
    } catch (error) {
      // Handlers' errors do not come here; one of ours must not leave the turn half open.
      this.stray('Error in the engine', error, this.log, false);
      return true;
    }
  }

  private serve(): boolean {
    if (!this.inTurn) this.beginTurn();
    const { driver, handler, control } = this;
    handler.afterTicks();
    const hold = control[this.holdWord];
    handler.holding = hold > 1;
    if (handler.held > 0 && handler.held >= hold) handler.flushHeld();
    if (++this.steps > TURN) {
      // The event loop's turn; the eventfd brings us back.
      this.steps = 0;
      this.endTurn();
      native.eventfdWrite(this.wakeFd);
      return false;
    }
    if (this.againList.length > 0 && !this.sated() && (this.againRow < AGAIN_TURN || this.stopping)) {
      this.againRow++;
      handler.resume(this.againList.shift() as Connection);
      return true;
    }
    this.againRow = 0;
    if (this.full()) return this.rest();
    const { lanes } = handler;
    // Whoever does not watch takes a heavy request that waits before anything else; the watch comes back to it.
    let fd = control[C.LEADER] === this.slot ? -1 : lanes.take();
    if (fd >= 0) {
      handler.handle(fd, lanes.generation, true);
      lanes.done();
      return true;
    }
    if (this.surplus()) fd = driver.leftover();
    else {
      fd = driver.taken();
      if (fd < 0 && !this.polled) {
        // The leader's loop tells when there is more; others look until nothing is left.
        const found = driver.poll();
        this.polled = found === 0 || this.watching;
        fd = driver.taken();
      }
    }
    if (fd >= 0) handler.handle(fd, driver.generation, driver.queued);
    else if ((fd = lanes.take()) >= 0) {
      handler.handle(fd, lanes.generation, true);
      lanes.done();
    } else return this.againList.length > 0 || this.rest();
    return true;
  }

  /**
   * Requests of this thread await something, or it has more upgraded connections than another: one that has none in hand shall
   * watch, so that they do not share a fate without need. False if there is no better one, or another thread watches.
   */
  private passWatch(): boolean {
    const leader = Atomics.load(this.control, C.LEADER);
    if (leader !== this.slot && leader !== 0) return false;
    return this.handWatch(true);
  }

  /** A heavy request begins here: another thread shall watch, if one is at rest. */
  private yieldWatch(): void {
    if (Atomics.load(this.control, C.LEADER) === this.slot) this.handWatch(false);
  }

  /**
   * Wakes a thread at rest to watch in this one's place, the one with the fewest upgraded connections: who watches gets the next.
   * idle: only one that has no request in hand, and where this one has none either, fewer of them. False if there is none.
   */
  private handWatch(idle: boolean): boolean {
    const { control, slot, shared } = this;
    const { inHand, upgraded } = this.handler;
    let fewest = idle && inHand === 0 ? upgraded.size : Number.POSITIVE_INFINITY;
    let found = 0;
    for (let i = 1; i <= shared.threads; i++) {
      if (!shared.isFree(i) || (idle && control[shared.threadWord(i, T.INFLIGHT)] > 0)) continue;
      const n = control[shared.threadWord(i, T.UPGRADED)];
      if (n >= fewest) continue;
      fewest = n;
      found = i;
    }
    if (found === 0) return false;
    Atomics.compareExchange(control, C.LEADER, slot, 0);
    native.eventfdWrite(this.task.shared.threadWake[found]);
    return true;
  }

  /** More threads are active than the supervisor wants, and this one does not watch. */
  private surplus(): boolean {
    const { control } = this;
    return control[C.LEADER] !== this.slot && this.activeThreads() > control[C.WANTED];
  }

  private activeThreads(): number {
    let n = 0;
    for (let i = 1; i <= this.shared.threads; i++) {
      if (this.control[this.shared.threadWord(i, T.STATE)] === ACTIVE) n++;
    }
    return n;
  }

  /** As many requests in hand as may be. */
  private taken(): boolean {
    return this.task.concurrency > 0 && this.handler.inHand >= this.task.concurrency;
  }

  /** It must not begin another one: it has enough in hand, or its heap is full and main is about to end it. */
  private sated(): boolean {
    return this.taken() || this.control[this.heapWord] !== 0;
  }

  private full(): boolean {
    return this.stopping || this.sated();
  }

  /** Nothing to take: watch, take over the watch, or park. Always false, for step(). */
  private rest(): boolean {
    const { control, slot } = this;
    this.collected?.flush();
    this.handler.lanes.leave();
    this.endTurn();
    Atomics.store(control, this.busyWord, 0);
    if (this.full()) {
      if (Atomics.compareExchange(control, C.LEADER, slot, 0) === slot && this.shared.threads > 1) {
        native.eventfdWrite(this.task.shared.mainWake);
      }
      if (this.stopping) this.checkStopped();
      return this.park();
    }
    if (this.handler.inHand + this.handler.upgraded.size > 0 && this.passWatch()) return this.park();
    // Main does not wake a busy thread: what it handed over just before the word changed must not be missed.
    if (this.driver.submitted) native.eventfdWrite(this.wakeFd);
    for (;;) {
      const leader = Atomics.load(control, C.LEADER);
      if (leader === slot) break;
      if (leader !== 0) {
        const busy = Atomics.load(control, this.shared.threadWord(leader, T.BUSY)) !== 0;
        if (!busy || this.activeThreads() > control[C.WANTED]) return this.park();
      }
      if (Atomics.compareExchange(control, C.LEADER, leader, slot) === leader) break;
    }
    if (!this.watching) {
      this.watching = true;
      native.pollPause(this.watchPoll, 0);
    }
    return false;
  }

  private park(): false {
    if (this.watching) {
      this.watching = false;
      native.pollPause(this.watchPoll, 1);
    }
    Atomics.store(this.control, this.stateWord, this.sated() ? TAKEN : PARKED);
    return false;
  }

  private again(conn: Connection): void {
    if (this.stopping && isRetiring(this.handler) && handBack(this.handler, conn)) return;
    this.againList.push(conn);
    if (!this.inTurn && this.againList.length === 1) native.eventfdWrite(this.wakeFd);
  }

  private requestEnded(): void {
    if (this.stopping) this.checkStopped();
    else if (this.task.concurrency > 0 && !this.inTurn) native.eventfdWrite(this.wakeFd);
  }

  /** Bodies and blocked writes of this thread's own connections. */
  private ownEvents(): boolean {
    const { selector } = this;
    const began = performance.now();
    // What a turn had no time for comes first in the next one, or the same ones would always be served.
    const ready = this.unserved.length > 0 ? this.unserved : selector.select(0);
    this.unserved = [];
    for (let i = 0; i < ready.length; i++) {
      const [{ fd, data }, events] = ready[i];
      // Served, closed or given back meanwhile.
      if (!selector.has(fd) || selector.getKey(fd).data !== data) continue;
      this.handler.onEvent(data, events);
      runTicks();
      if (performance.now() - began < OWN_TURN_MS) continue;
      this.unserved = ready.slice(i + 1);
      break;
    }
    this.collected?.flush();
    return false;
  }

  private sweep(): void {
    if (this.handler.held > 0) this.handler.flushHeld();
    this.handler.lanes.report();
    if (!sweep(this.handler) && this.handler.held === 0 && this.sweeper !== null) {
      clearInterval(this.sweeper);
      this.sweeper = null;
    }
    if (this.stopping) this.checkStopped();
    this.collected?.flush();
  }

  // --- the end ---

  /** Takes nothing new, ends when the requests in hand are over. */
  stop(): void {
    this.stopping = true;
    if (!isRetiring(this.handler)) closeUpgraded(this.handler);
    if (!this.inTurn) this.rest();
    this.checkStopped();
  }

  private checkStopped(): void {
    if (this.handler.inHand + this.handler.upgraded.size > 0 || this.againList.length > 0) return;
    if (isRetiring(this.handler) && !holdsNothing(this.handler)) return;
    setImmediate(() => {
      for (const id of this.polls.splice(0)) native.pollStop(id);
      if (Atomics.exchange(this.control, this.shared.threadWord(this.slot, T.EPFD), 0) !== 0) this.selector.close();
      if (this.sweeper !== null) clearInterval(this.sweeper);
      this.handler.lanes.report();
      this.collected?.flush();
      this.finish();
    });
  }

  /**
   * An error that no handler's call threw: the log names the requests it may belong to; if it is clear which, that one fails.
   * heard: the app listens for such errors itself, and goes on as it does on Node.
   */
  stray(kind: string, error: unknown, log: Logger, heard: boolean): void {
    const { handler } = this;
    log.error(`${kind} (${handler.describe()})`, error);
    const culprit = handler.culprit(this.inTurn);
    if (culprit !== null && heard) {
      // The app's own listeners come after ours, and may answer.
      const { req, exchange } = culprit;
      setImmediate(() => {
        if (culprit.req === req && culprit.exchange === exchange) handler.abandon(culprit, 500);
      });
    } else if (culprit !== null) handler.abandon(culprit, 500);
    // Who knows what it has left behind: a fresh thread takes over, and this one finishes what it has.
    if (!heard) send(this.task.port, { type: 'replaceMe', reason: kind.toLowerCase() });
    // An error in a tick has ended the turn's calls in the middle: they have to come again.
    if (this.inTurn) native.eventfdWrite(this.wakeFd);
  }
}

/** To main, which may be told at any time. */
export function send(port: MessagePort, message: ThreadToMain): void {
  port.postMessage(message);
}
