/**
 * The kinds of value a setting can have. A kind knows how to read a value (a string from argv or the environment, or a
 * value from the API), what its range is in words, and what --help calls it; settings.ts combines kinds into the table.
 * Every `parse` returns the value or throws InvalidValue with a sentence that says what was expected; config.ts adds
 * where the value came from.
 */
import { isIP } from 'node:net';
import { compileAccessFormat } from '../access-format.js';

/** A value that a setting refuses. Internal: config.ts turns it into a TunicornError that names the source. */
export class InvalidValue extends Error {}

/** How one sort of value is read and described. */
export interface Kind<T> {
  /** Placeholder in --help: INT, SECONDS, ADDRESS... */
  readonly meta: string;
  /** Unit of the value, '' if it has none. */
  readonly unit: string;
  /** Accepted values, in words: '0 to 8190', 'gthread, sync'. */
  readonly range: string;
  /** @throws {InvalidValue} */
  parse(value: unknown): T;
}

/** Shows a refused value in a message: quoted, control characters escaped, cut to 80 characters. */
export function show(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    // Cyclic or a BigInt: its own text will do.
  }
  text ??= String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

function toNumber(value: unknown, pattern: RegExp): number {
  if (typeof value === 'number') return value;
  if (typeof value === 'string' && pattern.test(value.trim())) return Number(value);
  return Number.NaN;
}

/** A whole number from min to max, both included. Strings must be plain decimal digits. */
export function integer(min: number, max: number, unit = ''): Kind<number> {
  const range = `${min} to ${max}`;
  return {
    meta: 'INT',
    unit,
    range,
    parse(value) {
      const n = toNumber(value, /^[+-]?\d+$/);
      if (!Number.isInteger(n) || n < min || n > max) {
        throw new InvalidValue(`${show(value)} is not a whole number from ${range}`);
      }
      return n;
    },
  };
}

/** setTimeout takes at most 2^31-1 ms; every duration stays below it. */
export const MAX_SECONDS = 2_000_000;

/** A time in seconds, fractions allowed, from 0 to MAX_SECONDS (23 days). */
export function seconds(): Kind<number> {
  const range = `0 to ${MAX_SECONDS}`;
  return {
    meta: 'SECONDS',
    unit: 'seconds',
    range,
    parse(value) {
      const n = toNumber(value, /^\+?(\d+\.?\d*|\.\d+)$/);
      if (!(n >= 0 && n <= MAX_SECONDS))
        throw new InvalidValue(`${show(value)} is not a number of seconds from ${range}`);
      return n;
    },
  };
}

/** One of a list of words; case matters unless `fold`. `what` names it in the refusal: 'worker class'. */
export function choice<const T extends string>(what: string, words: readonly T[], fold = false): Kind<T> {
  const range = words.join(', ');
  return {
    meta: 'NAME',
    unit: '',
    range,
    parse(value) {
      const word = fold && typeof value === 'string' ? value.toLowerCase() : value;
      const found = words.find((w) => w === word);
      if (found !== undefined) return found;
      throw new InvalidValue(`unknown ${what} ${show(value)}: choose from ${range}${hint(String(value), words)}`);
    },
  };
}

function text(value: unknown, what: string): string {
  if (typeof value !== 'string' || value === '') throw new InvalidValue(`${show(value)} is not ${what}`);
  if (value.includes('\0')) throw new InvalidValue(`${show(value)} contains a NUL character`);
  return value;
}

/** What to serve; app/spec.ts reads it. '' stands for none. */
export function appSpec(): Kind<string> {
  return {
    meta: 'APP',
    unit: '',
    range: 'a file or module, and what to take from it',
    parse: (value) => (value === '' ? '' : text(value, 'a file or module')),
  };
}

/** A log destination: a file path, or '-' for the standard stream. */
export function logfile(): Kind<string> {
  return { meta: 'FILE', unit: '', range: 'a path, or -', parse: (value) => text(value, 'a file path') };
}

/** On or off: a flag without a value on the command line, where its being there says on. */
export function flag(): Kind<boolean> {
  return {
    meta: '',
    unit: '',
    range: '',
    parse(value) {
      if (typeof value === 'boolean') return value;
      const word = typeof value === 'string' ? value.trim().toLowerCase() : '';
      if (word === 'true' || word === 'false') return word === 'true';
      throw new InvalidValue(`${show(value)} is not true or false`);
    },
  };
}

/** Format of the access log's lines, see access-format.ts. */
export function accessFormat(): Kind<string> {
  return {
    meta: 'STRING',
    unit: '',
    range: 'text with atoms such as %(h)s',
    parse(value) {
      const format = text(value, 'a format');
      try {
        compileAccessFormat(format);
      } catch (err) {
        throw new InvalidValue((err as SyntaxError).message);
      }
      return format;
    },
  };
}

/** As logfile(), and null (no log). */
export function optionalLogfile(): Kind<string | null> {
  const kind = logfile();
  return { ...kind, parse: (value) => (value === null ? null : kind.parse(value)) };
}

/** A text that is not empty, or null for none. `what` names it in the refusal: 'a name'. */
export function optionalText(what: string, meta = 'STRING'): Kind<string | null> {
  return { meta, unit: '', range: what, parse: (value) => (value === null ? null : text(value, what)) };
}

/** A file's path, or null for none. */
export function optionalPath(): Kind<string | null> {
  return optionalText('a file path', 'FILE');
}

/** Environment variables, each NAME=VALUE. */
export function envList(): Kind<string[]> {
  return {
    meta: 'ENV',
    unit: '',
    range: 'NAME=VALUE',
    parse(value) {
      return (Array.isArray(value) ? value : [value]).map((entry) => {
        if (typeof entry === 'string' && /^[^=\0]+=[^\0]*$/.test(entry)) return entry;
        throw new InvalidValue(`${show(entry)} is not NAME=VALUE`);
      });
    },
  };
}

const MAX_MASK = 0o777;

/** Bits of a file's permissions: a number, or a string with 0x (hexadecimal), 0 or 0o (octal) or nothing (decimal) before it. */
export function fileMask(): Kind<number> {
  return {
    meta: 'INT',
    unit: '',
    range: '0 to 0o777 (0777, 511)',
    parse(value) {
      const written = typeof value === 'string' ? value.trim().toLowerCase() : '';
      const digits = /^0o?[0-7]+$/.test(written) ? written.replace(/^0o?/, '0o') : written;
      const mask = /^(0o[0-7]+|0x[0-9a-f]+|0|[1-9]\d*)$/.test(digits) ? Number(digits) : value;
      if (typeof mask === 'number' && Number.isInteger(mask) && mask >= 0 && mask <= MAX_MASK) return mask;
      throw new InvalidValue(`${show(value)} is not a mask from 0 to 0o777`);
    },
  };
}

/** Name of a header field in lower case (RFC 9110, 5.6.2: a token), or '' for none. */
export function headerName(): Kind<string> {
  return {
    meta: 'NAME',
    unit: '',
    range: 'a header name, or empty',
    parse(value) {
      if (typeof value === 'string' && /^[!#$%&'*+.^_`|~0-9A-Za-z-]*$/.test(value)) return value.toLowerCase();
      throw new InvalidValue(`${show(value)} is not a header name`);
    },
  };
}

/** A folder, as it is written: buildConfig makes it absolute, so that it means the same in every process. */
export function folder(): Kind<string> {
  return { meta: 'PATH', unit: '', range: 'an existing folder', parse: (value) => text(value, 'a folder') };
}

/** Where to listen: at an address, or at a socket that listens already. */
export type Address =
  | { family: 'tcp'; host: string; port: number }
  | { family: 'unix'; path: string }
  | { family: 'fd'; fd: number };

/** sun_path has 108 bytes and its end needs one. */
const MAX_UNIX_PATH = 107;
const DEFAULT_PORT = 8000;
/** 0 to 2 are the standard streams. */
const FIRST_FD = 3;
/** The most that Linux lets a process have, by default. */
const LAST_FD = 1_048_575;

/**
 * Reads a bind address as gunicorn does: `host:port`, `[v6]:port`, `:port` (all IPv4 addresses), `host` (port 8000),
 * `unix:path`, each also with `tcp://`, `http://` or `unix://` before it; `fd://N`. Port 0 lets the system choose.
 * @throws {InvalidValue}
 */
export function parseAddress(value: unknown): Address {
  const whole = text(value, 'an address such as 127.0.0.1:8000, [::1]:8000 or unix:/run/app.sock').trim();
  const unix = /^unix:(\/\/)?(.*)$/is.exec(whole);
  if (unix) {
    const path = unix[2];
    if (path === '') throw new InvalidValue(`${show(value)} has no path after unix:`);
    if (Buffer.byteLength(path) > MAX_UNIX_PATH) {
      throw new InvalidValue(`${show(value)}: a unix socket path has at most ${MAX_UNIX_PATH} bytes`);
    }
    return { family: 'unix', path };
  }
  const inherited = /^fd:(.*)$/is.exec(whole);
  if (inherited) {
    const fd = /^\/\/\d{1,7}$/.test(inherited[1]) ? Number(inherited[1].slice(2)) : -1;
    if (fd >= FIRST_FD && fd <= LAST_FD) return { family: 'fd', fd };
    throw new InvalidValue(`${show(value)} is not fd://N with the number of an inherited socket, ${FIRST_FD} or more`);
  }
  const rest = whole.replace(/^(tcp|http):\/\//i, '');
  const match = /^(?:\[([^\]]*)\]|([^:[\]/]*))(?::(\d{1,6}))?$/.exec(rest);
  if (!match) {
    const wants = isIP(rest) === 6 ? `: write IPv6 addresses in brackets, as in [${rest}]:8000` : '';
    throw new InvalidValue(`${show(value)} is not host:port, [v6]:port, unix:path or fd://N${wants}`);
  }
  const [, v6, name, digits] = match;
  if (v6 !== undefined && isIP(v6) !== 6) throw new InvalidValue(`${show(value)}: ${show(v6)} is not an IPv6 address`);
  if (digits === undefined && /^\d+$/.test(name ?? '')) {
    throw new InvalidValue(`${show(value)} has no host (did you mean :${name} or 127.0.0.1:${name}?)`);
  }
  const port = digits === undefined ? DEFAULT_PORT : Number(digits);
  if (port > 65535) throw new InvalidValue(`${show(value)}: the port must be from 0 to 65535`);
  return { family: 'tcp', host: v6 ?? (name || '0.0.0.0'), port };
}

/** Path of a URL as requests write it, without a query, or '' for none. */
export function urlPath(): Kind<string> {
  return {
    meta: 'PATH',
    unit: '',
    range: 'a path such as /healthz, or empty',
    parse(value) {
      if (typeof value === 'string' && /^(\/[!-~]*[!-.0-~])?$/.test(value) && !/[?#"\\]/.test(value)) return value;
      throw new InvalidValue(`${show(value)} is not a path that begins with / and does not end with it`);
    },
  };
}

/**
 * Addresses, `least` at least: a list, or one string with commas. Kept as written; sock.ts reads them with parseAddress.
 */
export function addresses(least = 1): Kind<string[]> {
  return {
    meta: 'ADDRESS',
    unit: '',
    range: 'host:port, [v6]:port, unix:path, fd://N',
    parse(value) {
      const list = (Array.isArray(value) ? value : [value]).flatMap((v) =>
        typeof v === 'string' ? v.split(',') : [v],
      );
      if (list.length < least) throw new InvalidValue('at least one address is needed');
      const seen = new Set<string>();
      return list.map((v) => {
        const address = parseAddress(v);
        const id = JSON.stringify(address);
        if (seen.has(id)) throw new InvalidValue(`${show(v)} is given twice`);
        if (address.family !== 'tcp' || address.port !== 0) seen.add(id);
        return (v as string).trim();
      });
    },
  };
}

/** ' (did you mean X?)' for the word that begins with `wrong` or is nearest to it, or '' if none is near. */
export function hint(wrong: string, words: readonly string[]): string {
  const longer = wrong.length < 3 ? [] : words.filter((word) => word.toLowerCase().startsWith(wrong.toLowerCase()));
  const shortest = longer.sort((a, b) => a.length - b.length)[0];
  if (shortest !== undefined) return ` (did you mean ${shortest}?)`;
  let best = '';
  let least = Math.max(1, Math.floor(wrong.length / 3)) + 1;
  for (const word of words) {
    const d = distance(wrong.toLowerCase(), word.toLowerCase());
    if (d < least) [best, least] = [word, d];
  }
  return best === '' ? '' : ` (did you mean ${best}?)`;
}

/** Edit distance (Levenshtein), one row at a time. */
function distance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 8) return Number.POSITIVE_INFINITY;
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}
