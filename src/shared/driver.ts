/**
 * The driver: takes events from the selector and gives out connections, run by whoever is free (design, idea 2).
 *
 * taken() hands the calling thread one connection that it then owns: from its own ring, another thread's, or main's (just accepted,
 * handed back, or waiting while all were busy); poll() fills the own ring from the kernel with one epoll_wait. One at a time: what is not taken
 * stays where every thread can see it.
 */
import {
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLLET,
  EPOLLIN,
  EPOLLRDHUP,
  native,
} from '../native/binding.js';
import type { Shared } from './memory.js';
import { ReadyRing } from './ready-ring.js';
import { type ConnTable, OWNER_QUEUED } from './tconn.js';

/** Events taken from the kernel at a time. */
const BATCH = 64;
const EVENTS = EPOLLIN | EPOLLRDHUP | EPOLLET;

export class Driver {
  readonly table: ConnTable;
  private readonly slot: number;
  private readonly epfd: number;
  private readonly rings: ReadyRing[] = [];
  private readonly mine: ReadyRing;
  private readonly main: ReadyRing;
  private readonly events = new Int32Array(BATCH * 3);
  /** Generation of the connection that taken() returned, and whether it has waited in the queue. */
  generation = 0;
  queued = false;

  constructor(shared: Shared, table: ConnTable, slot: number) {
    this.table = table;
    this.slot = slot;
    this.epfd = shared.memory.epfd;
    for (let i = 0; i <= shared.threads; i++) this.rings.push(new ReadyRing(shared, i));
    this.mine = this.rings[slot];
    this.main = this.rings[0];
  }

  /** Puts the connection into the selector, where it stays until its fd is closed or unregister(). The caller owns it. */
  register(fd: number, generation: number): number {
    return native.epollCtl(this.epfd, EPOLL_CTL_ADD, fd, EVENTS, generation);
  }

  /** Takes it out again: the caller owns the connection and waits for it in a way of its own. */
  unregister(fd: number): number {
    return native.epollCtl(this.epfd, EPOLL_CTL_DEL, fd, 0, 0);
  }

  /** Has the kernel report the connection again if it is readable: for events that a dead thread took away. */
  rearm(fd: number, generation: number): number {
    return native.epollCtl(this.epfd, EPOLL_CTL_MOD, fd, EVENTS, generation);
  }

  /** Takes events out of the kernel into the own ring; returns how many. */
  poll(): number {
    const n = native.epollWait(this.epfd, this.events, BATCH, 0);
    for (let i = 0; i < n * 3; i += 3) {
      const { events } = this;
      this.mine.put(events[i], events[i + 1]);
      // The client has ended its side: once for what it sent, once for the end, which is not reported again.
      if ((events[i + 2] & EPOLLRDHUP) !== 0) this.mine.put(events[i], events[i + 1]);
    }
    return Math.max(0, n);
  }

  private from(ring: ReadyRing): number {
    for (;;) {
      const fd = ring.take();
      if (fd < 0) return -1;
      const { table, slot } = this;
      const { generation } = ring;
      this.queued = table.owner(fd) === OWNER_QUEUED;
      if (this.queued ? table.dequeue(fd, generation, slot) : table.claim(fd, generation, slot)) {
        this.generation = generation;
        return fd;
      }
    }
  }

  /**
   * A connection from a ring: of this thread, of another one, of main; its fd, now owned, or -1. No system call. In this order:
   * threads fill their rings only when main's is empty, so what stands in them came first, while main goes on filling its own as
   * long as every thread is busy.
   */
  taken(): number {
    let fd = this.from(this.mine);
    // What another thread took out of the kernel must not wait for its handler, nor behind newer events.
    for (let i = 1; fd < 0 && i < this.rings.length; i++) if (i !== this.slot) fd = this.from(this.rings[i]);
    return fd < 0 ? this.from(this.main) : fd;
  }

  /** Main has handed over connections that nobody has taken yet. */
  get submitted(): boolean {
    return !this.main.empty;
  }

  /** A connection that this thread itself has taken out of the kernel, or -1. */
  leftover(): number {
    return this.from(this.mine);
  }
}
