/**
 * ThreadWorker: a worker process of class gthread, read from its verbs as gunicorn's: initProcess, accept, enqueueReq,
 * murderKeepalived, finish. The main thread runs no user code: it accepts, supervises the threads, ends what waits too
 * long, and tells the arbiter that it lives. Requests are handled by the pool's threads (thread/start.cts), which take ready
 * connections from the selector themselves (shared/driver.ts).
 *
 *     listener readable -> accept (acceptor.ts) -> TConn -> enqueueReq -> pool.submit(conn) -> Future (the thread runs finishRequest)
 *                                                    └──> keepalive queue -> murderKeepalived
 *
 * Class sync is the same with one request at a time on the main thread itself, and no keep-alive.
 */
import { usableCpus } from '../config/cpus.js';
import type { Config } from '../config/settings.js';
import { type ArbiterToWorker, type BootMessage, type ListenerInfo, mostThreads } from '../messages.js';
import { native } from '../native/binding.js';
import type { Future } from '../pool/future.js';
import type { ThreadHost } from '../pool/host.js';
import { inlineHost } from '../pool/inline.js';
import { piscinaHost } from '../pool/piscina.js';
import { type Outcome, ThreadPool } from '../pool/thread-pool.js';
import { tinypoolHost } from '../pool/tinypool.js';
import { Driver } from '../shared/driver.js';
import { allocate, C, CLOSING, PATIENT, Shared } from '../shared/memory.js';
import { Proxied } from '../shared/proxied.js';
import { Routes } from '../shared/routes.js';
import { ConnTable, limitAfter, REGISTERED } from '../shared/tconn.js';
import { Acceptor } from './acceptor.js';
import { MainAccess } from './access.js';
import { Worker } from './base.js';
import { Connections } from './connections.js';
import { Front, frontSettings, type Plain } from './front.js';
import { Guard } from './guard.js';
import { LightLoad } from './light-load.js';
import { Lingerer } from './lingerer.js';
import { Recycler } from './recycler.js';
import { StatusServer } from './status.js';
import { healthAnswer } from './status-head.js';
import { Health } from './status-report.js';
import { type Seen, Supervisor } from './supervisor.js';
import type { TConn } from './tconn.js';
import { WaitQueue } from './wait-queue.js';
import { startWatchdog } from './watchdog.js';

/** ms between looks into the keepalive queue. */
const MURDER_MS = 250;
/** So long before --graceful-timeout is over, ms, those who still wait for their next request are let go. */
const LAST_MS = 1000;
/** Who has just connected is about to send a request: in a stop that hurries such connections are closed so much later, ms. */
const FRESH_MS = 500;

/** For clients of the front that have not taken the end of their answer when all requests are over, ms. */
const FRONT_MS = 2000;
/** The same where there is no more time for requests. */
const OVERDUE_MS = 300;

/** Slots for threads that start while as many as there may be still serve. */
const SPARE_SLOTS = 2;

export class ThreadWorker extends Worker {
  private readonly connections: Connections;
  private readonly shared: Shared;
  private readonly table: ConnTable;
  private readonly routes: Routes;
  private readonly driver: Driver;
  private readonly pool: ThreadPool;
  private readonly supervisor: Supervisor | null;
  private readonly lingerer: Lingerer;
  private readonly waiting: WaitQueue;
  private readonly guard: Guard;
  /** No thread was free at the last look. */
  private allBusy = false;
  private readonly health: Health;
  private readonly status: StatusServer;
  private readonly recycler: Recycler | null;
  private readonly acceptor: Acceptor;
  private readonly proxied: Proxied | null;
  /** With --certfile: speaks TLS. */
  private readonly front: Front | null;
  /** Requests after which the process leaves, 0 = never: class sync. Threads of gthread are recycled. */
  private readonly maxRequests: number;
  private murderer: NodeJS.Timeout | null = null;

  constructor(boot: BootMessage) {
    super(boot);
    const { config } = boot;
    const sync = config.workerClass === 'sync';
    const threads = sync ? 1 : mostThreads(config.threads) + SPARE_SLOTS;
    this.shared = new Shared(
      allocate(
        threads,
        native.maxFds(),
        {
          epfd: must(native.epollCreate(), 'epoll_create1'),
          mainWake: must(native.eventfd(), 'eventfd'),
          threadWake: Array.from({ length: threads + 1 }, () => must(native.eventfd(), 'eventfd')),
        },
        config.proxyProtocol !== 'off' || boot.tls !== null,
      ),
    );
    this.table = new ConnTable(this.shared);
    this.routes = new Routes(this.shared.memory.routes);
    this.driver = new Driver(this.shared, this.table, 0);
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
      workerAge: boot.age,
      log: this.log,
      logs: this.logs,
      onReplaced: () => this.logs.statsd?.increment('tunicorn.threads.replaced'),
      onLost: (slot, error, retiring) => {
        this.logs.statsd?.increment('tunicorn.threads.lost');
        this.guard.lost(slot, error, retiring);
        // Who waits is looked after until there is a thread again.
        this.supervisor?.start();
      },
      onGone: (slot) => this.guard.gone(slot),
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
          light: new LightLoad(usableCpus()),
          onTick: (seen) => this.onTick(seen),
          onHeavy: (slot, us) => this.guard.learn(slot, us),
        });
    const { shared, table, driver, pool, log } = this;
    const lingerer = new Lingerer(table, (conn) => this.connections.forget(conn));
    this.lingerer = lingerer;
    const proxied = Proxied.open(config, shared, table);
    this.proxied = proxied;
    const access = new MainAccess(config, this.logs, table, this.routes, proxied);
    const enqueue = (conn: TConn) => void this.enqueueReq(conn);
    this.connections = new Connections({ table, config: () => this.boot.config, access, lingerer, enqueue });
    const common = { shared, table, conns: this.connections.all, config, pool, lingerer, access, log };
    this.waiting = new WaitQueue({
      ...common,
      proxied,
      answer: (head) => this.answerHealth(head),
      toSelector: (conn) => this.toSelector(conn),
    });
    this.guard = new Guard({ ...common, config: () => this.boot.config, routes: this.routes, driver, enqueue });
    if (sync) {
      Atomics.store(this.shared.control, C.SUPERVISING, 1);
      startWatchdog((config.gracefulTimeout + 1) * 1000);
    }
    if (!sync) process.on('message', (message: ArbiterToWorker) => this.onMessage(message));
    Atomics.store(this.shared.control, C.WANTED, 1);
    this.front =
      boot.tls === null
        ? null
        : new Front({
            settings: frontSettings(config, boot.tls),
            engine: shared.control.subarray(C.OPEN, C.OPEN + 1),
            log,
            admit: (plain) => this.admitPlain(plain),
            onClosed: () => this.acceptor.hasRoom(),
          });
    this.acceptor = new Acceptor({
      shared,
      config: () => this.boot.config,
      listeners: this.listeners,
      log,
      // In class sync this is the only look between two requests.
      beforeAccept: () => this.checkMaxRequests(),
      open: () => Math.max(Atomics.load(this.shared.control, C.OPEN), this.front?.open ?? 0),
      admit: (fd, index) => (this.front ? this.front.take(fd) : this.admit(this.connections.open(fd, index))),
      makeRoom: (most) => {
        const made = this.connections.makeRoom(most);
        this.front?.makeRoom(most - made);
      },
    });
    native.pollStart(this.shared.memory.mainWake, () => this.onWake(), 1, 1);
  }

  private host(sync: boolean, threads: number): ThreadHost {
    const options = {
      memoryMb: this.boot.config.threadMemory,
      entry: new URL('../thread/start.cjs', import.meta.url),
      threads,
    };
    if (sync) return inlineHost(options);
    return this.boot.config.threadPool === 'tinypool' ? tinypoolHost(options) : piscinaHost(options);
  }

  override async initProcess(): Promise<void> {
    if (!this.boot.relieves) this.status.start();
    await this.pool.start();
    await this.hooks.postWorkerInit();
    // Told to leave meanwhile.
    if (!this.alive) return;
    this.murderer = setInterval(() => this.murderKeepalived(), MURDER_MS);
    this.acceptor.start();
    this.health.boot();
    this.status.start();
    this.tell({ type: 'booted' });
  }

  private onMessage(message: ArbiterToWorker): void {
    if (message.type !== 'reload' || !this.alive) return;
    this.boot.config = message.config;
    this.configured(message.config);
    if (message.tls !== null) this.front?.reload(frontSettings(message.config, message.tls));
    void this.hooks.reload();
    void this.pool.reload(message.config);
  }

  /** What main itself derives from the config. */
  private configured({ threads, reserveThreads }: Config): void {
    // More of them than CPUs would only take turns on these, and keep the light ones waiting.
    Atomics.store(this.shared.control, C.LANES, Math.max(1, Math.min(threads - reserveThreads, usableCpus())));
  }

  // --- connections ---

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

  /** From the front: as one that was accepted. */
  private admitPlain({ fd, peer, local }: Plain): void {
    if (fd >= this.shared.memory.maxFds) {
      native.close(fd);
      return;
    }
    const conn = this.connections.open(fd, 0);
    const ends = peer && local && { ...peer, proxyAddress: local.address, proxyPort: local.port };
    this.proxied?.record(fd, ends);
    this.admit(conn);
  }

  /** Main owns it: the selector tells when something has come, unless a thread has had it in between and knows more. */
  private toSelector(conn: TConn): void {
    const { table } = this;
    const { fd, generation } = conn;
    if ((table.facts(fd) & REGISTERED) !== 0) {
      this.enqueueReq(conn);
      return;
    }
    // No thread has seen it: it has as long for its first byte as one that a thread has given back.
    if (table.deadline(fd) === 0)
      table.setDeadline(fd, limitAfter(native.clock(), this.boot.config.headerTimeout * 1000));
    table.setFacts(fd, table.facts(fd) | REGISTERED);
    table.handOver(fd, false);
    if (this.driver.register(fd, generation) < 0 && table.seize(fd, generation)) this.lingerer.end(conn, '');
  }

  /** A thread asks main to look: it begins to work, or closed a connection while accepting was stopped. */
  private onWake(): boolean {
    this.acceptor.hasRoom();
    this.guard.checkHeaps();
    if (Atomics.load(this.shared.control, C.LEADER) === 0) this.pool.wakeParked();
    this.supervisor?.start();
    return false;
  }

  private onTick({ allBusy, allStuck, noneFree }: Seen): void {
    this.health.look(allStuck);
    this.pool.flushOverflow();
    this.allBusy = allBusy;
    this.waiting.tick(allBusy);
    this.guard.check((slot) => (this.supervisor as Supervisor).stuckMs(slot));
    this.acceptor.leaveToSiblings(noneFree && this.boot.config.workers > 1);
    this.checkMaxRequests();
  }

  private checkMaxRequests(): void {
    if (this.maxRequests > 0 && this.alive && this.pool.served >= this.maxRequests) {
      if (this.boot.config.workers > 1) this.retire();
      this.log.info(`Autorestarting worker after current request (pid: ${process.pid})`);
      void this.handleExit();
    }
  }

  /** gunicorn's name for the end of connections that wait too long. What else main looks after from time to time comes with it. */
  murderKeepalived(): void {
    this.health.update();
    this.pool.flushOverflow();
    this.supervisor?.glance();
    this.checkMaxRequests();
    this.recycler?.look();
    this.acceptor.reclaim();
    this.connections.murder();
  }

  // --- the end ---

  /**
   * While others serve at its addresses a worker is patient: a client that has no request in hand may be sending one just now, so it is
   * answered once more, with `Connection: close`, or is closed when its time is over as at any other time. Where nobody
   * takes over (`hurried`), and in the last second, those who have sent nothing are closed at once.
   */
  override async stopGracefully(): Promise<void> {
    const { control } = this.shared;
    const graceMs = this.boot.config.gracefulTimeout * 1000;
    const end = performance.now() + graceMs;
    const closeAt = end - Math.min(LAST_MS, graceMs / 2);
    const freshUntil = performance.now() + Math.min(FRESH_MS, graceMs / 2);
    this.health.drain();
    this.acceptor.stop();
    this.front?.drain();
    Atomics.store(control, C.DRAINING, PATIENT);
    while (performance.now() < end) {
      if (this.hurried || performance.now() >= closeAt || this.pool.running.length === 0) {
        Atomics.store(control, C.DRAINING, CLOSING);
        this.connections.closeAll(performance.now() >= freshUntil);
      }
      this.pool.flushOverflow();
      if (Atomics.load(control, C.OPEN) === 0) break;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const overdue = Atomics.load(control, C.OPEN) > 0;
    if (!overdue) await this.front?.end(Math.min(end, performance.now() + FRONT_MS));
    if (this.murderer) clearInterval(this.murderer);
    // Where requests are not over, their time is, and so is that of what the app does at its end.
    await this.pool.stop(Math.max(overdue ? 1000 : 100, end - performance.now()));
    // What the guard has answered for those that were not over has to go through it, too.
    if (overdue) await this.front?.end(performance.now() + OVERDUE_MS);
    this.supervisor?.stop();
    this.lingerer.stop();
    await this.status.close();
  }

  override retire(): void {
    this.health.relieve();
    void this.status.close();
  }

  override orphaned(): void {
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
