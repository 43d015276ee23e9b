/**
 * The atoms of an access log's format: what is known of a finished request, and how each atom shows it. gunicorn's letters
 * have gunicorn's meaning; Q C E W R I are ours (docs/access-log.md has the table). Every text that a client chose goes
 * through escaped(), so that it can end neither its field's quotes nor the line.
 */

import { version } from './version.js';

/** A finished request as the log sees it. Getters may make what costs something: only what the format shows is read. */
export interface AccessFacts {
  /** Numeric address of the client; '' where there is none (unix sockets). */
  readonly remoteAddress: string;
  /** Its port, and where the connection came in; '' where there is none. */
  readonly remotePort: string;
  readonly localAddress: string;
  readonly localPort: string;
  /** 'http' or 'https'; '' unknown. */
  readonly scheme: string;
  /** '' where the request could not be read; otherwise a token of HTTP. */
  readonly method: string;
  /** Request target as sent. */
  readonly target: string;
  /** 0 or 1, of HTTP/1.x. */
  readonly versionMinor: number;
  readonly status: number;
  /** Bytes of the response's body that were sent. */
  readonly bodyBytes: number;
  /** Request headers: name, value, name, value... as received. */
  readonly rawHeaders: readonly string[];
  /** Value of a response header by its name in lower case, null without one. Null: no header is known. */
  readonly responseHeader: ((name: string) => string | null) | null;
  /** From the request's head to the end of its response, ms; -1 where it was not measured. */
  readonly durationMs: number;
  /** How long the request waited for a thread, ms; -1 unknown. */
  readonly queueMs: number;
  /** CPU time of the thread, and time in which its event loop idled, while the request was in hand: us; -1 unknown. */
  readonly cpuUs: number;
  readonly loopUs: number;
  /** Number of the thread; '' = none. */
  readonly thread: number | '';
  /** Pattern of the request's route, and the request's name in the logs; '' unknown. */
  readonly route: string;
  readonly id: string;
}

/** Shows one thing. `headers`: the values of the request headers that were asked for, by the index that want() gave. */
export type Atom = (facts: AccessFacts, headers: readonly (string | undefined)[]) => string;

/** What the atoms of a format need. */
export interface Needs {
  /** Index of a request header (name in lower case) in what atoms are given. */
  want(name: string): number;
}

/** Letters that need the time a request took, and those that need what it cost. */
export const TIME_ATOMS = 'TDML';
export const COST_ATOMS = 'QCE';

// biome-ignore lint/suspicious/noControlCharactersInRegex: controls, and what shows another line than was written, are looked for
const UNSAFE = /["\\\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/;
const UNSAFE_ALL = new RegExp(UNSAFE.source, 'g');

function escapeOne(c: string): string {
  if (c === '"' || c === '\\') return `\\${c}`;
  const code = c.charCodeAt(0);
  return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16)}`;
}

/** Client-controlled text: quotes, backslashes and controls cannot end the field or the line. */
function escaped(text: string): string {
  return UNSAFE.test(text) ? text.replace(UNSAFE_ALL, escapeOne) : text;
}

/** The same; - for nothing. */
function quoted(text: string | null | undefined): string {
  return text === undefined || text === null || text === '' ? '-' : escaped(text);
}

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

/** Value of a field in the head of a response, by its name in lower case: the last where it came several times; null without one. */
export function fieldOf(head: string, name: string): string | null {
  const at = head.toLowerCase().lastIndexOf(`\r\n${name}:`);
  return at < 0 ? null : head.slice(at + name.length + 3, head.indexOf('\r\n', at + 2)).trim();
}

/** Path of a target, decoded as WSGI's PATH_INFO; left as sent where it is not UTF-8. */
export function pathOf(target: string): string {
  const [path] = target.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, '').split(/[?#]/, 1);
  if (!path.includes('%')) return path;
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/** Without its question mark; '' where there is none. */
export function queryOf(target: string): string {
  return /^[^?#]*\?([^#]*)/.exec(target)?.[1] ?? '';
}

/** User of Basic authentication, as the client says; null without one. */
export function userOf(authorization: string | undefined): string | null {
  const credentials = authorization === undefined ? null : /^basic +([^ ]+) *$/i.exec(authorization);
  if (credentials === null) return null;
  const text = Buffer.from(credentials[1], 'base64').toString();
  const colon = text.indexOf(':');
  const user = colon < 0 ? text : text.slice(0, colon);
  // What is not UTF-8 is no name, as in gunicorn.
  return user === '' || user.includes('\ufffd') ? null : user;
}

const protocol = (f: AccessFacts) => (f.method === '' ? '-' : `HTTP/1.${f.versionMinor}`);
const micros = (us: number) => (us < 0 ? '-' : (us / 1000).toFixed(3));

/** A time; - where it was not measured. */
function took(show: (ms: number) => string): Atom {
  return ({ durationMs }) => (durationMs < 0 ? '-' : show(durationMs));
}

/** Atoms of one letter that need no request header. */
const LETTERS = {
  h: (f) => f.remoteAddress || '-',
  t: clfTime,
  r: (f) => (f.method === '' ? '-' : `${f.method} ${quoted(f.target)} HTTP/1.${f.versionMinor}`),
  m: (f) => f.method || '-',
  U: (f) => escaped(pathOf(f.target)),
  q: (f) => escaped(queryOf(f.target)),
  H: protocol,
  s: (f) => `${f.status}`,
  B: (f) => `${f.bodyBytes}`,
  b: (f) => `${f.bodyBytes}`,
  T: took((ms) => `${Math.floor(ms / 1000)}`),
  D: took((ms) => `${Math.round(ms * 1000)}`),
  M: took((ms) => `${Math.floor(ms)}`),
  L: took((ms) => (ms / 1000).toFixed(6)),
  Q: (f) => (f.queueMs < 0 ? '-' : `${Math.round(f.queueMs)}`),
  C: (f) => micros(f.cpuUs),
  E: (f) => micros(f.loopUs),
  W: (f) => (f.thread === '' ? '-' : `${f.thread}`),
  R: (f) => quoted(f.route),
  I: (f) => quoted(f.id),
} satisfies Record<string, Atom>;

/** Variables of WSGI's environ that are no request headers, in lower case. */
const ENVIRON: Readonly<Record<string, Atom | string>> = {
  request_method: LETTERS.m,
  raw_uri: (f) => quoted(f.target),
  path_info: LETTERS.U,
  query_string: LETTERS.q,
  server_protocol: LETTERS.H,
  remote_addr: LETTERS.h,
  remote_port: (f) => f.remotePort || '-',
  server_name: (f) => f.localAddress || '-',
  server_port: (f) => f.localPort || '-',
  server_software: `tunicorn/${version}`,
  script_name: '',
  'wsgi.url_scheme': (f) => f.scheme || '-',
};

function requestHeader(name: string, needs: Needs): Atom {
  const at = needs.want(name);
  return (_facts, headers) => quoted(headers[at]);
}

/** {name}e: what WSGI's environ has of the request, otherwise the process's environment. */
function variable(name: string, needs: Needs): Atom | string {
  const lower = name.toLowerCase();
  if (Object.hasOwn(ENVIRON, lower)) return ENVIRON[lower];
  const header = /^(?:http_(.+)|(content_(?:type|length)))$/.exec(lower);
  if (header !== null) return requestHeader((header[1] ?? header[2]).replaceAll('_', '-'), needs);
  return quoted(process.env[name]);
}

/** The atom of a name, as between the parentheses of %(name)s; text where it is always the same. Unknown ones are -, as in gunicorn. */
export function atomOf(name: string, needs: Needs): Atom | string {
  const field = /^\{(.*)\}([ioe])$/i.exec(name);
  if (field !== null) {
    const [, of, kind] = field;
    const lower = of.toLowerCase();
    if (kind.toLowerCase() === 'e') return variable(of, needs);
    if (kind.toLowerCase() === 'i') return requestHeader(lower, needs);
    return (f) => quoted(f.responseHeader?.(lower));
  }
  if (name === 'f') return requestHeader('referer', needs);
  if (name === 'a') return requestHeader('user-agent', needs);
  if (name === 'u') {
    const at = needs.want('authorization');
    // It stands in no quotes in the usual formats: its blanks are escaped too.
    return (_facts, headers) => quoted(userOf(headers[at])).replaceAll(' ', '\\x20');
  }
  if (name === 'p') return `<${process.pid}>`;
  return Object.hasOwn(LETTERS, name) ? LETTERS[name as keyof typeof LETTERS] : '-';
}
