/**
 * The accept loop of a worker: a selector over its listeners, and everything that speaks against accepting, in one place.
 *
 *     listener readable ─> accept ─> admit(fd)
 *     not while: connections are at --worker-connections or file descriptors are short (unused ones then make room), every thread is stuck
 *     or has its hands full and siblings may have a free one, or the worker leaves
 */
import type { Config } from '../config/settings.js';
import type { Logger } from '../log.js';
import type { ListenerInfo } from '../messages.js';
import { EAGAIN, ECONNABORTED, EINTR, EMFILE, ENFILE, native } from '../native/binding.js';
import { defaultSelector } from '../selector/epoll.js';
import { EVENT_READ, type Selector } from '../selector/selector.js';
import { C, type Shared, T } from '../shared/memory.js';

/** Connections accepted in one go before the event loop gets its turn. */
const BATCH = 64;
/** How often room is made at --worker-connections, ms. */
const RECLAIM_EVERY_MS = 50;
/** File descriptors that no connection takes, half of them where there are few: threads that start need some, and apps have files. */
const OTHER_FDS = 100;
/** ms for which accepting rests when the process is out of file descriptors. */
const EMFILE_REST_MS = 250;
/** How often that is told, ms: it may last. */
const TELL_EVERY_MS = 10_000;
/** While no thread is free, new connections are left to the siblings for so long, ms; then they are taken all the same. */
const SIBLINGS_MS = 25;

type Listener = { fd: number; index: number };

export interface AcceptorOptions {
  shared: Shared;
  /** The present one. */
  config: () => Config;
  listeners: readonly ListenerInfo[];
  log: Logger;
  /** Called before each look: may stop this acceptor. */
  beforeAccept: () => void;
  /** Connections that are open. */
  open: () => number;
  /** Takes over an accepted socket; index: of its listener. */
  admit: (fd: number, index: number) => void;
  /** Somebody waits at the limit: closes up to `most` connections that nobody uses. */
  makeRoom: (most: number) => void;
}

export class Acceptor {
  private readonly o: AcceptorOptions;
  private readonly selector: Selector<Listener>;
  private readonly poll: number;
  /** The most connections for which there are file descriptors. */
  private readonly most: number;
  private paused = true;
  private started = false;
  private atLimit = false;
  private resting = false;
  /** No thread of this worker is free, and there are siblings. */
  private saturated = false;
  /** Since when somebody waits to be accepted meanwhile, 0 = nobody does. */
  private siblingsAt = 0;
  private reclaimedAt = 0;
  private toldAt = Number.NEGATIVE_INFINITY;

  constructor(options: AcceptorOptions) {
    this.o = options;
    const { maxFds } = options.shared.memory;
    this.most = maxFds - Math.min(OTHER_FDS, maxFds >> 1);
    this.selector = defaultSelector<Listener>();
    this.poll = native.pollStart(this.selector.fd, () => this.onReadable(), 1, 0);
    native.pollPause(this.poll, 1);
  }

  start(): void {
    this.o.listeners.forEach(({ fd }, index) => {
      this.selector.register(fd, EVENT_READ, { fd, index });
    });
    this.started = true;
    this.update();
    const { workerConnections } = this.o.config();
    if (this.most >= workerConnections) return;
    this.o.log.warning(
      `File descriptors are for ${this.most} connections only, --worker-connections is ${workerConnections}: raise the limit (ulimit -n, LimitNOFILE=)`,
    );
  }

  /** For good: closes the listeners of this process, too. */
  stop(): void {
    this.started = false;
    this.update();
    native.pollStop(this.poll);
    this.selector.close();
    for (const { fd } of this.o.listeners) native.close(fd);
  }

  /** There is no place for another connection. One that is upgraded has two file descriptors. */
  private get full(): boolean {
    const open = this.o.open();
    return open >= this.o.config().workerConnections || open + this.o.shared.sum(T.UPGRADED) >= this.most;
  }

  /** A connection was closed, perhaps: accepts again where it had stopped at the limit. */
  hasRoom(): void {
    if (!this.atLimit || this.full) return;
    this.atLimit = false;
    Atomics.store(this.o.shared.control, C.ACCEPT_PAUSED, 0);
    this.update();
  }

  /**
   * At the limit, and somebody new waits: connections that nobody has used for longest make room, as in nginx. Without
   * this 1,000 clients that send nothing would keep everybody else out until their deadlines.
   */
  reclaim(): void {
    const now = performance.now();
    if (!this.started || !this.atLimit || now - this.reclaimedAt < RECLAIM_EVERY_MS || !this.somebodyWaits()) return;
    this.reclaimedAt = now;
    this.o.makeRoom(BATCH);
  }

  /** Siblings that have a thread free take new connections at once; those that nobody took come in after a moment. */
  leaveToSiblings(saturated: boolean): void {
    if (saturated !== this.saturated) {
      this.saturated = saturated;
      this.siblingsAt = 0;
      this.update();
    }
    if (!saturated || !this.started || this.atLimit || this.resting) return;
    const now = performance.now();
    if (!this.somebodyWaits()) this.siblingsAt = 0;
    else if (this.siblingsAt === 0) this.siblingsAt = now;
    else if (now - this.siblingsAt >= SIBLINGS_MS) this.onReadable();
  }

  private onReadable(): boolean {
    for (const [key] of this.selector.select(0)) this.accept(key.data);
    return false;
  }

  private accept(listener: Listener): void {
    const { control, memory } = this.o.shared;
    for (let i = 0; i < BATCH; i++) {
      this.o.beforeAccept();
      if (!this.started) return;
      if (this.full) {
        Atomics.store(control, C.ACCEPT_PAUSED, 1);
        // One may have been closed before the flag was up.
        if (this.full) {
          this.atLimit = true;
          this.update();
          this.reclaim();
          return;
        }
        Atomics.store(control, C.ACCEPT_PAUSED, 0);
      }
      const fd = native.accept(listener.fd);
      if (fd === EAGAIN) return;
      if (fd === ECONNABORTED || fd === EINTR) continue;
      if (fd < 0) {
        this.failed(fd);
        return;
      }
      if (fd >= memory.maxFds) {
        native.close(fd);
        continue;
      }
      this.o.admit(fd, listener.index);
    }
  }

  /** Out of file descriptors, as a rule: unused connections make room, as at --worker-connections, and threads need some, too. */
  private failed(errno: number): void {
    const now = performance.now();
    if (now - this.toldAt >= TELL_EVERY_MS) {
      this.toldAt = now;
      this.o.log.error(`accept failed: ${native.errnoName(errno)}; trying again every ${EMFILE_REST_MS} ms`);
    }
    if (errno !== EMFILE && errno !== ENFILE) return;
    this.o.makeRoom(BATCH);
    this.rest();
  }

  private rest(): void {
    this.resting = true;
    this.update();
    setTimeout(() => {
      this.resting = false;
      this.update();
    }, EMFILE_REST_MS);
  }

  private somebodyWaits(): boolean {
    return this.selector.select(0).length > 0;
  }

  /** Accepts or not, as all that speaks against it says. */
  private update(): void {
    const pause = !this.started || this.atLimit || this.saturated || this.resting;
    if (pause === this.paused) return;
    this.paused = pause;
    native.pollPause(this.poll, pause ? 1 : 0);
  }
}
