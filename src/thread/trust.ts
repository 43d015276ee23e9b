/** What a thread asks of proxies in front: a PROXY header before the first request, and the fields by which they tell of their client. */
import type { Connection } from '../http/connection.js';
import { native } from '../native/binding.js';
import type { Proxied } from '../shared/proxied.js';
import type { Reader } from './reader.js';

/** Results of takePreface() that are no number of bytes: the header is not whole; the connection was refused or has ended. */
export const MORE = -1;
export const REFUSED = -2;

/** Whether the log has been told of fields that --header-map drops; this module is the thread's own. */
let told = false;

/** Takes a PROXY header away from `length` bytes of input. Returns how many are left, where the input begins as before. */
export function takePreface(handler: Reader, proxied: Proxied, conn: Connection, length: number): number {
  const { parser } = handler;
  const { memory, inputAt } = parser;
  const { fd } = conn;
  const header = proxied.read(memory, inputAt, length);
  if (header.kind === 'maybe') return MORE;
  if (header.kind === 'none') {
    proxied.record(fd, null);
    return length;
  }
  const allowed = proxied.allows(fd);
  if (allowed === null) {
    // HAProxy's health checks: a header, and a reset.
    handler.drop(conn, null);
    return REFUSED;
  }
  if (!allowed) return refuse(handler, conn, 403, 'A PROXY header from an address that may not send one');
  if (header.kind === 'more') return MORE;
  if (header.kind === 'bad') return refuse(handler, conn, 400, header.reason);
  proxied.record(fd, header.addresses);
  conn.proxied = header.addresses;
  const left = length - header.length;
  memory.copyWithin(inputAt, inputAt + header.length, inputAt + length);
  if (left > 0) native.headNote(fd, memory, inputAt, left);
  return left;
}

function refuse(handler: Reader, conn: Connection, status: number, reason: string): number {
  handler.parser.forget();
  handler.refused(conn, status, reason);
  return REFUSED;
}

/** Looks at the fields of the request whose head the parser has just read. Returns why it is refused (400), '' = it is not. */
export function lookAtFields({ parser, forwarded, o }: Reader, conn: Connection): string {
  const wrong = forwarded.look(parser.headers, conn);
  if (wrong !== '') return wrong;
  parser.headers = forwarded.fields;
  conn.secure ||= forwarded.secure;
  if (forwarded.dropped && !told) {
    told = true;
    o.log.info('A header with an underscore in its name was dropped, as others will be: see --header-map');
  }
  return '';
}
