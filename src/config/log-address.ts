/** Addresses of syslog and statsd as gunicorn writes them, and the kinds of setting that hold them. */
import { isIP } from 'node:net';
import { InvalidValue, type Kind, show } from './validate.js';

/** Where datagrams or a stream of lines go. */
export type LogAddress =
  | { readonly family: 'inet'; readonly stream: boolean; readonly host: string; readonly port: number }
  /** stream null: a datagram socket if there is one, otherwise a stream, as Python's SysLogHandler tries them. */
  | { readonly family: 'unix'; readonly stream: boolean | null; readonly path: string };

const SYSLOG_PORT = 514;
const STATSD_PORT = 8125;
const MAX_UNIX_PATH = 107;

/** gunicorn's names for syslog's facilities. */
export const FACILITIES = {
  auth: 4,
  authpriv: 10,
  cron: 9,
  daemon: 3,
  ftp: 11,
  kern: 0,
  lpr: 6,
  mail: 2,
  news: 7,
  security: 4,
  syslog: 5,
  user: 1,
  uucp: 8,
  local0: 16,
  local1: 17,
  local2: 18,
  local3: 19,
  local4: 20,
  local5: 21,
  local6: 22,
  local7: 23,
} as const;

export type Facility = keyof typeof FACILITIES;

function unix(value: string, path: string, stream: boolean | null): LogAddress {
  if (path === '') throw new InvalidValue(`${show(value)} has no path`);
  if (Buffer.byteLength(path) > MAX_UNIX_PATH) {
    throw new InvalidValue(`${show(value)}: a unix socket path has at most ${MAX_UNIX_PATH} bytes`);
  }
  return { family: 'unix', stream, path };
}

function inet(value: string, rest: string, stream: boolean, defaultPort: number): LogAddress {
  const match = /^(?:\[([^\]]*)\]|([^:[\]/\s]*))(?::(\d{1,5}))?$/.exec(rest);
  if (match === null) throw new InvalidValue(`${show(value)} is not host:port`);
  const [, v6, name, digits] = match;
  if (v6 !== undefined && isIP(v6) !== 6) throw new InvalidValue(`${show(value)}: ${show(v6)} is not an IPv6 address`);
  const port = digits === undefined ? defaultPort : Number(digits);
  if (port < 1 || port > 65535) throw new InvalidValue(`${show(value)}: the port must be from 1 to 65535`);
  return { family: 'inet', stream, host: (v6 ?? name).toLowerCase() || 'localhost', port };
}

/**
 * `udp://host:port`, `tcp://host:port` (port 514 if there is none), `unix://path`, `unix://path#dgram`, `unix://path#stream`.
 * @throws {InvalidValue}
 */
export function parseSyslogAddress(value: string): LogAddress {
  const [, scheme, rest] = /^(udp|tcp|unix):\/\/(.*)$/s.exec(value) ?? [];
  if (scheme === undefined) {
    throw new InvalidValue(`${show(value)} is not udp://host:port, tcp://host:port or unix://path`);
  }
  if (scheme !== 'unix') return inet(value, rest, scheme === 'tcp', SYSLOG_PORT);
  const [path, type, ...more] = rest.split('#');
  if (more.length > 0 || (type !== undefined && type !== 'dgram' && type !== 'stream')) {
    throw new InvalidValue(`${show(value)}: what follows # is dgram or stream`);
  }
  return unix(value, path, type === undefined ? null : type === 'stream');
}

/**
 * `host:port`, `host` (port 8125), `unix://path`; always datagrams.
 * @throws {InvalidValue}
 */
export function parseStatsdAddress(value: string): LogAddress {
  const path = /^unix:(?:\/\/)?(.*)$/s.exec(value);
  // A host may be named unix.
  if (path !== null && !/^unix:\d+$/.test(value)) return unix(value, path[1], false);
  return inet(value, value.replace(/^udp:\/\//, ''), false, STATSD_PORT);
}

function checked<T extends string | null>(range: string, value: unknown, check: (value: string) => unknown): T {
  if (typeof value !== 'string' || value === '' || value.includes('\0')) {
    throw new InvalidValue(`${show(value)} is not ${range}`);
  }
  check(value);
  return value as T;
}

/** Where syslog is. Kept as written; log/syslog-sink.ts reads it with parseSyslogAddress. */
export function syslogAddress(): Kind<string> {
  const range = 'udp://host:port, tcp://host:port, unix://path, unix://path#dgram, unix://path#stream';
  return { meta: 'ADDRESS', unit: '', range, parse: (value) => checked(range, value, parseSyslogAddress) };
}

/** Where statsd is, or null for nowhere. Kept as written. */
export function optionalStatsdAddress(): Kind<string | null> {
  const range = 'host:port, unix://path';
  return {
    meta: 'ADDRESS',
    unit: '',
    range,
    parse: (value) => (value === null ? null : checked(range, value, parseStatsdAddress)),
  };
}

/** Text of a metric's name or tags, or empty: nothing that ends a part of statsd's line. A colon only ends a name. */
export function metricText(what: 'a prefix' | 'tags'): Kind<string> {
  const pattern = what === 'tags' ? /^[!-~]*$/ : /^[!-9;-~]*$/;
  return {
    meta: 'STRING',
    unit: '',
    range: `${what}, or empty`,
    parse(value) {
      if (typeof value === 'string' && pattern.test(value) && !/[|@#]/.test(value)) return value;
      throw new InvalidValue(`${show(value)} is not ${what}: ASCII without blanks and what ends a part of a metric`);
    },
  };
}
