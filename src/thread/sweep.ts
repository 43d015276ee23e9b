/**
 * The sweep: once in a while a thread looks through the connections whose objects it keeps, ends what waits for too long,
 * notices clients that have left while their handlers wait, and forgets connections that idle or that others serve. It
 * also tells main how much memory the thread has.
 */
import { getHeapStatistics } from 'node:v8';
import type { Connection } from '../http/connection.js';
import { disconnected } from '../http/message.js';
import { EAGAIN, native } from '../native/binding.js';
import { T } from '../shared/memory.js';
import type { Handler } from './handle.js';

/** A lingering close ends when the client has been silent for so long, and at the latest after the second, ms. */
const LINGER_IDLE_MS = 2000;
const LINGER_MS = 30_000;
/** A connection's objects are dropped when it has not been served here for so long, ms. */
const FORGET_MS = 1000;
/** ms between two looks at the thread's memory. */
const HEAP_MS = 1000;

/** When the memory was looked at; this module is the thread's own. */
let heapAt = 0;

/** Returns true while there is something to look after. */
export function sweep(handler: Handler): boolean {
  const now = native.clock();
  if (((now - heapAt) | 0) >= HEAP_MS) {
    heapAt = now;
    reportHeap(handler);
  }
  // Deleting what a Map's iterator has passed or stands on is safe.
  for (const conn of handler.connections.values()) {
    if (!handler.owns(conn)) {
      if (((now - conn.touched) | 0) > FORGET_MS) handler.forget(conn);
    } else if (conn.lingering) {
      if (((now - conn.touched) | 0) > LINGER_IDLE_MS || ((now - conn.began) | 0) > LINGER_MS) handler.drop(conn, null);
    } else if (conn.active) lookAt(handler, conn, now);
  }
  return handler.connections.size > 0;
}

function lookAt(handler: Handler, conn: Connection, now: number): void {
  const { config, log, table } = handler.o;
  const bodyMs = config.bodyTimeout * 1000;
  const requestMs = config.timeout * 1000;
  const quiet = (now - conn.touched) | 0;
  if (conn.waiting || conn.responded) {
    // The client's turn: it sends no body or takes no response. A body that its handler does not read on is no better.
    if (bodyMs === 0 || quiet <= bodyMs) return;
    log.info(`Client too slow in ${conn.method} ${conn.url}`);
    if (conn.responded || conn.blocked) handler.drop(conn, disconnected(0));
    else handler.abandon(conn, 408);
    return;
  }
  const bytes = native.peek(conn.fd);
  if (bytes === 0 || (bytes < 0 && bytes !== EAGAIN)) {
    // As node:http, which takes the end of what the client sends for its leaving.
    handler.drop(conn, disconnected(bytes));
  } else if (requestMs > 0 && !table.wasSent(conn.fd) && quiet > requestMs) {
    log.error(`Request timed out after ${config.timeout} s: ${conn.method} ${conn.url}`);
    handler.abandon(conn, 500);
  }
}

/** process.memoryUsage() would tell of all threads together. */
function reportHeap({ o }: Handler): void {
  const { used_heap_size, external_memory } = getHeapStatistics();
  o.shared.control[o.shared.threadWord(o.slot, T.HEAP)] = (used_heap_size + external_memory) >>> 10;
}
