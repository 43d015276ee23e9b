/**
 * Logs. The error log has gunicorn's line, `[2026-11-23 12:00:00 +0000] [pid] [INFO] message`; pino makes the records,
 * this file turns them into text, and log-file.ts writes them at once, so that nothing is lost when a process or thread
 * ends. Each process and each thread opens its own; whole lines per write keep them apart. The access log only
 * differs in being written by flush(), once a turn of the event loop.
 * Two rules: text from a client cannot forge a line (control characters are escaped), and a log that cannot be written
 * (full disk, closed pipe) never throws into the code that logs: lines are held up to a bound, then dropped.
 */
import { pino } from 'pino';
import type { LogLevel } from './config/settings.js';
import { TunicornError } from './errors.js';
import { DRAIN_MS, LogFile } from './log-file.js';

/** Python's numbers, shifted by ten to pino's, so that a record's level sorts as in both. */
const LEVELS: Record<LogLevel, number> = { debug: 20, info: 30, warning: 40, error: 50, critical: 60 };
const LEVEL_NAMES = new Map(Object.entries(LEVELS).map(([name, n]) => [n, name.toUpperCase()]));

/** A method logs a line if its level is at least the logger's. `err` adds its stack and causes, indented. Never throws. */
export interface Logger {
  readonly level: LogLevel;
  debug(message: string, err?: unknown): void;
  info(message: string, err?: unknown): void;
  warning(message: string, err?: unknown): void;
  error(message: string, err?: unknown): void;
  critical(message: string, err?: unknown): void;
  /** Opens the file again, after a rotation renamed it. Keeps the old one if that fails. */
  reopen(): void;
  /** Closes the file. Later lines are dropped. */
  close(): void;
}

export interface LoggerOptions {
  /** Least level that is written. */
  level: LogLevel;
  /** File path, or '-' for standard error. */
  errorlog: string;
  /** Put before each message in brackets, for example the thread's number. */
  name?: string;
}

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
interface LogRecord {
  level: number;
  time: number;
  pid: number;
  name?: string;
  msg: string;
  trace?: string;
}

/** The text of a record: one line, and its trace in lines that start with blanks, which no log line does. */
function formatRecord(record: LogRecord): string {
  const name = record.name === undefined ? '' : `[${escapeText(record.name)}] `;
  const level = LEVEL_NAMES.get(record.level);
  let text = `[${formatTime(record.time)}] [${record.pid}] [${level}] ${name}${escapeText(record.msg)}\n`;
  if (record.trace !== undefined) {
    for (const line of record.trace.split(/\r?\n/)) text += `    ${escapeText(line)}\n`;
  }
  return text;
}

/** Logs that are open, for the end of the process or thread: a pipe that was full gets a last chance. */
const openLogs = new Set<LogFile>();
process.once('exit', () => {
  for (const file of openLogs) file.drain(DRAIN_MS);
});

function openFile(what: string, path: string, standardFd: 1 | 2): LogFile {
  try {
    const file = new LogFile(path, standardFd);
    openLogs.add(file);
    return file;
  } catch (cause) {
    throw cannotOpen(what, path, cause);
  }
}

function closeFile(file: LogFile): void {
  openLogs.delete(file);
  file.close();
}

function cannotOpen(what: string, path: string, cause: unknown): TunicornError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new TunicornError('ERR_TUNICORN_LOG', `cannot open the ${what} '${path}': ${reason}`, { cause });
}

/**
 * Opens an error log.
 * @throws {TunicornError} ERR_TUNICORN_LOG if the file cannot be opened.
 */
export function createLogger(options: LoggerOptions): Logger {
  const { level, errorlog, name } = options;
  const file = openFile('error log', errorlog, 2);
  const destination = {
    write(record: string) {
      file.write(formatRecord(JSON.parse(record)));
      file.flush();
    },
  };
  const log = pino(
    {
      level,
      customLevels: LEVELS,
      useOnlyCustomLevels: true,
      base: name === undefined ? { pid: process.pid } : { pid: process.pid, name },
    },
    destination,
  );
  const at = (method: LogLevel) => (message: string, err?: unknown) => {
    if (LEVELS[method] < LEVELS[level]) return;
    if (err === undefined) log[method](String(message));
    else log[method]({ trace: describeError(err) }, String(message));
  };
  return {
    level,
    debug: at('debug'),
    info: at('info'),
    warning: at('warning'),
    error: at('error'),
    critical: at('critical'),
    reopen: () => file.reopen(),
    close: () => closeFile(file),
  };
}

/** Access log destination; lines leave at flush(), or earlier when 64 KiB are waiting. */
export interface AccessLog {
  /** Adds a line (without its end). Control characters in it are escaped, but for tabs, which a format may have. Never throws. */
  write(line: string): void;
  /** Writes what is waiting. What a full pipe does not take stays for the next flush, up to 1 MiB. Never throws. */
  flush(): void;
  /** Opens the file again, after a rotation renamed it. */
  reopen(): void;
  /** Writes what is waiting and closes the file. Later lines are dropped. */
  close(): void;
  /** Lines lost because the destination failed. */
  readonly dropped: number;
}

/**
 * Opens an access log. Null stays null; '-' is standard output.
 * @throws {TunicornError} ERR_TUNICORN_LOG if the file cannot be opened.
 */
export function openAccessLog(path: string | null): AccessLog | null {
  if (path === null) return null;
  const file = openFile('access log', path, 1);
  return {
    write: (line) =>
      file.write(`${line.includes('\t') ? line.split('\t').map(escapeText).join('\t') : escapeText(line)}\n`),
    flush: () => void file.flush(),
    reopen: () => file.reopen(),
    close: () => closeFile(file),
    get dropped() {
      return file.dropped;
    },
  };
}
