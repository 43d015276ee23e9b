/**
 * Adoption: programs that listen themselves (`http.createServer(app).listen(3000)`, `app.listen(3000)`). In a pool thread,
 * before the app is imported, net.Server's listen() is replaced: an http.Server opens no socket but is told that it listens, at
 * tunicorn's address, and the first one becomes the app. Everything else about it is Node's: a handle without a socket
 * behind it lets listening, address(), close() and its 'close' event work as they are.
 *
 *     listen() of ┬ the first http.Server, or that of the wanted port: adopted
 *                 ├ another http.Server on the same port (Fastify: localhost is two addresses): belongs to it
 *                 ├ another http.Server, https, http2: is told that it listens, serves nothing, a warning
 *                 └ any other net.Server: Node's own listen(), at a socket that threads share (plain-listen.ts)
 */
import { createRequire } from 'node:module';
import { Server as NetServer } from 'node:net';
import { isMainThread } from 'node:worker_threads';
import type { Logger } from '../log.js';
import { Server } from '../node-http.js';
import { resources, untilIdle } from './idle.js';
import { listenPlainly, type OpenShared } from './plain-listen.js';

/** For how long an http.Server may still follow an https.Server that listens, ms. */
const TLS_MS = 1000;

/** What becomes of waiting for a listener: it listens; nothing is left in the event loop that could; the time is up. */
export type Waited = 'listening' | 'idle' | 'late';

export interface AdoptionOptions {
  /** Where tunicorn listens, as it is written in logs: `http://127.0.0.1:8000`, `unix:/run/app.sock`. */
  address: string;
  log: Logger;
  /** Another thread says the same: only errors are logged. */
  quiet: boolean;
  /** How plain servers listen in every thread. Default: as Node's own, in one of them. */
  openShared?: OpenShared;
}

type Listen = (this: NetServer, ...args: unknown[]) => NetServer;

/** What of a net.Server its methods look at. */
interface ServerParts {
  _handle: object | null;
  _pipeName?: string;
}

export class Adoption {
  /** The http.Server that is the app, null = none has listened. */
  server: Server | null = null;
  /** The port that the app's server asks for; null: the first one is the app. */
  wanted: number | null = null;
  /** Called when one is adopted after the app was loaded. */
  late: ((server: Server) => void) | null = null;
  /** What has listened and is not served: 'an https.Server (port 443)'. */
  readonly foreign: string[] = [];
  private port: unknown;
  private readonly o: AdoptionOptions;
  /** What is there without the program: nothing in a thread of its own. Too little only means a longer wait. */
  private readonly baseline = isMainThread ? resources() : 0;

  constructor(options: AdoptionOptions) {
    this.o = options;
  }

  /** Replaces listen() in this thread; returns what puts Node's own back. */
  install(): () => void {
    const prototype = NetServer.prototype as unknown as { listen: Listen };
    const nodes = prototype.listen;
    const adoption = this;
    prototype.listen = function listen(...args) {
      // Node's own says what is wrong with one that listens already.
      const kind = this.listening ? null : kindOf(this);
      if (kind === null) {
        const { openShared } = adoption.o;
        if (this.listening || openShared === undefined) return nodes.apply(this, args);
        return listenPlainly(this, nodes, args, openShared);
      }
      adoption.listens(this, kind, args);
      return this;
    };
    return () => {
      prototype.listen = nodes;
    };
  }

  private listens(server: NetServer, kind: string, args: unknown[]): void {
    const { log, quiet, address } = this.o;
    const { port, text } = targetOf(args);
    const sibling = kind === HTTP && this.server !== null && samePort(port, this.port, address);
    const first = this.server === null && (this.wanted === null || this.wanted === port);
    if (kind === HTTP && (first || this.server === server)) {
      this.server = server as Server;
      this.port = port;
      if (!quiet) log.info(`The app listens itself (${text}): ignored, tunicorn listens at ${address}`);
      this.late?.(this.server);
    } else if (!sibling) {
      this.foreign.push(`${kind} (${text})`);
      if (!quiet) log.warning(`${kind} (${text}) is not served: ${ADVICE[kind]}`);
    }
    this.pretend(server, args);
  }

  /** As net.Server's listen(), without a socket. */
  private pretend(server: NetServer, args: unknown[]): void {
    const callback = args.at(-1);
    if (typeof callback === 'function') server.once('listening', callback as () => void);
    const { signal } = (args[0] ?? {}) as { signal?: AbortSignal };
    if (signal instanceof AbortSignal) {
      if (signal.aborted) return void process.nextTick(() => server.close());
      signal.addEventListener('abort', () => server.close(), { once: true });
    }
    const parts = server as unknown as ServerParts;
    parts._handle = handleAt(this.o.address);
    if (this.o.address.startsWith('unix:')) parts._pipeName = this.o.address.slice(5);
    process.nextTick(() => {
      if (server.listening) server.emit('listening');
    });
  }

  /** Waits until somebody listens, for at most ms. */
  async wait(ms: number): Promise<Waited> {
    const end = performance.now() + ms;
    let tlsEnd = Number.POSITIVE_INFINITY;
    const over = (): boolean => {
      if (this.server !== null) return true;
      const now = performance.now();
      if (this.foreign.length > 0 && this.wanted === null) tlsEnd = Math.min(tlsEnd, now + TLS_MS);
      return now >= Math.min(end, tlsEnd);
    };
    await untilIdle(this.baseline, over);
    if (this.server === null && performance.now() >= end) return 'late';
    return this.server === null ? 'idle' : 'listening';
  }
}

const HTTP = 'an http.Server';
const HTTPS = 'an https.Server';
const HTTP2 = 'an HTTP/2 server';
const PROXY =
  'tunicorn speaks plain HTTP/1.1. Have a proxy in front of it end TLS, and let an http.Server of node:http listen.';
const ADVICE: Record<string, string> = {
  [HTTP]:
    'a program has one app. Name the port of its server (server.js:3000) or the export that is the app, and start the other one ' +
    'as a program of its own.',
  [HTTPS]: PROXY,
  [HTTP2]: PROXY,
};

/** What server is, if it is one for HTTP; null: none of our business. */
function kindOf(server: NetServer): string | null {
  if (server instanceof Server) return HTTP;
  const name = server.constructor.name;
  if (name === 'Http2Server' || name === 'Http2SecureServer') return HTTP2;
  // Only a program that uses it has loaded it; others do not get here.
  const https = createRequire(import.meta.url)('node:https') as typeof import('node:https');
  return server instanceof https.Server ? HTTPS : null;
}

/** What listen() was asked for: the port (or path), and in words. */
function targetOf([first, second]: unknown[]): { port: unknown; text: string } {
  if (typeof first === 'object' && first !== null) {
    const { port, path, host, fd } = first as Record<string, unknown>;
    // In the order in which Node asks.
    if (typeof fd === 'number' && fd >= 0) return { port: `fd ${fd}`, text: `fd ${fd}` };
    if (typeof port !== 'number' && typeof port !== 'string' && path) return { port: path, text: `socket ${path}` };
    return { port: Number(port ?? 0), text: `port ${port ?? 0}${host === undefined ? '' : ` of ${host}`}` };
  }
  if (typeof first === 'string' && !(Number(first) >= 0)) return { port: first, text: `socket ${first}` };
  const port = typeof first === 'number' || typeof first === 'string' ? Number(first) : 0;
  return { port, text: `port ${port}${typeof second === 'string' ? ` of ${second}` : ''}` };
}

/** port is the adopted server's own, as it was asked for or as its address() says. */
function samePort(port: unknown, adopted: unknown, address: string): boolean {
  return port !== 0 && (port === adopted || (!address.startsWith('unix:') && port === portOf(address)));
}

function portOf(address: string): number {
  return Number(new URL(address).port) || 80;
}

/** What stands in a listening server in the place of libuv's handle. */
function handleAt(address: string): object {
  const handle = { close() {}, ref() {}, unref() {}, hasRef: () => false, getAsyncId: () => 0 };
  if (address.startsWith('unix:')) return handle;
  const host = new URL(address).hostname.replace(/^\[(.*)\]$/, '$1');
  const name = { address: host, family: host.includes(':') ? 'IPv6' : 'IPv4', port: portOf(address) };
  return {
    ...handle,
    getsockname(out: object): number {
      Object.assign(out, name);
      return 0;
    },
  };
}
