/** The access log's line: gunicorn's default format, `%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"`. */
import type { Connection } from '../http/connection.js';

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

function two(n: number): string {
  return n < 10 ? `0${n}` : `${n}`;
}

let stampSecond = 0;
let stamp = '';

/** [23/Nov/2026:12:00:00 +0000], made once a second. */
function clfTime(): string {
  const ms = Date.now();
  const second = Math.floor(ms / 1000);
  if (second !== stampSecond) {
    const d = new Date(ms);
    const offset = -d.getTimezoneOffset();
    const zone = `${offset < 0 ? '-' : '+'}${two(Math.floor(Math.abs(offset) / 60))}${two(Math.abs(offset) % 60)}`;
    const time = `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
    stamp = `[${two(d.getDate())}/${MONTHS[d.getMonth()]}/${d.getFullYear()}:${time} ${zone}]`;
    stampSecond = second;
  }
  return stamp;
}

/** Client-controlled text inside quotes: quotes, backslashes and controls cannot end the field or the line. */
function quoted(text: string | undefined): string {
  if (text === undefined || text === '') return '-';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: controls are what is looked for
  return text.replace(/["\\\x00-\x1f\x7f-\x9f]/g, (c) => {
    if (c === '"' || c === '\\') return `\\${c}`;
    return `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
}

/** One line, without its end. */
export function accessLine(conn: Connection, status: number): string {
  const headers = conn.rawHeaders;
  let referer: string | undefined;
  let agent: string | undefined;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i];
    if (name.length === 7 && name.toLowerCase() === 'referer') referer = headers[i + 1];
    else if (name.length === 10 && name.toLowerCase() === 'user-agent') agent = headers[i + 1];
  }
  const request = conn.method === '' ? '-' : `${conn.method} ${quoted(conn.url)} HTTP/1.${conn.versionMinor}`;
  const host = conn.socket.remoteAddress ?? '-';
  return `${host} - - ${clfTime()} "${request}" ${status} ${conn.bodyBytes} "${quoted(referer)}" "${quoted(agent)}"`;
}
