/**
 * ThreadWorker: a worker process of class gthread, read from its verbs as gunicorn's: initProcess, accept, enqueueReq,
 * murderKeepalived, finish. The main thread runs no user code: it accepts, supervises the threads, ends what waits too
 * long, and tells the arbiter that it lives. Requests are handled by the pool's threads (thread/entry.ts), which take ready
 * connections from the selector themselves (shared/driver.ts).
 *
 *     listener readable -> accept -> TConn -> enqueueReq -> pool.submit(conn) -> Future (the thread runs finishRequest)
 *                                      └──> keepalive queue -> murderKeepalived
 *
 * SyncWorker is the same with one request at a time on the main thread itself, and no keep-alive.
 */
import { errorResponse } from '../answers.js';
import { usableCpus } from '../config/cpus.js';
import type { Config } from '../config/settings.js';
import { type ArbiterToWorker, type BootMessage, type ListenerInfo, mostThreads } from '../messages.js';
import { EAGAIN, ECONNABORTED, EINTR, EMFILE, ENFILE, native } from '../native/binding.js';
import type { Future } from '../pool/future.js';
import type { ThreadHost } from '../pool/host.js';
import { inlineHost } from '../pool/inline.js';
import { piscinaHost } from '../pool/piscina.js';
import { type Outcome, ThreadPool } from '../pool/thread-pool.js';
import { tinypoolHost } from '../pool/tinypool.js';
import { defaultSelector } from '../selector/epoll.js';
import { EVENT_READ, type Selector } from '../selector/selector.js';
import { Driver } from '../shared/driver.js';
import { allocate, C, Shared } from '../shared/memory.js';
import { Routes } from '../shared/routes.js';
import { ConnTable, HAS_HEAD, OWNER_FREE, OWNER_IDLE, REGISTERED, SERVED_ONE } from '../shared/tconn.js';
import { MainAccess } from './access.js';
import { Worker } from './base.js';
import { Guard } from './guard.js';
import { KeepaliveQueue } from './keepalive-queue.js';
import { Lingerer } from './lingerer.js';
import { Recycler } from './recycler.js';
import { StatusServer } from './status.js';
import { healthAnswer } from './status-head.js';
import { Health } from './status-report.js';
import { Supervisor } from './supervisor.js';
import { TConn } from './tconn.js';
import { WaitQueue } from './wait-queue.js';
import { startWatchdog } from './watchdog.js';

/** Connections accepted in one go before the event loop gets its turn. */
const ACCEPT_BATCH = 64;
/** At --worker-connections: from when on an unused connection may be closed for a new one, and how often that is looked at, ms. */
const RECLAIM_MS = 1000;
const RECLAIM_EVERY_MS = 50;
/** ms between looks into the keepalive queue. */
const MURDER_MS = 250;
/** ms after which a connection that is being served is looked at again. */
const BUSY_MS = 500;
/** ms for which a listener rests when the process is out of file descriptors. */
const EMFILE_REST_MS = 250;

/** While no thread is free, new connections are left to the siblings for so long, ms; then they are taken all the same. */
const SIBLINGS_MS = 25;

/** Slots for threads that start while as many as there may be still serve. */
const SPARE_SLOTS = 2;

type Listener = { fd: number; index: number };

export class ThreadWorker extends Worker {
  protected readonly conns = new Map<number, TConn>();
  private readonly queue = new KeepaliveQueue<TConn>(performance.now());
  private readonly selector: Selector<Listener>;
  private readonly shared: Shared;
  private readonly table: ConnTable;
  private readonly routes: Routes;
  private readonly driver: Driver;
  private readonly pool: ThreadPool;
  private readonly supervisor: Supervisor | null;
  private readonly lingerer: Lingerer;
  private readonly access: MainAccess;
  private readonly waiting: WaitQueue;
  private readonly guard: Guard;
  /** No thread was free at the last look. */
  private allBusy = false;
  /** Since when somebody waits to be accepted, 0 = nobody does. */
  private siblingsAt = 0;
  private readonly health: Health;
  private readonly status: StatusServer;
  private readonly recycler: Recycler | null;
  private readonly acceptPoll: number;
  /** Requests after which the process leaves, 0 = never: class sync. Threads of gthread are recycled. */
  private readonly maxRequests: number;
  /** A waiting connection is looked at this often, ms: its deadline may have become an earlier one. */
  private lookMs = 0;
  private murderer: NodeJS.Timeout | null = null;
  private accepting = true;
  private saturated = false;
  private atLimit = false;
  private reclaimedAt = 0;
  private resting = false;

  constructor(boot: BootMessage) {
    super(boot);
    const { config } = boot;
    const sync = config.workerClass === 'sync';
    const threads = sync ? 1 : mostThreads(config.threads) + SPARE_SLOTS;
    this.shared = new Shared(
      allocate(threads, native.maxFds(), {
        epfd: must(native.epollCreate(), 'epoll_create1'),
        mainWake: must(native.eventfd(), 'eventfd'),
        threadWake: Array.from({ length: threads + 1 }, () => must(native.eventfd(), 'eventfd')),
      }),
    );
    this.table = new ConnTable(this.shared);
    this.routes = new Routes(this.shared.memory.routes);
    this.driver = new Driver(this.shared, this.table, 0);
    this.selector = defaultSelector<Listener>();
    this.configured(config);
    const jitter = config.maxRequestsJitter;
    this.maxRequests =
      sync && config.maxRequests > 0 ? config.maxRequests + Math.floor(Math.random() * (jitter + 1)) : 0;
    this.pool = new ThreadPool({
      host: this.host(sync, threads),
      shared: this.shared,
      table: this.table,
      config,
      wanted: sync ? 1 : config.threads,
      concurrency: sync ? 1 : config.threadConcurrency,
      keepAlive: !sync,
      address: this.listeners[0]?.name,
      log: this.log,
      logs: this.logs,
      onReplaced: () => this.logs.statsd?.increment('tunicorn.threads.replaced'),
      onLost: (slot, error, retiring) => {
        this.logs.statsd?.increment('tunicorn.threads.lost');
        this.guard.lost(slot, error, retiring);
      },
    });
    this.health = new Health({
      shared: this.shared,
      pool: this.pool,
      maxQueue: config.maxQueue,
      age: boot.age,
      routes: () => this.routes.list(native.clock()),
    });
    const { listeners } = boot;
    this.status = new StatusServer({
      listeners,
      backlog: config.backlog,
      report: () => this.health.report(),
      log: this.log,
    });
    this.recycler = sync
      ? null
      : new Recycler({ pool: this.pool, shared: this.shared, config: () => this.boot.config });
    // In the sync class main is the thread: there is nothing to watch over.
    this.supervisor = sync
      ? null
      : new Supervisor({
          shared: this.shared,
          pool: this.pool,
          onTick: (allBusy, allStuck) => this.onTick(allBusy, allStuck),
          onHeavy: (slot, us) => this.guard.learn(slot, us),
        });
    const { shared, table, driver, conns, pool, log } = this;
    const lingerer = new Lingerer(table, (conn) => this.forget(conn));
    this.lingerer = lingerer;
    const access = new MainAccess(config, this.logs, table, this.routes);
    this.access = access;
    const common = { shared, table, conns, config, pool, lingerer, access, log };
    this.waiting = new WaitQueue({
      ...common,
      answer: (head) => this.answerHealth(head),
      toSelector: (conn) => this.toSelector(conn),
    });
    const enqueue = (conn: TConn) => void this.enqueueReq(conn);
    this.guard = new Guard({ ...common, config: () => this.boot.config, routes: this.routes, driver, enqueue });
    if (sync) {
      Atomics.store(this.shared.control, C.SUPERVISING, 1);
      startWatchdog((config.gracefulTimeout + 1) * 1000);
    }
    if (!sync) process.on('message', (message: ArbiterToWorker) => this.onMessage(message));
    Atomics.store(this.shared.control, C.WANTED, 1);
    this.acceptPoll = native.pollStart(this.selector.fd, () => this.onListenerReadable(), 1, 0);
    native.pollPause(this.acceptPoll, 1);
    native.pollStart(this.shared.memory.mainWake, () => this.onWake(), 1, 1);
  }

  private host(sync: boolean, threads: number): ThreadHost {
    const options = {
      memoryMb: this.boot.config.threadMemory,
      entry: new URL('../thread/entry.js', import.meta.url),
      threads,
    };
    if (sync) return inlineHost(options);
    return this.boot.config.threadPool === 'tinypool' ? tinypoolHost(options) : piscinaHost(options);
  }

  override async initProcess(): Promise<void> {
    if (!this.boot.relieves) this.status.start();
    await this.pool.start();
    // Told to leave meanwhile.
    if (!this.alive) return;
    this.listeners.forEach(({ fd }, index) => {
      this.selector.register(fd, EVENT_READ, { fd, index });
    });
    this.murderer = setInterval(() => this.murderKeepalived(), MURDER_MS);
    native.pollPause(this.acceptPoll, 0);
    this.health.boot();
    this.status.start();
    this.tell({ type: 'booted' });
  }

  private onMessage(message: ArbiterToWorker): void {
    if (message.type !== 'reload' || !this.alive) return;
    this.boot.config = message.config;
    this.configured(message.config);
    void this.pool.reload(message.config);
  }

  /** What main itself derives from the config. */
  private configured({ headerTimeout, keepalive, threads, reserveThreads }: Config): void {
    // More of them than CPUs would only take turns on these, and keep the light ones waiting.
    Atomics.store(this.shared.control, C.LANES, Math.max(1, Math.min(threads - reserveThreads, usableCpus())));
    this.lookMs = 1000 * Math.min(headerTimeout || keepalive || 1, keepalive || headerTimeout || 1);
  }

  // --- accepting ---

  private onListenerReadable(): boolean {
    for (const [key] of this.selector.select(0)) this.accept(key.data);
    return false;
  }

  private accept(listener: Listener): void {
    const { config } = this.boot;
    for (let i = 0; i < ACCEPT_BATCH; i++) {
      if (Atomics.load(this.shared.control, C.OPEN) >= config.workerConnections) {
        Atomics.store(this.shared.control, C.ACCEPT_PAUSED, 1);
        // One may have been closed before the flag was up.
        if (Atomics.load(this.shared.control, C.OPEN) >= config.workerConnections) {
          this.atLimit = true;
          this.updateAccepting();
          this.reclaim();
          return;
        }
        Atomics.store(this.shared.control, C.ACCEPT_PAUSED, 0);
      }
      const fd = native.accept(listener.fd);
      if (fd === EAGAIN) return;
      if (fd === ECONNABORTED || fd === EINTR) continue;
      if (fd < 0) {
        this.log.error(`accept failed: ${native.errnoName(fd)}; trying again in ${EMFILE_REST_MS} ms`);
        if (fd === EMFILE || fd === ENFILE) this.rest();
        return;
      }
      if (fd >= this.shared.memory.maxFds) {
        native.close(fd);
        continue;
      }
      this.admit(this.makeConn(fd, listener.index));
    }
  }

  /**
   * The limit is reached and somebody new waits: connections that nobody has used for longest make room, as in nginx. Without
   * this 1,000 clients that send nothing would keep everybody else out until their deadlines.
   */
  private reclaim(): void {
    const now = performance.now();
    if (now - this.reclaimedAt < RECLAIM_EVERY_MS || this.selector.select(0).length === 0) return;
    this.reclaimedAt = now;
    const clock = native.clock();
    const unused: Array<[ms: number, conn: TConn]> = [];
    for (const conn of this.conns.values()) {
      const ms = this.unusedMs(conn, clock);
      if (ms >= RECLAIM_MS) unused.push([ms, conn]);
    }
    unused.sort((a, b) => b[0] - a[0]);
    for (const [, conn] of unused.slice(0, ACCEPT_BATCH)) this.closeIdle(conn);
  }

  /** For how long a connection waits for its next request, or for the rest of a head, ms; 0: it is in use. */
  private unusedMs({ fd, generation }: TConn, clock: number): number {
    const { table } = this;
    const { keepalive, headerTimeout } = this.boot.config;
    const deadline = table.deadline(fd);
    if (table.generation(fd) !== generation || table.owner(fd) !== OWNER_IDLE || deadline === 0) return 0;
    const between = (table.facts(fd) & (SERVED_ONE | HAS_HEAD)) === SERVED_ONE;
    const seconds = between ? keepalive : headerTimeout;
    return seconds > 0 ? (clock - deadline + seconds * 1000) | 0 : 0;
  }

  private rest(): void {
    this.resting = true;
    this.updateAccepting();
    setTimeout(() => {
      this.resting = false;
      this.updateAccepting();
    }, EMFILE_REST_MS);
  }

  private makeConn(fd: number, listener: number): TConn {
    const before = this.conns.get(fd);
    if (before) this.queue.remove(before);
    const conn = new TConn(fd, this.table.open(fd, listener));
    this.conns.set(fd, conn);
    this.queue.add(conn, performance.now() + this.lookMs);
    return conn;
  }

  /** gunicorn's name for the hand-over. finishRequest runs on the thread that completes the request. */
  private enqueueReq(conn: TConn): Future<Outcome> {
    return this.pool.submit(conn);
  }

  /** What main answers itself while no thread is free: health. */
  private answerHealth(head: Buffer): string | null {
    const { healthPath } = this.boot.config;
    return healthPath === '' ? null : healthAnswer(head, healthPath, this.health.update());
  }

  /** A new connection. While no thread is free it goes to the selector, so that it only waits once something has come. */
  private admit(conn: TConn): void {
    if (this.allBusy) this.toSelector(conn);
    else this.enqueueReq(conn);
  }

  /** Main owns it: the selector tells when something has come, unless a thread has had it in between and knows more. */
  private toSelector(conn: TConn): void {
    const { table } = this;
    const { fd, generation } = conn;
    if ((table.facts(fd) & REGISTERED) !== 0) {
      this.enqueueReq(conn);
      return;
    }
    table.setFacts(fd, table.facts(fd) | REGISTERED);
    table.handOver(fd, false);
    if (this.driver.register(fd, generation) < 0 && table.seize(fd, generation)) this.lingerer.end(conn, '');
  }

  private forget(conn: TConn): void {
    if (this.conns.get(conn.fd) === conn) this.conns.delete(conn.fd);
    this.queue.remove(conn);
  }

  /** Accepts or not, as all that speaks against it says. */
  private updateAccepting(): void {
    const want = this.alive && !this.atLimit && !this.saturated && !this.resting;
    if (want === this.accepting) return;
    this.accepting = want;
    native.pollPause(this.acceptPoll, want ? 0 : 1);
  }

  /** A thread asks main to look: it begins to work, or closed a connection while accepting was stopped. */
  private onWake(): boolean {
    if (this.atLimit && Atomics.load(this.shared.control, C.OPEN) < this.boot.config.workerConnections) {
      this.atLimit = false;
      Atomics.store(this.shared.control, C.ACCEPT_PAUSED, 0);
      this.updateAccepting();
    }
    this.guard.checkHeaps();
    if (Atomics.load(this.shared.control, C.LEADER) === 0) this.pool.wakeParked();
    this.supervisor?.start();
    return false;
  }

  private onTick(allBusy: boolean, allStuck: boolean): void {
    this.health.look(allStuck);
    this.pool.flushOverflow();
    this.allBusy = allBusy;
    this.waiting.tick(allBusy);
    this.guard.check((slot) => (this.supervisor as Supervisor).stuckMs(slot));
    this.leaveToSiblings(allStuck && this.boot.config.workers > 1);
    this.checkMaxRequests();
  }

  /** Siblings that have a thread free take new connections at once; those that nobody took come in after a moment. */
  private leaveToSiblings(saturated: boolean): void {
    if (saturated !== this.saturated) {
      this.saturated = saturated;
      this.siblingsAt = 0;
      this.updateAccepting();
    }
    if (!saturated || !this.alive || this.atLimit || this.resting) return;
    const now = performance.now();
    if (this.selector.select(0).length === 0) this.siblingsAt = 0;
    else if (this.siblingsAt === 0) this.siblingsAt = now;
    else if (now - this.siblingsAt >= SIBLINGS_MS) this.onListenerReadable();
  }

  private checkMaxRequests(): void {
    if (this.maxRequests > 0 && this.alive && this.pool.served >= this.maxRequests) {
      if (this.boot.config.workers > 1) this.retire();
      this.log.info(`Autorestarting worker after current request (pid: ${process.pid})`);
      void this.handleExit();
    }
  }

  // --- what waits too long ---

  /** Ends connections whose deadline has passed: keep-alive over, or a request head that did not come in time. */
  murderKeepalived(): void {
    const { table } = this;
    const now = performance.now();
    const clock = native.clock();
    this.health.update();
    this.pool.flushOverflow();
    this.supervisor?.glance();
    this.checkMaxRequests();
    this.recycler?.look();
    if (this.atLimit) this.reclaim();
    for (const conn of this.queue.due(now)) {
      const { fd, generation } = conn;
      if (table.generation(fd) !== generation || table.owner(fd) === OWNER_FREE) {
        if (this.conns.get(fd) === conn) this.conns.delete(fd);
        continue;
      }
      const left = (table.deadline(fd) - clock) | 0;
      if (table.owner(fd) !== OWNER_IDLE || table.deadline(fd) === 0) this.queue.add(conn, now + BUSY_MS);
      else if (left > 0) this.queue.add(conn, now + Math.min(left, this.lookMs));
      else if (!this.closeIdle(conn)) this.queue.add(conn, now + BUSY_MS);
    }
  }

  /** Closes a waiting connection, unless a request has arrived: that one is served. False if it is still open. */
  private closeIdle(conn: TConn): boolean {
    const { table } = this;
    const { fd, generation } = conn;
    if (!table.seize(fd, generation)) return false;
    const facts = table.facts(fd);
    const late = table.deadline(fd) !== 0 && ((table.deadline(fd) - native.clock()) | 0) <= 0;
    // The rest of a head may have come while we stop; one that is past its deadline gets no more time.
    if (native.peek(fd) > 0 && ((facts & HAS_HEAD) === 0 || !late)) {
      this.enqueueReq(conn);
      return false;
    }
    if (late && (facts & HAS_HEAD) !== 0 && (facts & SERVED_ONE) === 0) {
      // It may be sending still: to close at once would be a reset, which takes the answer with it.
      const answer = errorResponse(408);
      this.access.write(fd, '', 408, answer, { thread: '', durationMs: -1, queueMs: -1 });
      this.lingerer.end(conn, answer);
      return true;
    }
    this.conns.delete(fd);
    table.close(fd);
    return true;
  }

  // --- the end ---

  override async stopGracefully(): Promise<void> {
    const { control } = this.shared;
    const { gracefulTimeout } = this.boot.config;
    const end = performance.now() + gracefulTimeout * 1000;
    this.health.drain();
    this.updateAccepting();
    native.pollStop(this.acceptPoll);
    this.selector.close();
    for (const { fd } of this.listeners) native.close(fd);
    Atomics.store(control, C.DRAINING, 1);
    while (performance.now() < end) {
      for (const [fd, conn] of this.conns) {
        if (this.table.generation(fd) === conn.generation && this.table.owner(fd) === OWNER_IDLE) this.closeIdle(conn);
      }
      this.pool.flushOverflow();
      if (Atomics.load(control, C.OPEN) === 0) break;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    if (this.murderer) clearInterval(this.murderer);
    await this.pool.stop(Math.max(100, Math.min(1000, end - performance.now())));
    this.supervisor?.stop();
    this.lingerer.stop();
    await this.status.close();
  }

  override retire(): void {
    this.health.relieve();
    void this.status.close();
  }

  /** Those for the app's requests. */
  private get listeners(): ListenerInfo[] {
    return this.boot.listeners.filter(({ role }) => role === 'http');
  }
}

function must(fd: number, call: string): number {
  if (fd < 0) throw new Error(`${call} failed: ${native.errnoName(fd)}`);
  return fd;
}
