/**
 * Node's own IncomingMessage and ServerResponse, made over a Connection. What Node's server does with private hooks is done
 * here with own properties of the objects (Express and others replace their prototypes): `_read` asks the connection for
 * the body, `_finish` tells it that the response was handed over.
 */
import { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Connection } from './connection.js';
import type { RequestParser } from './parser.js';

const kConnection = Symbol('tunicorn.connection');

interface RequestParts {
  [kConnection]: Connection;
  _consumed: boolean;
  _dump(): void;
  _read(): void;
  _addHeaderLines(headers: string[], count: number): void;
  _eventsCount: number;
}

interface ResponseParts {
  [kConnection]: Connection;
  _finish(): void;
  _keepAliveTimeout: number;
  _last: boolean;
  socket: Socket | null;
  strictContentLength: boolean;
}

/** Node's flag behind writableNeedDrain, to be taken back at 'drain'. */
const kNeedDrain = Object.getOwnPropertySymbols(new ServerResponse({ method: 'GET' } as IncomingMessage)).find(
  (symbol) => symbol.description === 'kNeedDrain',
);

/** The parts of a head that a request object shows. */
export type RequestHead = Pick<RequestParser, 'method' | 'url' | 'headers' | 'versionMinor'>;

/** The request whose head the parser has just read. `complete`: its body too. */
export function makeRequest(conn: Connection, parser: RequestHead, complete: boolean): IncomingMessage {
  const req = new IncomingMessage(conn.socket as unknown as Socket);
  const parts = req as unknown as RequestParts;
  parts[kConnection] = conn;
  parts._read = readBody;
  req.httpVersionMajor = 1;
  req.httpVersionMinor = parser.versionMinor;
  req.httpVersion = parser.versionMinor === 1 ? '1.1' : '1.0';
  req.url = parser.url;
  parts._addHeaderLines(parser.headers, parser.headers.length);
  req.method = parser.method;
  req.complete = complete;
  conn.feed(req);
  return req;
}

function readBody(this: RequestParts): void {
  this._consumed = true;
  this[kConnection].wantBody(this as unknown as IncomingMessage);
}

/** The response to req, owning the connection's socket. keepAliveMs: announced to the client, 0 = no keep-alive. */
export function makeResponse(conn: Connection, req: IncomingMessage, keepAlive: boolean, keepAliveMs: number) {
  const res = new ServerResponse(req);
  const parts = res as unknown as ResponseParts;
  parts[kConnection] = conn;
  parts._finish = finished;
  parts._keepAliveTimeout = keepAliveMs;
  parts.strictContentLength = true;
  res.shouldKeepAlive = keepAlive;
  const { socket } = conn;
  socket._httpMessage = res;
  parts.socket = socket as unknown as Socket;
  return res;
}

const nodesFinish = (ServerResponse.prototype as unknown as ResponseParts)._finish;

function finished(this: ResponseParts): void {
  nodesFinish.call(this);
  const conn = this[kConnection];
  if (conn.res !== (this as unknown as ServerResponse)) return;
  if (this._last) conn.last = true;
  conn.responseDone();
}

/** After the response is out: what node:http does when it has finished one. */
export function detach(conn: Connection, req: IncomingMessage, res: ServerResponse): void {
  conn.socket._httpMessage = null;
  (res as unknown as ResponseParts).socket = null;
  const parts = req as unknown as RequestParts;
  // A request nobody looks at needs no 'end'.
  if (!parts._consumed && parts._eventsCount > 0) parts._dump();
}

/** The socket has room again: the response that waits for it goes on. */
export function drainResponse(res: ServerResponse): void {
  if (res.finished || !res.writableNeedDrain) return;
  if (kNeedDrain) (res as unknown as Record<symbol, boolean>)[kNeedDrain] = false;
  res.emit('drain');
}
