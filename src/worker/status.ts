/**
 * StatusServer: the status address (--status-bind), answered by a worker's main thread, which runs no user code and so
 * answers whatever the threads do. Workers share its sockets: a connection reaches one of them, and the answer is that
 * worker's. Node's own http server does it, with small limits and one request for each connection, so that nobody who
 * holds connections open costs the main loop anything.
 *
 *     GET /live   200 while the main loop turns
 *     GET /ready  200, or 503 and why: booting, draining, all threads stuck, queue full
 *     GET /       the worker's state as JSON; /status is the same
 */
import type { Logger } from '../log.js';
import type { ListenerInfo } from '../messages.js';
import { createServer, type IncomingMessage, Server, type ServerResponse } from '../node-http.js';
import { type HealthKind, healthAnswered } from '../shared/health.js';
import { readiness, type StatusReport } from './status-report.js';

/** Time for a whole request, ms, and how often that is looked at. */
const REQUEST_MS = 2000;
const LOOK_MS = 1000;
/** Bytes of a request's head. */
const HEAD_BYTES = 8192;
/** More connections at a time are closed at once. */
const CONNECTIONS = 256;
/** Time that close() gives the connections that are open, ms. */
const CLOSE_MS = 250;

/** Node's own: in class sync apps are loaded in this thread, where listen() is replaced then (app/adopt.ts). */
const { listen } = Server.prototype;

export interface StatusOptions {
  /** Those of role `status` are served; the file descriptors become the server's. */
  listeners: readonly ListenerInfo[];
  backlog: number;
  report: () => StatusReport;
  log: Logger;
}

export class StatusServer {
  private readonly o: StatusOptions;
  private readonly servers: Server[] = [];
  private started = false;
  private closed: Promise<void> | null = null;

  constructor(options: StatusOptions) {
    this.o = options;
  }

  /** Begins to answer; a second call does nothing. What goes wrong is logged. */
  start(): void {
    if (this.started) return;
    this.started = true;
    const { listeners, backlog, log } = this.o;
    for (const { fd, name, role } of listeners) {
      if (role !== 'status') continue;
      const server = createServer(
        {
          headersTimeout: REQUEST_MS,
          requestTimeout: REQUEST_MS,
          connectionsCheckingInterval: LOOK_MS,
          maxHeaderSize: HEAD_BYTES,
        },
        (req, res) => this.answer(req, res),
      );
      server.maxConnections = CONNECTIONS;
      server.on('error', (error) => log.error(`Error at the status address ${name}`, error));
      this.servers.push(listen.call(server, { fd, backlog }));
    }
  }

  /** Stops answering: what was asked already is answered, within a quarter of a second. The sockets are closed. */
  close(): Promise<void> {
    this.started = true;
    this.closed ??= this.end();
    return this.closed;
  }

  private async end(): Promise<void> {
    const { servers } = this;
    const ended = servers.map((server) => new Promise((resolve) => server.close(resolve)));
    const late = setTimeout(() => {
      for (const server of servers) server.closeAllConnections();
    }, CLOSE_MS);
    await Promise.all(ended);
    clearTimeout(late);
  }

  private answer(req: IncomingMessage, res: ServerResponse): void {
    const { method = '', url = '' } = req;
    res.setHeader('Cache-Control', 'no-store');
    res.setHeader('Connection', 'close');
    const [path] = url.split('?', 1);
    const body = PATHS.get(path);
    if (body === undefined) send(res, 404, 'text/plain; charset=utf-8', 'not found\n');
    else if (method !== 'GET' && method !== 'HEAD') {
      res.setHeader('Allow', 'GET, HEAD');
      send(res, 405, 'text/plain; charset=utf-8', 'method not allowed\n');
    } else body(res, this.o.report());
  }
}

const PATHS = new Map([
  ['/live', health('live')],
  ['/ready', health('ready')],
  ['/', state],
  ['/status', state],
]);

function health(kind: HealthKind) {
  return (res: ServerResponse, report: StatusReport): void => {
    const { status, body } = healthAnswered(kind, readiness(report));
    send(res, status, 'text/plain; charset=utf-8', body);
  };
}

function state(res: ServerResponse, report: StatusReport): void {
  send(res, 200, 'application/json', `${JSON.stringify({ ...report, ...readiness(report) })}\n`);
}

/** With its length: Node leaves the body out of the answer to HEAD. */
function send(res: ServerResponse, status: number, type: string, body: string): void {
  res.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) }).end(body);
}
