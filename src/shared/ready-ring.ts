/**
 * Rings of ready connections, one for each thread and one for main. Only its owner fills a ring; anyone may take from it,
 * so that a connection which one thread took out of the kernel is never held hostage by that thread's heavy handler.
 *
 * Head and tail count up for ever and wrap as int32; entries stand at counter modulo RING_ENTRIES. An entry is read
 * before the head is advanced by compare-and-swap: the owner never overwrites an entry that is not taken yet.
 */
import { RING_ENTRIES, type Shared, T } from './memory.js';

const MASK = RING_ENTRIES - 1;

export class ReadyRing {
  private readonly control: Int32Array;
  private readonly entries: Int32Array;
  private readonly head: number;
  private readonly tail: number;
  private readonly base: number;
  /** Generation of the entry that the last take() returned. */
  generation = 0;

  /** heavy: the slot's ring of heavy requests that wait for a lane. */
  constructor(shared: Shared, slot: number, heavy = false) {
    this.control = shared.control;
    this.entries = shared.rings;
    this.head = shared.threadWord(slot, heavy ? T.HEAVY_HEAD : T.RING_HEAD);
    this.tail = shared.threadWord(slot, heavy ? T.HEAVY_TAIL : T.RING_TAIL);
    this.base = (slot + (heavy ? shared.threads + 1 : 0)) * RING_ENTRIES * 2;
  }

  get empty(): boolean {
    return Atomics.load(this.control, this.head) === Atomics.load(this.control, this.tail);
  }

  /** Entries that may be put now. Owner only. */
  get room(): number {
    return RING_ENTRIES - ((Atomics.load(this.control, this.tail) - Atomics.load(this.control, this.head)) | 0);
  }

  /** Owner only; false if the ring is full. */
  put(fd: number, generation: number): boolean {
    const tail = this.control[this.tail];
    if (((tail - Atomics.load(this.control, this.head)) | 0) >= RING_ENTRIES) return false;
    const at = this.base + (tail & MASK) * 2;
    this.entries[at] = fd;
    this.entries[at + 1] = generation;
    Atomics.store(this.control, this.tail, (tail + 1) | 0);
    return true;
  }

  /** The fd of the oldest entry, left there; -1 if there is none. Another thread may take it at the same time. */
  peek(): number {
    const head = Atomics.load(this.control, this.head);
    if (head === Atomics.load(this.control, this.tail)) return -1;
    return this.entries[this.base + (head & MASK) * 2];
  }

  /** Tells of each entry that stands in it now. Another thread may take it at the same time. */
  each(fn: (fd: number, generation: number) => void): void {
    const tail = Atomics.load(this.control, this.tail);
    for (let i = Atomics.load(this.control, this.head); ((tail - i) | 0) > 0; i = (i + 1) | 0) {
      const at = this.base + (i & MASK) * 2;
      fn(this.entries[at], this.entries[at + 1]);
    }
  }

  /** Takes the oldest entry: its fd (generation in `generation`), or -1. Any thread. */
  take(): number {
    for (;;) {
      const head = Atomics.load(this.control, this.head);
      if (head === Atomics.load(this.control, this.tail)) return -1;
      const at = this.base + (head & MASK) * 2;
      const fd = this.entries[at];
      const generation = this.entries[at + 1];
      if (Atomics.compareExchange(this.control, this.head, head, (head + 1) | 0) === head) {
        this.generation = generation;
        return fd;
      }
    }
  }
}
