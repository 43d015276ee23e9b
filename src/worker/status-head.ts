/**
 * The health path while every thread is stuck: main looks at the first bytes of a waiting connection and, if they are a
 * probe's whole request, says what to send. Anything that is not plainly one (more bytes behind the head, a body, an odd
 * line) is left to the threads, whose parser is the real one.
 */
import { STATUS_CODES } from '../node-http.js';
import { healthAnswered, healthAsked, type Readiness } from '../shared/health.js';

/** Longest head of a probe, bytes. */
const LONGEST = 8192;
const REQUEST_LINE = /^(GET|HEAD) ([!-~]+) HTTP\/1\.[01]$/;
const FIELD_LINE = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*$/;
/** A body, or an answer of another kind. */
const NOT_PLAIN = /^(transfer-encoding|upgrade|expect):|^content-length:(?![ \t]*0[ \t]*$)/i;

/**
 * The whole response to a probe of the health path; the connection ends with it.
 * @param head the first bytes that a connection has sent.
 * @param healthPath the setting; '' asks for nothing.
 * @returns the response, latin1, or null: not a complete GET or HEAD for that path and nothing more.
 */
export function healthAnswer(head: Buffer, healthPath: string, ready: Readiness): string | null {
  if (healthPath === '' || head.length > LONGEST) return null;
  const end = head.indexOf('\r\n\r\n');
  if (end < 0 || end + 4 < head.length) return null;
  const [requestLine, ...fields] = head.latin1Slice(0, end).split('\r\n');
  const request = REQUEST_LINE.exec(requestLine);
  if (request === null || fields.some((line) => !FIELD_LINE.test(line) || NOT_PLAIN.test(line))) return null;
  const [, method, target] = request;
  const kind = healthAsked(method, target, healthPath);
  if (kind === null) return null;
  const { status, body } = healthAnswered(kind, ready);
  return (
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n` +
    `Content-Length: ${body.length}\r\nCache-Control: no-store\r\nDate: ${new Date().toUTCString()}\r\n` +
    `Connection: close\r\n\r\n${method === 'HEAD' ? '' : body}`
  );
}
