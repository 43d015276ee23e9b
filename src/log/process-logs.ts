/**
 * All logs of a worker process, and of each of its threads. The main thread opens the files before the process leaves its
 * user; a thread is given the descriptors, and memory for lines that still have to leave (LogShare). If it is terminated, main
 * writes what it left there: whatever a thread has logged arrives, whole and in order.
 */
import { basename } from 'node:path';
import type { Config } from '../config/settings.js';
import { type AccessLog, createLogger, type Logger, type LoggerOptions, openAccessLog } from '../log.js';
import { openStatsd, type Statsd } from '../statsd.js';
import { FileSink, heldMemory, type Outlet, rescue } from './file-sink.js';
import type { SyslogOptions } from './syslog-sink.js';
import { capturedStreams, LogTarget, standardOf } from './target.js';

/** What main gives a thread: where its logs go. Can cross the thread border. */
export interface LogShare {
  error: Outlet;
  /** Null: there is no access log but in syslog, perhaps. */
  access: Outlet | null;
  stdout: Outlet;
  stderr: Outlet;
}

type LogConfig = Pick<
  Config,
  | 'app'
  | 'procName'
  | 'loglevel'
  | 'errorlog'
  | 'logFormat'
  | 'syslog'
  | 'syslogAddr'
  | 'syslogPrefix'
  | 'syslogFacility'
>;

/** Options of an error log as the config wants it. */
export function loggerOptions(config: LogConfig, statsd: Statsd | null = null): LoggerOptions {
  const { loglevel: level, errorlog, logFormat: format } = config;
  return { level, errorlog, format, statsd, syslog: syslogFor(config, 'error') };
}

function syslogFor(config: LogConfig, which: 'error' | 'access'): SyslogOptions | null {
  if (!config.syslog) return null;
  const { syslogAddr: address, syslogFacility: facility, syslogPrefix, procName, app } = config;
  const name = syslogPrefix ?? procName ?? basename(app);
  // What ends a program's name, or a line.
  return { address, facility, program: `tunicorn.${name.replace(/[^\w.-]+/g, '.')}.${which}` };
}

export class ProcessLogs {
  readonly log: Logger;
  /** Null: nobody wants to know. */
  readonly access: AccessLog | null;
  readonly statsd: Statsd | null;
  /** What a thread's process.stdout and process.stderr write to. */
  readonly stdout: FileSink;
  readonly stderr: FileSink;
  /** What threads that have ended were given: memory of theirs would wait long for main's garbage collector. */
  readonly #free = new Set<LogShare>();
  readonly #outlets: { error: number; access: number | null; stdout: number; stderr: number };

  /**
   * @param share a thread's; null: the process's own logs are opened.
   * @throws {TunicornError} ERR_TUNICORN_LOG if a file cannot be opened.
   */
  constructor(config: Config, share: LogShare | null = null) {
    const { errorlog, accesslog } = config;
    const own = share ?? openShare(config);
    this.#outlets = {
      error: own.error.fd,
      access: own.access?.fd ?? null,
      stdout: own.stdout.fd,
      stderr: own.stderr.fd,
    };
    this.statsd = openStatsd(config);
    const error = new FileSink(own.error);
    this.log = createLogger({ ...loggerOptions(config, this.statsd), sink: error });
    const access = own.access && new FileSink(own.access);
    this.access = openAccessLog(accesslog, {
      sink: access,
      syslog: config.disableRedirectAccessToSyslog ? null : syslogFor(config, 'access'),
      log: this.log,
    });
    // One sink for what goes the same way keeps its order.
    this.stdout = goesTo(accesslog, 1) && access ? access : new FileSink(own.stdout);
    this.stderr = goesTo(errorlog, 2) ? error : new FileSink(own.stderr);
    const lost = (what: string) => (n: number, why: string) => this.log.warning(`${what} lost ${n} lines: ${why}`);
    if (this.stdout !== access) this.stdout.onRecovered = lost('Standard output');
    if (this.stderr !== error) this.stderr.onRecovered = lost('Standard error');
  }

  /** What a thread that starts is given. */
  share(): LogShare {
    for (const used of this.#free) {
      this.#free.delete(used);
      return used;
    }
    const { error, access, stdout, stderr } = this.#outlets;
    const outlet = (fd: number): Outlet => ({ fd, held: heldMemory() });
    return {
      error: outlet(error),
      access: access === null ? null : outlet(access),
      stdout: outlet(stdout),
      stderr: outlet(stderr),
    };
  }

  /** A thread has ended: what it could not write any more is written here. */
  rescue(share: LogShare): void {
    const { error, access, stdout, stderr } = share;
    let empty = true;
    for (const outlet of [error, access, stdout, stderr]) if (outlet !== null && !rescue(outlet)) empty = false;
    if (empty) this.#free.add(share);
  }

  /** Has everything leave; later lines are dropped. The descriptors stay open. */
  close(): void {
    this.access?.close();
    this.log.close();
    this.stdout.close();
    this.stderr.close();
    this.statsd?.close();
  }

  /** Has what was collected in a turn leave. */
  flush(): void {
    this.access?.flush();
    this.statsd?.flush();
  }
}

/** Opens what the config names. */
function openShare({ errorlog, accesslog, captureOutput }: Config): LogShare {
  const outlet = ({ fd }: LogTarget): Outlet => ({ fd, held: heldMemory() });
  const open = (what: string, path: string, standardFd: 1 | 2) => outlet(new LogTarget(what, path, standardFd));
  const errors = new LogTarget('error log', errorlog, 2);
  const error = outlet(errors);
  const access = accesslog === null ? null : open('access log', accesslog, 1);
  const stdout = goesTo(accesslog, 1) && access ? access : open('standard output', '-', 1);
  const stderr = goesTo(errorlog, 2) ? error : open('standard error', '-', 2);
  if (captureOutput) for (const stream of capturedStreams({ accesslog })) errors.takeOver(stream);
  return { error, access, stdout, stderr };
}

/** A log goes to the standard stream that is usual for it. */
function goesTo(path: string | null, usual: 1 | 2): boolean {
  return path !== null && standardOf(path, usual) === usual;
}
