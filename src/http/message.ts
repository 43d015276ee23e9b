/**
 * Node's own IncomingMessage and ServerResponse, made over a Connection. What Node's server does with private hooks is done
 * here with own properties of the objects (Express and others replace their prototypes): `_read` asks the connection for
 * the body, `_finish` tells it that the response was handed over.
 */
import type { Socket } from 'node:net';
import './cork.js';
import './failed-head.js';
import { type IncomingMessage, ServerResponse } from '../node-http.js';
import './interim-host.js';
import { native } from '../native/binding.js';
import { CONTROL } from '../request.js';
import type { Connection } from './connection.js';
import type { Control } from './control.js';
import type { RequestParser } from './parser.js';
import { newRequest, newResponse } from './server-options.js';
import { timeResponse } from './server-timing.js';
import { abortSignal, detachSignal } from './signal.js';

interface RequestParts {
  [CONTROL]: Control;
  _consuming: boolean;
  _dump(): void;
  _read(): void;
  _destroy(error: Error | null, callback: (error?: Error | null) => void): void;
  _addHeaderLines(headers: string[], count: number): void;
  _eventsCount: number;
  upgrade: boolean | null;
  joinDuplicateHeaders: boolean | null;
  _dumped: boolean;
  _readableState: { readingMore: boolean; ended: boolean; endEmitted: boolean; destroyed: boolean; closed: boolean };
}

interface ResponseParts {
  [CONTROL]: Control;
  _finish(): void;
  _keepAliveTimeout: number;
  _eventsCount: number;
  _last: boolean;
  _headerSent: boolean;
  _hasBody: boolean;
  _closed: boolean;
  destroyed: boolean;
  socket: Socket | null;
  strictContentLength: boolean;
}

/** The parts of a head that a request object shows. */
export type RequestHead = Pick<RequestParser, 'method' | 'url' | 'headers' | 'versionMinor'>;

/** The request whose head the parser has just read. As in Node it is complete, at the earliest, when its handler has returned. */
export function makeRequest(conn: Connection, parser: RequestHead): IncomingMessage {
  const req = newRequest(conn.server, conn.socket as unknown as Socket);
  const parts = req as unknown as RequestParts;
  parts[CONTROL] = conn.control;
  parts._read = readBody;
  req.httpVersionMajor = 1;
  req.httpVersionMinor = parser.versionMinor;
  req.httpVersion = parser.versionMinor === 1 ? '1.1' : '1.0';
  req.url = parser.url;
  parts._addHeaderLines(parser.headers, parser.headers.length);
  req.method = parser.method;
  parts.upgrade = false;
  parts.joinDuplicateHeaders ||= null;
  return req;
}

function readBody(this: RequestParts): void {
  if (!this._consuming) {
    this._readableState.readingMore = false;
    this._consuming = true;
  }
  this[CONTROL].conn.wantBody(this as unknown as IncomingMessage);
}

/** The response to req, owning the connection's socket. keepAliveMs: announced to the client, 0 = no keep-alive. */
export function makeResponse(conn: Connection, req: IncomingMessage, keepAlive: boolean, keepAliveMs: number) {
  const socket = conn.socket as unknown as Socket;
  const res = newResponse(conn.server, socket, req);
  const parts = res as unknown as ResponseParts;
  parts[CONTROL] = conn.control;
  parts._finish = finished;
  parts._keepAliveTimeout = keepAliveMs;
  parts.strictContentLength = true;
  res.shouldKeepAlive = keepAlive;
  conn.socket._httpMessage = res;
  parts.socket = socket;
  if (conn.host.serverTiming) timeResponse(conn, res);
  return res;
}

const nodesFinish = (ServerResponse.prototype as unknown as ResponseParts)._finish;

function finished(this: ResponseParts): void {
  nodesFinish.call(this);
  const { conn } = this[CONTROL];
  // As in Node, who listens for 'finish' finds the response without its socket.
  const res = this as unknown as ServerResponse;
  if (this._eventsCount > 0 && res.listenerCount('finish') > 0) res.prependListener('finish', unplugThis);
  if (conn.res !== res) return;
  if (this._last) conn.last = true;
  conn.responseDone();
}

/** The head of a chunked response has been handed over, and not its end. */
export function inChunks(res: ServerResponse): boolean {
  const { _headerSent, _hasBody } = res as unknown as ResponseParts;
  return res.chunkedEncoding && _headerSent && _hasBody && !res.finished;
}

/** Its head has said that the connection ends. */
export function isLast(res: ServerResponse): boolean {
  return (res as unknown as ResponseParts)._last;
}

function unplugThis(this: ServerResponse): void {
  detachSignal(this.req);
  unplug(this);
  process.nextTick(closeNT, (this as unknown as ResponseParts)[CONTROL].conn, this);
}

/** The response leads nowhere any more: as in Node what is still written to it is no error, and so not counted against its length. */
export function loosen(res: ServerResponse): void {
  (res as unknown as ResponseParts).strictContentLength = false;
}

/** After the response is out: what node:http does when it has finished one. */
export function detach(conn: Connection, req: IncomingMessage, res: ServerResponse): void {
  const { socket } = conn;
  socket._httpMessage = null;
  if (socket.timeout) socket.setTimeout(0);
  detachSignal(req);
  unplug(res);
  dump(req);
}

/** Somebody has listeners on the response. */
export function hears(res: ServerResponse): boolean {
  return (res as unknown as ResponseParts)._eventsCount > 0;
}

/** Somebody has listeners on the request. */
export function listened(req: IncomingMessage): boolean {
  return (req as unknown as RequestParts)._eventsCount > 0;
}

/**
 * Tells request and response, in a tick, that the connection is gone or that the engine answers in their place. `responded`:
 * the whole response had been handed over, which for Node is a request that ended as it should; from 24 on only if it has left, too.
 */
export function part(req: IncomingMessage | null, res: ServerResponse | null, responded: boolean): void {
  process.nextTick(partNT, req, res, responded);
}

function partNT(req: IncomingMessage | null, res: ServerResponse | null, responded: boolean): void {
  try {
    if (req === null) return;
    // In Node, too, a request that nobody reads hears no more when its response is out.
    const whole = responded && (res === null || res.writableFinished);
    if (whole && (req.complete || !(req as unknown as RequestParts)._consuming)) {
      detachSignal(req);
      dump(req);
    }
    // Whatever the cause, as Node puts it.
    else if (!req.destroyed) destroyQuietly(req, disconnected(0));
    else if (res !== null) {
      // The handler itself has destroyed it: in Node, too, the response closes after the request then.
      setImmediate(closeResponse, res);
      res = null;
    }
  } finally {
    if (res !== null) closeResponse(res);
  }
}

/** A request that nobody has read ends after the response, if anybody listens. */
function dump(req: IncomingMessage): void {
  const parts = req as unknown as RequestParts;
  if (!parts._consuming && listened(req) && req.readableFlowing !== true) parts._dump();
}

/** One that nobody has read or listens to is over as well when its response is: as in Node, but without the events of it. */
export function endUnread(req: IncomingMessage): void {
  const parts = req as unknown as RequestParts;
  if (!req.complete || parts._consuming || listened(req) || parts._dumped) return;
  const state = parts._readableState;
  if (state.destroyed) return;
  parts._dumped = true;
  state.ended = state.endEmitted = state.destroyed = state.closed = true;
}

/** The whole response is out, but the rest of the request is still being read: as in Node the response is over then. */
export function closeEarly(conn: Connection, res: ServerResponse): void {
  const { socket } = conn;
  socket._httpMessage = null;
  if (socket.timeout) socket.setTimeout(0);
  detachSignal(res.req);
  unplug(res);
  process.nextTick(closeNT, conn, res);
}

function closeNT(conn: Connection, res: ServerResponse): void {
  conn.host.emitClose(res);
}

/** The response leads nowhere any more. */
export function unplug(res: ServerResponse): void {
  (res as unknown as ResponseParts).socket = null;
}

/** As Node's emitCloseNT: the response is over. */
export function closeResponse(res: ServerResponse): void {
  const parts = res as unknown as ResponseParts;
  if (parts._closed) return;
  parts.destroyed = true;
  parts._closed = true;
  res.emit('close');
}

/** Destroys a request without its socket, which may serve another one or has an answer to deliver. */
export function destroyQuietly(req: IncomingMessage, reason: Error): void {
  (req as unknown as RequestParts)._destroy = destroyWithoutSocket;
  req.destroy(reason);
}

function destroyWithoutSocket(
  this: IncomingMessage,
  error: Error | null,
  callback: (error?: Error | null) => void,
): void {
  if (!this.readableEnded || !this.complete) {
    this.aborted = true;
    this.emit('aborted');
    abortSignal(this);
  }
  // As Node: an error is told only where somebody listens.
  process.nextTick(callback, this.listenerCount('error') > 0 ? error : null);
}

/** As Node: the error that an interrupted request carries. */
export function disconnected(errno: number): Error {
  const code = errno < 0 ? native.errnoName(errno) : 'ECONNRESET';
  return Object.assign(new Error('aborted'), { code });
}

/** The value is such an error. */
export function isDisconnected(error: unknown): boolean {
  return error instanceof Error && error.message === 'aborted' && 'code' in error;
}
