/** Answers that the engine itself gives: to requests it refuses, and in place of a handler that failed. */
import { STATUS_CODES } from 'node:http';
import { httpDate } from './date.js';

/** A whole response that ends the connection; without its body if it answers a HEAD. */
export function errorResponse(status: number, detail = '', extra = '', headOnly = false): string {
  const text = STATUS_CODES[status] ?? 'Error';
  const body = detail === '' ? `${status} ${text}\n` : `${status} ${text}: ${detail}\n`;
  return (
    `HTTP/1.1 ${status} ${text}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
    `Date: ${httpDate()}\r\n${extra}Connection: close\r\n\r\n${headOnly ? '' : body}`
  );
}
