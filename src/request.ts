/**
 * What a handler can say about the request it has in hand: how long it may take, and that it wants to know when to stop. The
 * request objects lead to it by a symbol of the global registry, so that an app's own copy of the package works too.
 */
import type { IncomingMessage } from 'node:http';
import { TunicornError } from './errors.js';

/** Property of request objects: where their control comes from. */
export const CONTROL: unique symbol = Symbol.for('tunicorn.control') as never;

export interface RequestControl {
  /** The request may take so long from now, ms; 0 = without limit. */
  expireIn(ms: number): void;
  /** Aborts when the client has left or the deadline has passed. */
  readonly abortSignal: AbortSignal;
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
