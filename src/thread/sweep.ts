/**
 * The sweep: once in a while a thread looks through the connections whose objects it keeps, ends what waits for too long,
 * notices clients that have left while their handlers wait, and forgets connections that idle or that others serve. It
 * also tells main how much memory the thread has.
 */
import { getHeapStatistics } from 'node:v8';
import { INTERIM } from '../answers.js';
import type { Connection } from '../http/connection.js';
import { disconnected } from '../http/message.js';
import { CLIENT_ENDED, CLIENT_GONE, native } from '../native/binding.js';
import { T } from '../shared/memory.js';
import type { Handler } from './handle.js';
import { partUpgraded } from './upgrade.js';

/** A lingering close ends when the client has been silent for so long, and at the latest after the second, ms. */
const LINGER_IDLE_MS = 2000;
const LINGER_MS = 30_000;
/** A connection's objects are dropped when it has not been served here for so long, ms. */
const FORGET_MS = 1000;
/** A client that has ended its side is asked again after so long, then after twice that ..., ms; and how often in all. A chunk's size has room for it. */
const ASK_AGAIN_MS = 5000;
const MAX_ASKED = 9;
/** ms between two looks at the thread's memory. */
const HEAP_MS = 1000;

/** When the memory was looked at, and when the last sweep was; this module is the thread's own. */
let heapAt = 0;
let sweptAt = 0;
/** More than this between two sweeps is not the clients' time, ms. */
const MAX_STEP_MS = 1000;

/** Returns true while there is something to look after. */
export function sweep(handler: Handler): boolean {
  const now = native.clock();
  if (((now - heapAt) | 0) >= HEAP_MS) {
    heapAt = now;
    reportHeap(handler);
  }
  const step = Math.min(MAX_STEP_MS, (now - sweptAt) | 0);
  sweptAt = now;
  partUpgraded(handler, now);
  // Deleting what a Map's iterator has passed or stands on is safe.
  for (const conn of handler.connections.values()) {
    if (!handler.owns(conn)) {
      if (((now - conn.touched) | 0) > FORGET_MS) handler.forget(conn);
    } else if (conn.lingering) {
      if (((now - conn.touched) | 0) > LINGER_IDLE_MS || ((now - conn.began) | 0) > LINGER_MS) handler.drop(conn, null);
    } else if (conn.active) lookAt(handler, conn, now, step);
  }
  return handler.connections.size > 0;
}

function lookAt(handler: Handler, conn: Connection, now: number, step: number): void {
  const { config, log, table } = handler.o;
  const quiet = (now - conn.touched) | 0;
  if (conn.waiting || conn.responded) {
    // The client's turn: it sends no body or takes no response. A body that its handler does not read on is no better.
    const sending = conn.blocked;
    // Behind TLS the front knows what the client takes, and ends it (front/takers.ts).
    if (sending && (handler.tls || takes(conn, now))) return;
    const patience = 1000 * (sending ? config.sendTimeout : config.bodyTimeout);
    if ((patience === 0 || quiet <= patience) && (sending || !tooSlow(conn, now, step, patience, config.bodyMinRate)))
      return;
    log.info(`Client too slow in ${conn.method} ${conn.url}`);
    if (conn.responded || sending) handler.drop(conn, disconnected(0));
    else handler.abandon(conn, 408);
    return;
  }
  if (hasLeft(handler, conn)) handler.drop(conn, disconnected(0));
  else if (conn.limit !== 0 && !table.wasSent(conn.fd) && ((now - conn.limit) | 0) >= 0) handler.expire(conn, now);
}

/** The client has taken something since the last look: long before the kernel calls the socket writable. */
function takes(conn: Connection, now: number): boolean {
  const untaken = native.outQueue(conn.fd);
  if (untaken === conn.untaken || untaken < 0) return false;
  conn.untaken = untaken;
  conn.touched = now;
  return true;
}

/**
 * A body that comes at less than `rate` bytes/s on average, once it has been waited for for longer than `patience`, ms: a byte
 * now and then makes progress, and would hold the connection for ever. One whose response has begun may be a conversation.
 */
function tooSlow(conn: Connection, now: number, step: number, patience: number, rate: number): boolean {
  if (!conn.unread || conn.headSent !== '') return false;
  // The sweep may have rested when the request came.
  conn.bodyMs += Math.min(step, (now - conn.began) | 0);
  return rate > 0 && patience > 0 && conn.bodyMs > patience && conn.bodyIn * 1000 < rate * conn.bodyMs;
}

/**
 * The client has left. The end of its stream alone says nothing: it may have ended only its side (RFC 9112, 9.6). An interim
 * response, which any HTTP/1.1 client must accept, makes the kernel of one that has left answer with a reset. In the middle
 * of a chunked response a leading zero of the next chunk's size does the same.
 */
export function hasLeft(handler: Handler, conn: Connection): boolean {
  const { table } = handler.o;
  const { fd } = conn;
  let state = native.hangup(fd);
  if (state === CLIENT_ENDED && conn.versionMinor === 1 && isDue(conn, handler.clock[0])) {
    const sent = table.wasSent(fd);
    if (sent && !conn.betweenChunks) return false;
    conn.askAt = (handler.clock[0] + (ASK_AGAIN_MS << conn.asked++)) | 0;
    if (sent) conn.socket.write('0', 'latin1');
    else native.sendString(fd, INTERIM, 0);
    state = native.hangup(fd);
  }
  return state === CLIENT_GONE || state < 0;
}

/** It is to be asked: at once, and then less and less often, for it may leave later. */
function isDue(conn: Connection, now: number): boolean {
  return conn.asked === 0 || (conn.asked < MAX_ASKED && ((now - conn.askAt) | 0) >= 0);
}

/** process.memoryUsage() would tell of all threads together. */
function reportHeap({ o }: Handler): void {
  const { used_heap_size, external_memory } = getHeapStatistics();
  o.shared.control[o.shared.threadWord(o.slot, T.HEAP)] = (used_heap_size + external_memory) >>> 10;
}
