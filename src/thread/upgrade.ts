/**
 * Upgrades: a request that asks for another protocol, or for a tunnel (CONNECT), and whose app has a listener for it, leaves
 * HTTP. The listener gets the socket (http/upgrade.ts); the connection stays with this thread until it is closed.
 *
 *     handleRequest ─ hookFor ─┬ '' : an ordinary request, or refused (CONNECT)
 *                              └ handOver ─ listener ─ first output (access line) ─ 'close' ─ drop
 *
 * From the listener's return on no request is in hand: no deadline, no lane. Until the first output main would answer in the
 * thread's place if it died (IN_HAND); afterwards it only closes (UPGRADED).
 */
import type { IncomingMessage } from 'node:http';
import { errorResponse } from '../answers.js';
import type { HookEvent } from '../app/types.js';
import { dress } from '../http/client.js';
import type { Connection } from '../http/connection.js';
import { makeRequest } from '../http/message.js';
import { threadServer } from '../http/observe.js';
import { openSocket } from '../http/upgrade.js';
import { EAGAIN, native } from '../native/binding.js';
import { C, CLOSING, T } from '../shared/memory.js';
import { IN_HAND, REGISTERED, UPGRADED } from '../shared/tconn.js';
import type { Handler } from './handle.js';
import { isRetiring } from './retire.js';

/** What of --graceful-timeout is left for closing connections that would not end by themselves, ms. */
const REST_MS = 1000;
const EMPTY = Buffer.alloc(0);

/** The event by which the app wants the request whose head was just read, '' = none. `complete`: its body too. */
export function hookFor({ parser, o }: Handler, complete: boolean): HookEvent | '' {
  const event = parser.method === 'CONNECT' ? 'connect' : 'upgrade';
  if (o.app.hooks?.hears(event) !== true) return '';
  // RFC 9110, 7.8: an offer in HTTP/1.0 is ignored, and any other may be. A body would have to be read first.
  if (event === 'upgrade' && (parser.versionMinor === 0 || !complete || parser.body.length > 0)) return '';
  return event;
}

/** The request whose offer the app's server has yet to take or leave, and whether it takes it. Null: it takes each. */
export function offerOf(handler: Handler, conn: Connection): { req: IncomingMessage; taken: boolean } | null {
  const { hooks } = handler.o.app;
  if (hooks?.takes === undefined) return null;
  const req = makeRequest(conn, handler.parser);
  const parts = req as unknown as { upgrade: boolean };
  parts.upgrade = true;
  parts.upgrade = hooks.takes(req);
  return { req, taken: parts.upgrade };
}

/** The event for a request with an Expect field. */
export function hookForExpect({ o }: Handler, expectation: string): HookEvent | '' {
  const event = expectation === '100-continue' ? 'checkContinue' : 'checkExpectation';
  return o.app.hooks?.hears(event) === true ? event : '';
}

/** Gives the connection to the listeners of the app. What they throw ends it: 500 where nothing was written. */
export function handOver(handler: Handler, conn: Connection, event: HookEvent, made: IncomingMessage | null): void {
  const { o, parser } = handler;
  const { table, app } = o;
  const { fd } = conn;
  handler.flushHeld();
  // A client that pipelines and does not read: what comes next would overtake its responses.
  if (native.send(fd, EMPTY, 0, 0) === EAGAIN) return handler.drop(conn, null);
  let written = false;
  let logged = false;
  const log = (): void => {
    if (!logged) handler.logUpgrade(conn);
    logged = true;
  };
  const socket = openSocket(fd, handler.server ?? threadServer(), (status) => {
    written = true;
    conn.status = status;
    table.markSent(fd);
    table.setFacts(fd, table.facts(fd) & ~IN_HAND);
    if (!conn.active) log();
  });
  if (socket === null) return handler.refused(conn, 503, 'No file descriptor is left for an upgrade');
  dress(socket, conn);
  // Its events are the thread's own from here on.
  if ((table.facts(fd) & REGISTERED) !== 0) o.driver.unregister(fd);
  table.setFacts(fd, (table.facts(fd) | UPGRADED) & ~REGISTERED);
  table.setLimit(fd, 0);
  conn.upgraded = socket;
  handler.upgraded.add(conn);
  handler.countUpgraded();
  socket.on('close', () => {
    log();
    handler.upgraded.delete(conn);
    handler.countUpgraded();
    handler.drop(conn, null);
    o.ended();
  });
  const failed = (error: unknown): void => {
    o.log.error(`Error in the ${event} listener for ${conn.method} ${conn.url}`, error);
    if (written) socket.destroy();
    else socket.end(errorResponse(500), () => socket.destroy());
  };
  const head = conn.early ?? EMPTY;
  conn.early = null;
  try {
    const req = made ?? makeRequest(conn, parser);
    req.complete = true;
    (req as { socket: unknown }).socket = socket;
    (req as unknown as { upgrade: boolean }).upgrade = true;
    conn.upgradeFailed = failed;
    const result = app.hooks?.call(event, req, socket, head);
    if (result instanceof Promise) result.then(undefined, failed);
  } catch (error) {
    failed(error);
  }
  handler.leaveRequest(conn);
  if (written) log();
}

/**
 * Called now and then: upgraded connections of a thread that is being replaced, or of a worker that stops, are closed in peace
 * when --graceful-timeout is all but over. A program that listens for SIGTERM parts from them itself, as soon as nothing else is left.
 */
export function partUpgraded(handler: Handler, now: number): void {
  const { config, shared, ending } = handler.o;
  if (handler.upgraded.size === 0) return;
  if (!isRetiring(handler) && shared.control[C.DRAINING] === 0) return;
  if (handler.leavingAt === 0) handler.leavingAt = now || 1;
  const left = config.gracefulTimeout * 1000 - ((now - handler.leavingAt) | 0);
  if (onlyUpgraded(handler)) void ending?.run(left);
  if (ending?.exited || left <= REST_MS) closeUpgraded(handler);
}

/** No request is in hand, and none will be: the thread takes nothing new, or the worker has no other connections. */
function onlyUpgraded(handler: Handler): boolean {
  if (handler.inHand > 0) return false;
  // Of what else it owns a request may come.
  for (const conn of handler.connections.values()) if (conn.upgraded === null && handler.owns(conn)) return false;
  if (isRetiring(handler)) return true;
  const { shared } = handler.o;
  return shared.control[C.DRAINING] === CLOSING && shared.control[C.OPEN] <= shared.sum(T.UPGRADED);
}

/** Closes them; their 'close' events follow. */
export function closeUpgraded(handler: Handler): void {
  for (const conn of handler.upgraded) conn.upgraded?.destroy();
}
