/** What an app spec resolves to, and what a fetch handler is given. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Connection } from '../http/connection.js';
import type { RequestControl } from '../request.js';

/** Requests that ask for something else than a response: http.Server's events for them. */
export type HookEvent = 'upgrade' | 'connect' | 'checkContinue' | 'checkExpectation';

export type UpgradeListener = (req: IncomingMessage, socket: Duplex, head: Buffer) => unknown;

/** What an app has beside its handler: the listeners of its http.Server, or an exported upgrade(). */
export interface Hooks {
  /** req.socket.server. */
  server?: Server;
  /** Somebody listens. */
  hears(event: HookEvent): boolean;
  /** The server takes the offer to upgrade that this request makes. Without it, each. */
  takes?(req: IncomingMessage): boolean;
  /** Calls the listeners: (req, socket, head) of upgrade and connect, (req, res) of the others. A promise that rejects counts as a throw. */
  call(event: HookEvent, ...args: unknown[]): unknown;
}

export interface NodeApp {
  kind: 'node';
  /** Node's listener; a returned promise that rejects counts as a throw. */
  handle(req: IncomingMessage, res: ServerResponse): unknown;
  hooks?: Hooks;
  /** Called once when the thread ends in peace (Fastify's close, for example). */
  close?(): unknown;
  /** Where it came from, for logs: `app.js:default`. */
  source: string;
}

export interface FetchApp {
  kind: 'fetch';
  /** Answers one request; must settle the exchange (send, or writeHead...end, or destroy) and never throw. */
  dispatch(exchange: FetchExchange): void;
  hooks?: Hooks;
  close?(): unknown;
  source: string;
}

export type App = (NodeApp | FetchApp) & {
  /** Called when a request is over that the app was given, `status`: what the client got, 0 = nothing. Must not throw. */
  ended?(conn: Connection, status: number): void;
};

/**
 * One request on the fetch path, as the HTTP engine hands it over. Everything that costs something is lazy.
 * Framing (Content-Length, chunked, close on 1.0, no body for HEAD, 204, 304), Date, Connection and Keep-Alive
 * headers are the engine's; the fetch handler gives status, headers and body bytes.
 */
export interface FetchExchange {
  readonly method: string;
  /** Request target as sent: origin-form, absolute-form, authority-form or `*`. */
  readonly target: string;
  /** Flat list name, value, name, value... as received (names in the client's spelling, values latin1). */
  readonly rawHeaders: string[];
  /** https: a trusted proxy says that its client came by it. */
  readonly scheme: string;
  /** host[:port] of the listening side, used where the request has no Host (HTTP/1.0). */
  readonly localAuthority: string;
  /** Something of a body has come, or may come. */
  readonly hasBody: boolean;
  /** Node's view of the request, made at the first look: a Readable with the body, with backpressure. */
  readonly req: IncomingMessage;
  /** Calls fn once if the client leaves or the connection breaks before the response is complete. */
  onAbort(fn: (reason: Error) => void): void;
  /** What its handler may say of it; null when it is over. */
  controlOf(): RequestControl | null;
  /** True once the connection is gone: nothing more can be sent. */
  readonly aborted: boolean;
  /**
   * Whole response in one go: the short way out.
   * headers: flat list, names and values already validated; body null = none.
   */
  send(status: number, statusText: string, headers: string[], body: string | Uint8Array | null): void;
  /** Starts a streamed response. length: bytes to come if known, otherwise chunked (or close for HTTP/1.0). */
  writeHead(status: number, statusText: string, headers: string[], length: number | null): void;
  /** Writes a piece of a streamed body. False: wait for onDrain before the next (backpressure). */
  write(chunk: Uint8Array): boolean;
  onDrain(fn: () => void): void;
  /** Ends a streamed response. */
  end(): void;
  /** The handler failed: 500 if nothing was sent, otherwise the connection is closed. The engine logs err with the request. */
  fail(err: unknown): void;
}
