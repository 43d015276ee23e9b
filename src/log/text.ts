/**
 * How log records become text: gunicorn's line, and what keeps a text from a client from forging one. A record is what pino
 * makes of a call; in the JSON form its own line is the log's.
 */

// C0, DEL, C1, and the separators and direction marks that make a terminal or editor show another line than was written.
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for.
const UNSAFE = /[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/;
const UNSAFE_ALL = new RegExp(UNSAFE.source, 'g');

/** Escapes everything that could end or disguise a log line: "\n" becomes the two characters \n, ESC \x1b. */
export function escapeText(text: string): string {
  return UNSAFE.test(text) ? text.replace(UNSAFE_ALL, escapeOne) : text;
}

function escapeOne(char: string): string {
  const short = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }[char];
  const code = char.charCodeAt(0);
  return short ?? (code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16)}`);
}

/** A line of JSON whose strings may still hold what disguises a line in a terminal: the same JSON without that. */
export function escapeJson(json: string): string {
  if (!UNSAFE.test(json)) return json;
  return json.replace(UNSAFE_ALL, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Stack of an error and of its causes (at most 5), or any other thrown value as text. Never throws. */
export function describeError(err: unknown): string {
  try {
    const parts: string[] = [];
    for (let e: unknown = err, depth = 0; e !== undefined && depth < 5; depth++) {
      const text = e instanceof Error ? (e.stack ?? `${e.name}: ${e.message}`) : `not an Error: ${String(e)}`;
      parts.push(depth === 0 ? text : `Caused by: ${text}`);
      e = e instanceof Error ? e.cause : undefined;
    }
    return parts.join('\n');
  } catch {
    return 'an error that cannot be shown';
  }
}

/** `2026-11-23 12:00:00 +0000`: local time, as Python's %Y-%m-%d %H:%M:%S %z. */
export function formatTime(ms: number): string {
  const d = new Date(ms);
  const two = (n: number) => String(n).padStart(2, '0');
  const offset = -d.getTimezoneOffset();
  const zone = `${offset < 0 ? '-' : '+'}${two(Math.floor(Math.abs(offset) / 60))}${two(Math.abs(offset) % 60)}`;
  const date = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
  return `${date} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())} ${zone}`;
}

/** A pino record as it leaves pino. */
export interface LogRecord {
  /** debug, info... */
  level: string;
  /** ms since 1970. */
  time: number;
  pid: number;
  name?: string;
  msg: string;
  trace?: string;
}

/** The message as a line shows it, its trace in lines of their own that start with blanks, which no log line does. */
export function messageLines({ name, msg, trace }: LogRecord): string[] {
  const lines = [`${name === undefined ? '' : `[${escapeText(name)}] `}${escapeText(msg)}`];
  if (trace !== undefined) for (const line of trace.split(/\r?\n/)) lines.push(`    ${escapeText(line)}`);
  return lines;
}

/** gunicorn's line, and what belongs to it. */
export function formatRecord(record: LogRecord): string {
  const head = `[${formatTime(record.time)}] [${record.pid}] [${record.level.toUpperCase()}] `;
  return `${head}${messageLines(record).join('\n')}\n`;
}
