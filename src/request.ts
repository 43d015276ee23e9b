/**
 * What a handler can say about the request it has in hand (how long it may take, that it wants to know when to stop) and ask: who made it. The
 * request objects lead to it by a symbol of the global registry, so that an app's own copy of the package works too.
 */
import type { IncomingMessage } from 'node:http';
import { TunicornError } from './errors.js';

/** By whom a request was made, as far as it is known for sure: docs/trust.md. */
export interface ClientInfo {
  /** Numeric address of the client, as a PROXY header tells, otherwise the connection's peer; undefined over unix sockets. */
  readonly address: string | undefined;
  readonly port: number | undefined;
  /** https: a proxy of --forwarded-allow-ips says that its client came by it. */
  readonly scheme: 'http' | 'https';
  /** Where the connection came in; undefined over unix sockets. */
  readonly localAddress: string | undefined;
  readonly localPort: number | undefined;
  /** The other end of the connection itself: a proxy, if there is one in front. */
  readonly peerAddress: string | undefined;
  readonly peerPort: number | undefined;
  /** Where the client had connected to, as a PROXY header tells; null without one. */
  readonly proxied: { readonly address: string; readonly port: number } | null;
  /** The peer is one of --forwarded-allow-ips: its X-Forwarded-For and such may be believed. */
  readonly trusted: boolean;
}

/** Property of request objects: where their control comes from. */
export const CONTROL: unique symbol = Symbol.for('tunicorn.control') as never;

export interface RequestControl {
  /** The request may take so long from now, ms; 0 = without limit. */
  expireIn(ms: number): void;
  /** Aborts when the client has left or the deadline has passed. */
  readonly abortSignal: AbortSignal;
  readonly client: ClientInfo;
}

/** What a request object has at CONTROL. */
export interface ControlSource {
  /** Null when the request is over. */
  controlOf(request: object): RequestControl | null;
  /** The request's handler failed, which only the promise of an http.Server's listener told. */
  failed?(request: object, error: unknown): void;
}

function controlOf(request: object): RequestControl | null {
  const source = (request as { [CONTROL]?: ControlSource })[CONTROL];
  if (source !== undefined) return source.controlOf(request);
  throw new TunicornError('ERR_TUNICORN_REQUEST', 'This is no request that tunicorn gave to a handler.');
}

/**
 * Gives the request in hand another deadline in place of --timeout (and of the client's own): `seconds` from now, 0 = none.
 * @returns false if the request is over already.
 * @throws {RangeError} if seconds is no number from 0 to 2,000,000.
 * @throws {TunicornError} ERR_TUNICORN_REQUEST if it is no request of tunicorn's.
 */
export function setRequestTimeout(request: IncomingMessage | Request, seconds: number): boolean {
  if (!(seconds >= 0 && seconds <= 2_000_000))
    throw new RangeError(`seconds must be from 0 to 2000000, not ${seconds}`);
  const control = controlOf(request);
  control?.expireIn(Math.ceil(seconds * 1000));
  return control !== null;
}

/**
 * A signal that aborts when the client of a (req, res) request leaves (AbortError) or its deadline passes (TimeoutError), as
 * `request.signal` does for fetch handlers. Of a request that is over: one that has aborted.
 * @throws {TunicornError} ERR_TUNICORN_REQUEST if it is no request of tunicorn's.
 */
export function requestSignal(request: IncomingMessage | Request): AbortSignal {
  return controlOf(request)?.abortSignal ?? AbortSignal.abort();
}

/**
 * By whom the request in hand was made, for fetch handlers and others that have no req.socket. Null when the request is over.
 * @throws {TunicornError} ERR_TUNICORN_REQUEST if it is no request of tunicorn's.
 */
export function clientInfo(request: IncomingMessage | Request): ClientInfo | null {
  return controlOf(request)?.client ?? null;
}
