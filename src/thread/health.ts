/**
 * The thread's answer at --health-path: the engine's own, before the app sees the request, and otherwise a request like
 * any other: counted, logged, its connection kept.
 */
import type { Connection } from '../http/connection.js';
import { Exchange } from '../http/exchange.js';
import { healthAnswered, healthAsked, readinessOf } from '../shared/health.js';
import type { Handler } from './handle.js';

const HEADERS = ['Content-Type', 'text/plain; charset=utf-8', 'Cache-Control', 'no-store'];

/** Answers the request whose head the parser has just read if it asks for `path` (not ''); false if it is the app's. */
export function answerHealth(handler: Handler, conn: Connection, complete: boolean, path: string): boolean {
  const kind = healthAsked(conn.method, conn.url, path);
  if (kind === null) return false;
  const exchange = new Exchange(handler, conn, complete);
  conn.exchange = exchange;
  const { status, body } = healthAnswered(kind, readinessOf(handler.o.shared.control));
  exchange.send(status, '', HEADERS, body);
  return true;
}
