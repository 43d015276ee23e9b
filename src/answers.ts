/** Answers that the server itself gives: to requests it refuses, and in place of a handler that failed or was ended. */
import { STATUS_CODES } from './node-http.js';

let dateText = '';
let dateAt = Number.NEGATIVE_INFINITY;

/**
 * RFC 9110 5.6.7 IMF-fixdate of now, made anew at most every 200 ms: a timer would keep an idle thread awake.
 * `clock`: any ms clock that only grows; without it the wall clock is read.
 */
export function httpDate(clock: number = Date.now()): string {
  const age = clock - dateAt;
  if (age >= 0 && age < 200) return dateText;
  dateAt = clock;
  dateText = new Date().toUTCString();
  return dateText;
}

/** What asks a client that has ended its side whether it is still there (RFC 2518, 10.1; RFC 9110, 15.2). */
export const INTERIM = 'HTTP/1.1 102 Processing\r\n\r\n';

/** Seconds after which a client that was refused for want of capacity may come again (RFC 9110, 10.2.3). */
const RETRY_AFTER = 'Retry-After: 1\r\n';

/** A whole response that ends the connection; without its body if it answers a HEAD. A 503 says when to come again. */
export function errorResponse(status: number, detail = '', extra = '', headOnly = false): string {
  const text = STATUS_CODES[status] ?? 'Error';
  const body = detail === '' ? `${status} ${text}\n` : `${status} ${text}: ${detail}\n`;
  return (
    `HTTP/1.1 ${status} ${text}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
    `Date: ${httpDate()}\r\n${status === 503 ? RETRY_AFTER : ''}${extra}Connection: close\r\n\r\n${headOnly ? '' : body}`
  );
}
