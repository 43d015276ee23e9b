/**
 * Logs. The error log has gunicorn's line, `[2026-11-23 12:00:00 +0000] [pid] [INFO] message`, or is one JSON object a line;
 * pino makes the records, this file turns them into lines, and a sink writes them at once (log/file-sink.ts, and
 * log/syslog-sink.ts), so that nothing is lost when a process or thread ends. The access log only differs in being written by
 * flush(), once a turn of the event loop. Where lines go, and that all threads share it, is log/target.ts's.
 * Two rules: text from a client cannot forge a line (control characters are escaped), and a log that cannot be written
 * (full disk, closed pipe, dead syslog) never throws into the code that logs nor holds it up: lines are held up to a bound,
 * then dropped; the error log says how many as soon as it works again.
 */
import { pino } from 'pino';
import type { Config, LogLevel } from './config/settings.js';
import { FileSink, heldMemory } from './log/file-sink.js';
import { type SyslogOptions, SyslogSink } from './log/syslog-sink.js';
import { LogTarget, reopenTargets } from './log/target.js';
import { describeError, escapeJson, escapeText, formatRecord, type LogRecord, messageLines } from './log/text.js';
import type { Statsd } from './statsd.js';

export { describeError, escapeText, formatTime } from './log/text.js';

/** Python's numbers, shifted by ten to pino's, so that a record's level sorts as in both. */
const LEVELS: Record<LogLevel, number> = { debug: 20, info: 30, warning: 40, error: 50, critical: 60 };

/** A method logs a line if its level is at least the logger's. `err` adds its stack and causes, indented. Never throws. */
export interface Logger {
  readonly level: LogLevel;
  debug(message: string, err?: unknown): void;
  info(message: string, err?: unknown): void;
  warning(message: string, err?: unknown): void;
  error(message: string, err?: unknown): void;
  critical(message: string, err?: unknown): void;
  /** A line that the app has written itself, without its end: as it is, or as a record in the JSON form. */
  output(stream: 'stdout' | 'stderr', line: string): void;
  /** Opens the file again, after a rotation renamed it, for all threads. Keeps the old one if that fails. */
  reopen(): void;
  /** Closes the log. Later lines are dropped. */
  close(): void;
}

export interface LoggerOptions {
  /** Least level that is written. */
  level: LogLevel;
  /** File path, or '-' for standard error. */
  errorlog: string;
  /** Put before each message in brackets, for example the thread's number. */
  name?: string;
  /** Default: text. */
  format?: Config['logFormat'];
  /** Default: not to syslog. */
  syslog?: SyslogOptions | null;
  /** Counts what is logged. Default: nobody does. */
  statsd?: Statsd | null;
  /** The log as somebody else has opened it. Default: it is opened here. */
  sink?: FileSink | null;
}

/** pino's options that differ between the two forms: the text form needs times as numbers. */
const FORMS = {
  text: {},
  json: { timestamp: () => `,"time":"${new Date().toISOString()}"` },
};

/**
 * Opens an error log.
 * @throws {TunicornError} ERR_TUNICORN_LOG if the file cannot be opened.
 */
export function createLogger(options: LoggerOptions): Logger {
  const { level, errorlog, name, format = 'text', statsd = null } = options;
  const target = options.sink ? null : new LogTarget('error log', errorlog, 2);
  const file = options.sink ?? new FileSink({ fd: target!.fd, held: heldMemory() });
  const syslog = options.syslog ? new SyslogSink(options.syslog) : null;
  const put = (text: string) => {
    file.write(text);
    file.flush();
  };
  const destination = {
    write(line: string) {
      if (format === 'json') {
        const safe = escapeJson(line.trimEnd());
        put(`${safe}\n`);
        syslog?.write((JSON.parse(safe) as LogRecord).level as LogLevel, `[${process.pid}] ${safe}`);
        return;
      }
      const record = JSON.parse(line) as LogRecord;
      put(formatRecord(record));
      if (syslog === null) return;
      for (const text of messageLines(record)) syslog.write(record.level as LogLevel, `[${record.pid}] ${text}`);
    },
  };
  const log = pino(
    {
      level,
      customLevels: LEVELS,
      useOnlyCustomLevels: true,
      formatters: { level: (label: string) => ({ level: label }) },
      base: name === undefined ? { pid: process.pid } : { pid: process.pid, name },
      ...FORMS[format],
    },
    destination,
  );
  const write = (method: LogLevel, message: string, err: unknown) => {
    if (LEVELS[method] < LEVELS[level]) return;
    if (err === undefined) log[method](String(message));
    else log[method]({ trace: describeError(err) }, String(message));
  };
  const at = (method: LogLevel) => (message: string, err?: unknown) => write(method, message, err);
  const counted =
    (method: LogLevel): Logger['error'] =>
    (message, err) => {
      write(method, message, err);
      // gunicorn's name for an error that comes with a stack.
      statsd?.increment(`gunicorn.log.${method === 'error' && err !== undefined ? 'exception' : method}`);
    };
  const logger: Logger = {
    level,
    debug: at('debug'),
    info: at('info'),
    warning: counted('warning'),
    error: counted('error'),
    critical: counted('critical'),
    output(stream, line) {
      const time = new Date().toISOString();
      const text =
        format === 'text'
          ? line
          : escapeJson(JSON.stringify({ level: 'info', time, pid: process.pid, stream, msg: line }));
      put(`${text}\n`);
      syslog?.write('info', `[${process.pid}] ${escapeText(text)}`);
    },
    reopen() {
      file.flush();
      try {
        target?.reopen();
      } catch {
        // Tried again at the next rotation.
      }
    },
    close() {
      syslog?.close();
      file.close();
      target?.close();
    },
  };
  file.onRecovered = (lost, why) => logger.warning(`The error log lost ${lost} lines: ${why}`);
  if (syslog !== null) syslog.onRecovered = (lost, why) => logger.warning(`Syslog lost ${lost} lines: ${why}`);
  return logger;
}

/** Access log destination; lines leave at flush(), or earlier when 64 KiB are waiting. */
export interface AccessLog {
  /** Adds a line (without its end). Control characters in it are escaped, but for tabs, which a format may have. Never throws. */
  write(line: string): void;
  /** Writes what is waiting. What a full pipe does not take stays for later, up to 1 MiB. Never throws. */
  flush(): void;
  /** Opens the file again, after a rotation renamed it, for all threads. */
  reopen(): void;
  /** Writes what is waiting and closes the log. Later lines are dropped. */
  close(): void;
  /** Lines lost because the destination failed. */
  readonly dropped: number;
}

export interface AccessLogOptions {
  /** Default: not to syslog. */
  syslog?: SyslogOptions | null;
  /** Hears of lines that were lost. Default: nobody does. */
  log?: Logger;
  /** The log as somebody else has opened it. Default: it is opened here. */
  sink?: FileSink | null;
}

/**
 * Opens an access log; '-' is standard output. Null, if there is no syslog either, stays null.
 * @throws {TunicornError} ERR_TUNICORN_LOG if the file cannot be opened.
 */
export function openAccessLog(path: string | null, options: AccessLogOptions = {}): AccessLog | null {
  const { log } = options;
  const syslog = options.syslog ? new SyslogSink(options.syslog) : null;
  if (path === null && syslog === null) return null;
  const target = path === null || options.sink ? null : new LogTarget('access log', path, 1);
  const file = options.sink ?? (target && new FileSink({ fd: target.fd, held: heldMemory() }));
  const lost = (where: string) => (n: number, why: string) => log?.warning(`${where} lost ${n} lines: ${why}`);
  if (file) file.onRecovered = lost('The access log');
  if (syslog) syslog.onRecovered = lost('The access log in syslog');
  return {
    write(line) {
      const text = line.includes('\t') ? line.split('\t').map(escapeText).join('\t') : escapeText(line);
      file?.write(`${text}\n`);
      // At once: what a thread has not sent when it is ended is nobody's.
      syslog?.write('info', `[${process.pid}] ${text}`);
    },
    flush: () => void file?.flush(),
    reopen() {
      file?.flush();
      try {
        target?.reopen();
      } catch {
        // Tried again at the next rotation.
      }
    },
    close() {
      syslog?.close();
      file?.close();
      target?.close();
    },
    get dropped() {
      return (file?.dropped ?? 0) + (syslog?.dropped ?? 0);
    },
  };
}

/**
 * Opens the log files of this process again, after a rotation renamed them (USR1): for all its threads and at one instant, so
 * that no line is lost. To be called on the main thread. What cannot be opened goes on as it was, and `log` says so.
 */
export function reopenLogs(log: Logger): void {
  reopenTargets((message) => log.error(message));
}
