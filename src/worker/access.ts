/**
 * Access-log lines that main writes: for requests of a thread that it ended, and for those that it refused in the queue. What
 * it knows of them is the beginning of their head (native.headLine, or what waits in the kernel) and the connection's words.
 */
import { type AccessFormat, fieldOf } from '../access-format.js';
import { compileAccess } from '../access-json.js';
import type { Config } from '../config/settings.js';
import type { ProcessLogs } from '../log/process-logs.js';
import { native } from '../native/binding.js';
import type { ProxyAddresses } from '../proxy-protocol.js';
import type { Proxied } from '../shared/proxied.js';
import type { Routes } from '../shared/routes.js';
import type { ConnTable } from '../shared/tconn.js';

const REQUEST_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP\/1\.([01])\r?$/;

export class MainAccess {
  private readonly table: ConnTable;
  private readonly routes: Routes;
  private readonly proxied: Proxied | null;
  private readonly logs: ProcessLogs;
  private readonly format: AccessFormat;

  constructor(config: Config, logs: ProcessLogs, table: ConnTable, routes: Routes, proxied: Proxied | null) {
    this.table = table;
    this.routes = routes;
    this.proxied = proxied;
    this.logs = logs;
    this.format = compileAccess(config.logFormat, config.accessLogFormat);
  }

  /** head: the first bytes of the request's head, latin1. thread: its slot, '' = none had it. queueMs, durationMs: -1 = unknown. */
  write(fd: number, head: string, status: number, answer: string, more: MainFacts): void {
    const { access, statsd } = this.logs;
    statsd?.request(status, more.durationMs, more.queueMs);
    statsd?.flush();
    if (access === null) return;
    const [line, ...lines] = head.split('\r\n');
    const [, method = '', target = '', minor = '1'] = REQUEST_LINE.exec(line) ?? [];
    const rawHeaders = lines.flatMap((text) => /^([^\s:]+):[ \t]*(.*)$/.exec(text)?.slice(1) ?? []);
    const told = more.client ?? this.proxied?.of(fd) ?? null;
    const [peer, local] = [native.getPeerName(fd), native.getSockName(fd)].map((name) =>
      typeof name === 'object' && name.family !== 'unix' ? name : null,
    );
    const bodyAt = answer.indexOf('\r\n\r\n');
    access.write(
      this.format.line({
        remoteAddress: told?.address ?? peer?.address ?? '',
        remotePort: `${told?.port ?? peer?.port ?? ''}`,
        localAddress: local?.address ?? '',
        localPort: `${local?.port ?? ''}`,
        scheme: '',
        method,
        target,
        versionMinor: Number(minor),
        status,
        bodyBytes: bodyAt < 0 ? 0 : Buffer.byteLength(answer) - bodyAt - 4,
        rawHeaders,
        responseHeader: (name) => fieldOf(answer.slice(0, bodyAt + 2), name),
        durationMs: more.durationMs,
        queueMs: more.queueMs,
        cpuUs: -1,
        loopUs: -1,
        thread: more.thread,
        route: more.thread === '' ? '' : this.routes.name(this.table.route(fd)),
        id: more.thread === '' ? '' : this.table.requestId(fd),
      }),
    );
    access.flush();
  }
}

export interface MainFacts {
  thread: number | '';
  durationMs: number;
  queueMs: number;
  /** Whom a PROXY header names that no thread has read. */
  client?: ProxyAddresses;
}
