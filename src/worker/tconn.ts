/** TConn: an accepted connection as the worker's main thread keeps it. Its state is a word in shared memory (shared/tconn.ts). */
import type { Queued } from './keepalive-queue.js';

export class TConn implements Queued {
  readonly fd: number;
  /** Tells it from earlier connections on the same fd number. */
  readonly generation: number;
  /** The client has ended its side and was asked by an interim response whether it is still there. */
  asked = false;
  queueSlot = -1;
  queueTick = 0;
  queuePrev: Queued | null = null;
  queueNext: Queued | null = null;

  constructor(fd: number, generation: number) {
    this.fd = fd;
    this.generation = generation;
  }
}
