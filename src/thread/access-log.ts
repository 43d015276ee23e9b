/** The access log of a thread, and its metrics: what a Connection knows of its request, as the facts that a format shows. */
import { type AccessFacts, type AccessFormat, fieldOf } from '../access-format.js';
import { compileAccess } from '../access-json.js';
import type { Config } from '../config/settings.js';
import type { Connection } from '../http/connection.js';
import type { ProcessLogs } from '../log/process-logs.js';
import type { AccessLog } from '../log.js';
import type { Routes } from '../shared/routes.js';
import type { ConnTable } from '../shared/tconn.js';
import type { Statsd } from '../statsd.js';

/** Facts of the connection that is set; a line reads what its format shows. */
class ConnFacts implements AccessFacts {
  readonly thread: number;
  conn!: Connection;
  status = 0;
  private readonly table: ConnTable;
  private readonly routes: Routes;

  constructor(thread: number, table: ConnTable, routes: Routes) {
    this.thread = thread;
    this.table = table;
    this.routes = routes;
  }

  /** A head that could not be read is no request: nothing was measured. */
  private get known(): boolean {
    return this.conn.method !== '';
  }

  get remoteAddress(): string {
    return this.conn.socket.remoteAddress ?? '';
  }

  get remotePort(): string {
    return `${this.conn.socket.remotePort ?? ''}`;
  }

  get localAddress(): string {
    return this.conn.socket.localAddress ?? '';
  }

  get localPort(): string {
    return `${this.conn.socket.localPort ?? ''}`;
  }

  get scheme(): string {
    return this.conn.secure ? 'https' : 'http';
  }

  get method(): string {
    return this.conn.method;
  }

  get target(): string {
    return this.conn.url;
  }

  get versionMinor(): number {
    return this.conn.versionMinor;
  }

  get bodyBytes(): number {
    return this.known ? this.conn.bodyBytes : 0;
  }

  get rawHeaders(): readonly string[] {
    return this.conn.rawHeaders;
  }

  readonly responseHeader = (name: string): string | null => (this.known ? fieldOf(this.conn.headSent, name) : null);

  get durationMs(): number {
    return this.known ? performance.now() - this.conn.startedAt : -1;
  }

  get queueMs(): number {
    return this.known ? this.conn.queuedMs : -1;
  }

  get cpuUs(): number {
    return this.known ? this.conn.cpuUs : -1;
  }

  get loopUs(): number {
    return this.known ? this.conn.loopUs : -1;
  }

  get route(): string {
    return this.known ? this.routes.name(this.conn.route) : '';
  }

  get id(): string {
    return this.known ? this.table.requestId(this.conn.fd) : '';
  }
}

export class AccessLines {
  /** Somebody wants to know how long requests take, and what they cost. */
  readonly needsTime: boolean;
  readonly needsCost: boolean;
  private readonly log: AccessLog | null;
  private readonly statsd: Statsd | null;
  private readonly format: AccessFormat;
  private readonly facts: ConnFacts;

  /** slot: number of the thread. */
  constructor(
    logs: Pick<ProcessLogs, 'access' | 'statsd'>,
    config: Config,
    slot: number,
    table: ConnTable,
    routes: Routes,
  ) {
    this.log = logs.access;
    this.statsd = logs.statsd;
    this.format = compileAccess(config.logFormat, config.accessLogFormat);
    this.facts = new ConnFacts(slot, table, routes);
    this.needsTime = this.statsd !== null || this.format.needsTime;
    this.needsCost = this.log !== null && this.format.needsCost;
  }

  /** A request is over. While the thread still owns its connection. */
  write(conn: Connection, status: number): void {
    this.facts.conn = conn;
    this.facts.status = status;
    this.log?.write(this.format.line(this.facts));
    this.statsd?.request(status, this.facts.durationMs, this.facts.queueMs);
  }
}
