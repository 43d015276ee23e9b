/**
 * Access-log lines that main writes: for requests of a thread that it ended, and for those that it refused in the queue. What
 * it knows of them is the beginning of their head (native.headLine, or what waits in the kernel) and the connection's words.
 */
import { type AccessFormat, compileAccessFormat } from '../access-format.js';
import type { Config } from '../config/settings.js';
import { type AccessLog, openAccessLog } from '../log.js';
import { native } from '../native/binding.js';
import type { Proxied } from '../shared/proxied.js';
import type { Routes } from '../shared/routes.js';
import type { ConnTable } from '../shared/tconn.js';

const REQUEST_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP\/1\.([01])\r?$/;

export class MainAccess {
  private readonly table: ConnTable;
  private readonly routes: Routes;
  private readonly proxied: Proxied | null;
  private readonly log: AccessLog | null;
  private readonly format: AccessFormat;

  constructor(config: Config, table: ConnTable, routes: Routes, proxied: Proxied | null) {
    this.table = table;
    this.routes = routes;
    this.proxied = proxied;
    this.log = openAccessLog(config.accesslog);
    this.format = compileAccessFormat(config.accessLogFormat);
  }

  /** head: the first bytes of the request's head, latin1. thread: its slot, '' = none had it. queueMs, durationMs: -1 = unknown. */
  write(fd: number, head: string, status: number, answer: string, more: MainFacts): void {
    if (this.log === null) return;
    const [line, ...lines] = head.split('\r\n');
    const [, method = '', target = '', minor = '1'] = REQUEST_LINE.exec(line) ?? [];
    const rawHeaders = lines.flatMap((text) => /^([^\s:]+):[ \t]*(.*)$/.exec(text)?.slice(1) ?? []);
    const peer = native.getPeerName(fd);
    const bodyAt = answer.indexOf('\r\n\r\n');
    this.log.write(
      this.format.line({
        remoteAddress: more.client ?? this.proxied?.of(fd)?.address ?? (typeof peer === 'object' ? peer.address : ''),
        scheme: '',
        method,
        target,
        versionMinor: Number(minor),
        status,
        bodyBytes: bodyAt < 0 ? 0 : Buffer.byteLength(answer) - bodyAt - 4,
        rawHeaders,
        responseHeader: (name) => new RegExp(`\\r\\n${name}: *([^\\r]*)`, 'i').exec(answer)?.[1] ?? null,
        durationMs: more.durationMs,
        queueMs: more.queueMs,
        cpuUs: -1,
        loopUs: -1,
        thread: more.thread,
        route: more.thread === '' ? '' : this.routes.name(this.table.route(fd)),
        id: more.thread === '' ? '' : this.table.requestId(fd),
      }),
    );
    this.log.flush();
  }
}

export interface MainFacts {
  thread: number | '';
  durationMs: number;
  queueMs: number;
  /** Whom a PROXY header names that no thread has read. */
  client?: string;
}
