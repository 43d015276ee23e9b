/**
 * The keepalive queue: waiting connections in the order in which they fall due. Main owns it; threads only write a
 * connection's deadline into shared memory (tconn.ts), so an entry may have become stale when its time comes, and
 * whoever takes it looks at the connection's own word and puts it back with its true deadline.
 *
 * A timer wheel of linked lists: add and remove are O(1), and due() touches only entries whose time has come.
 */

/** Resolution, ms: an entry falls due at most this much late. */
const TICK_MS = 250;
const SLOTS = 512;

/** A connection as the queue links it. `queueSlot` is -1 while it is in no list. */
export interface Queued {
  queueSlot: number;
  queueTick: number;
  queuePrev: Queued | null;
  queueNext: Queued | null;
}

export class KeepaliveQueue<E extends Queued> {
  private readonly heads: Array<E | null> = new Array(SLOTS).fill(null);
  private tick: number;
  private count = 0;

  /** now: ms of a monotonic clock. */
  constructor(now: number) {
    this.tick = Math.floor(now / TICK_MS);
  }

  get size(): number {
    return this.count;
  }

  /** Adds, or moves, an entry to its due time (ms of the same clock). */
  add(entry: E, due: number): void {
    if (entry.queueSlot >= 0) this.remove(entry);
    const tick = Math.max(this.tick + 1, Math.ceil(due / TICK_MS));
    const slot = tick % SLOTS;
    const head = this.heads[slot];
    entry.queueSlot = slot;
    entry.queueTick = tick;
    entry.queuePrev = null;
    entry.queueNext = head;
    if (head !== null) head.queuePrev = entry;
    this.heads[slot] = entry;
    this.count++;
  }

  /** False if it is not in the queue. */
  remove(entry: E): boolean {
    const { queueSlot, queuePrev, queueNext } = entry;
    if (queueSlot < 0) return false;
    if (queuePrev !== null) queuePrev.queueNext = queueNext;
    else this.heads[queueSlot] = queueNext as E | null;
    if (queueNext !== null) queueNext.queuePrev = queuePrev;
    entry.queueSlot = -1;
    entry.queuePrev = entry.queueNext = null;
    this.count--;
    return true;
  }

  /** Takes out every entry that is due by now, each once, those of an earlier tick first. */
  due(now: number): E[] {
    const until = Math.floor(now / TICK_MS);
    const found: E[] = [];
    // After a long pause each slot is looked at once.
    const first = Math.max(this.tick + 1, until - SLOTS + 1);
    for (let tick = first; tick <= until; tick++) {
      let entry = this.heads[tick % SLOTS];
      while (entry !== null) {
        const next = entry.queueNext as E | null;
        if (entry.queueTick <= until) {
          this.remove(entry);
          found.push(entry);
        }
        entry = next;
      }
    }
    // Then the wheel went round more than once, and a slot's place says nothing about the order.
    if (until - this.tick > SLOTS) found.sort((a, b) => a.queueTick - b.queueTick);
    this.tick = Math.max(this.tick, until);
    return found;
  }

  /** Every entry, in no order. Entries may be removed meanwhile; one that is moved may come again. */
  *[Symbol.iterator](): Generator<E> {
    for (let slot = 0; slot < SLOTS; slot++) {
      const entries: E[] = [];
      for (let entry = this.heads[slot]; entry !== null; entry = entry.queueNext as E | null) entries.push(entry);
      for (const entry of entries) if (entry.queueSlot === slot) yield entry;
    }
  }
}
