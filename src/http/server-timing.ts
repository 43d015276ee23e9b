/**
 * Server-Timing (W3C), where the setting asks for it: a field of each response of a handler with what is known when its head is
 * made, and, where the body is chunked, a trailer with the final values. A handler's own Server-Timing stays: ours is
 * appended to its list. Node's ServerResponse is changed at two places of this one object, both below what handlers and
 * middleware replace: _storeHeader, which makes the head, and end.
 */
import { ServerResponse } from '../node-http.js';
import type { Connection } from './connection.js';
import { requestCost } from './cost.js';

const kConnection = Symbol('tunicorn.timing');
const kWhole = Symbol('tunicorn.whole');

interface TimedParts {
  [kConnection]: Connection;
  /** The head is made while end() runs: its values are the final ones. */
  [kWhole]: boolean;
  _header: string | null;
  _headerSent: boolean;
  _trailer: string;
  _hasBody: boolean;
  chunkedEncoding: boolean;
  finished: boolean;
  _storeHeader(firstLine: string, headers: unknown): void;
  end(...args: unknown[]): unknown;
}

const nodes = ServerResponse.prototype as unknown as TimedParts;

const ms = (us: number) => (us / 1000).toFixed(3);

/** The field's value: what the request in hand has cost so far. */
function timing(conn: Connection): string {
  const { queueMs, cpuUs, loopUs } = requestCost(conn);
  let text = `queue;dur=${Math.round(queueMs)}`;
  if (cpuUs >= 0) text += `, cpu;dur=${ms(cpuUs)}`;
  if (loopUs >= 0) text += `, loop;dur=${ms(loopUs)}`;
  return conn.host.meter === null ? text : `${text}, thread;desc="${conn.host.meter.slot}"`;
}

const TIMING = /\r\nserver-timing:[^\r\n]*/i;
const TRAILER = /\r\ntrailer:[^\r\n]*/i;

/** Adds a value to a field of a head (first line, fields, empty line), the field too where it has none. */
function withField(head: string, field: RegExp, name: string, value: string): string {
  const found = field.exec(head);
  if (found === null) return `${head.slice(0, -2)}${name}: ${value}\r\n\r\n`;
  const end = found.index + found[0].length;
  return `${head.slice(0, end)}, ${value}${head.slice(end)}`;
}

/** A response's head with its timing; `trailer`: announces that timingTrailer() follows the body. */
export function timedHead(conn: Connection, head: string, trailer: boolean): string {
  const timed = withField(head, TIMING, 'Server-Timing', timing(conn));
  return trailer ? withField(timed, TRAILER, 'Trailer', 'Server-Timing') : timed;
}

/** Trailer fields, those of the handler first: each line with its end. */
export function timingTrailer(conn: Connection, fields = ''): string {
  return withField(`\r\n${fields}\r\n`, TIMING, 'Server-Timing', timing(conn)).slice(2, -2);
}

/** Makes one response of Node's carry its timing. */
export function timeResponse(conn: Connection, res: ServerResponse): void {
  const parts = res as unknown as TimedParts;
  parts[kConnection] = conn;
  parts[kWhole] = false;
  parts._storeHeader = storeTimedHeader;
  parts.end = timedEnd;
}

function streams(parts: TimedParts): boolean {
  return parts._hasBody && parts.chunkedEncoding && parts[kConnection].versionMinor === 1;
}

function storeTimedHeader(this: TimedParts, firstLine: string, headers: unknown): void {
  nodes._storeHeader.call(this, firstLine, headers);
  // Node itself has sent the head of a response with `Expect`.
  if (this._headerSent || this._header === null) return;
  this._header = timedHead(this[kConnection], this._header, streams(this) && !this[kWhole]);
}

function timedEnd(this: TimedParts, ...args: unknown[]): unknown {
  const conn = this[kConnection];
  // A response that was given up, or is over, has no business with the connection any more.
  if (conn.res === (this as unknown as ServerResponse) && !this.finished) {
    if (this._header === null) this[kWhole] = true;
    else if (streams(this)) this._trailer = timingTrailer(conn, this._trailer);
  }
  return nodes.end.apply(this, args);
}
