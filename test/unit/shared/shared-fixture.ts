/** A worker thread of the tests in this folder: takes from a ring, or owns connections for a moment. */
import { parentPort, workerData } from 'node:worker_threads';
import { Shared, type SharedMemory } from '../../../src/shared/memory.js';
import { ReadyRing } from '../../../src/shared/ready-ring.js';
import { ConnTable } from '../../../src/shared/tconn.js';

export interface Fixture {
  role: 'ring' | 'table';
  slot: number;
  memory: SharedMemory;
  /** 0: go on, 1: stop. */
  stop: Int32Array;
  /** ring: how often an entry was taken. table: who holds a connection, as its holders believe. */
  seen: Int32Array;
  /** What went wrong. table: claims in [1]. */
  wrong: Int32Array;
}

/** The generation that goes with an entry in the ring's test. */
export const pairOf = (fd: number): number => (fd * 31 + 7) & 0xffff;

function takeFromRing({ memory, stop, seen, wrong }: Fixture): void {
  const ring = new ReadyRing(new Shared(memory), 0);
  while (Atomics.load(stop, 0) === 0) {
    const fd = ring.take();
    if (fd < 0) continue;
    if (ring.generation !== pairOf(fd)) Atomics.add(wrong, 0, 1);
    Atomics.add(seen, fd, 1);
  }
}

function ownConnections({ slot, memory, stop, seen, wrong }: Fixture): void {
  const table = new ConnTable(new Shared(memory));
  let seed = slot * 7919;
  const random = (n: number) => ((seed = (Math.imul(seed, 1103515245) + 12345) >>> 1) >>> 8) % n;
  while (Atomics.load(stop, 0) === 0) {
    const fd = random(memory.maxFds);
    if (!table.claim(fd, table.generation(fd), slot)) continue;
    Atomics.add(wrong, 1, 1);
    for (;;) {
      if (Atomics.compareExchange(seen, fd, 0, slot) !== 0) Atomics.add(wrong, 0, 1);
      for (let i = random(50); i > 0; i--) if (Atomics.load(seen, fd) !== slot) Atomics.add(wrong, 0, 1);
      if (random(2) === 0) table.markSent(fd);
      Atomics.store(seen, fd, 0);
      if (random(4) === 0) table.close(fd);
      else if (!table.release(fd, random(1000))) continue;
      break;
    }
  }
}

const fixture = workerData as Fixture;
if (fixture !== null) {
  parentPort!.postMessage('up');
  if (fixture.role === 'ring') takeFromRing(fixture);
  else ownConnections(fixture);
}
