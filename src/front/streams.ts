/**
 * HTTP/2 to HTTP/1.1: each stream becomes one request on a plain connection of its own to the engine, its response a response
 * of the stream (RFC 9113, 8). Bodies flow with backpressure; a stream that is reset ends its request; interim responses
 * and trailers are passed on; what only means something to one connection is not (RFC 9113, 8.2.2).
 *
 * nghttp2 resets what is malformed by itself; what it lets through and HTTP/1.1 would say otherwise is refused here. A stream may
 * have ended whenever something is to be sent, and Node throws then: nothing of this thread may depend on one stream.
 */
import { constants, type IncomingHttpHeaders, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import { type ClientRequest, type IncomingMessage, request } from '../node-http.js';

const { NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM } = constants;

/** Fields of one connection alone. */
const OWN = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade', 'http2-settings']);
/** The engine bounds what it reads; what it writes is the app's, and may be long. */
const MAX_RESPONSE_HEAD = 1 << 20;

const ALLOW = { allow: 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS' };

/** What streams need of the front. */
export interface Way {
  /** ms in which a client may take nothing of a response that waits for it, 0 = no limit. */
  readonly sendMs: number;
  /** Bytes for the client wait until the kernel has room: what becomes of it is not the streams' affair (takers.ts). */
  blocked(): boolean;
  /** A new connection to the engine; null: there is none to be had, or as many requests are in hand as may be. */
  open(): Socket | null;
  /** A request was refused here. */
  refused(status: number, reason: string): void;
}

export function forward(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  raw: readonly string[],
  way: Way,
): void {
  stream.on('error', () => {});
  // The engine dates its responses.
  (stream as { sendDate?: boolean }).sendDate = false;
  const refuse = (status: number, reason: string, fields: OutgoingHttpHeaders = {}) => {
    way.refused(status, reason);
    attempt(() => stream.respond({ ':status': status, ...fields }, { endStream: true }));
  };
  const { ':method': method, ':path': path } = headers;
  // Of which the engine has the same opinion.
  if (method === undefined || path === undefined) return refuse(405, 'CONNECT is not supported', ALLOW);
  // Node would write it in capitals.
  if (/[a-z]/.test(method)) return refuse(501, 'Unknown method');
  // In HTTP/1.1 it would be an absolute one, which stands above the authority.
  if (path[0] !== '/' && path !== '*') return refuse(400, 'Invalid request target');
  // RFC 9113, 8.3.1.
  if (!sameAuthority(headers)) return refuse(400, 'Host and :authority differ');
  const plain = way.open();
  if (plain === null) {
    // RFC 9113, 8.7: nothing has been done for it, so that even a POST may be sent again.
    way.refused(503, 'No place for another stream (--worker-connections, or file descriptors)');
    stream.close(NGHTTP2_REFUSED_STREAM);
    return;
  }
  const hasBody = !stream.endAfterHeaders;
  let out: ClientRequest;
  try {
    out = request({
      createConnection: () => plain,
      method,
      path,
      headers: fieldsFor(headers, raw, method, hasBody),
      setHost: false,
      maxHeaderSize: MAX_RESPONSE_HEAD,
    });
  } catch {
    plain.destroy();
    return refuse(400, 'Invalid request head');
  }
  out.on('error', () => {
    // Without an answer: its thread was ended, or the worker leaves.
    if (!stream.destroyed) stream.close(NGHTTP2_INTERNAL_ERROR);
  });
  out.on('continue', () => attempt(() => stream.additionalHeaders({ ':status': 100 })));
  out.on('information', ({ statusCode, rawHeaders }) => {
    if (statusCode === 100 || statusCode === 101) return;
    attempt(() => stream.additionalHeaders({ ':status': statusCode, ...responseFields(rawHeaders) }));
  });
  out.on('response', (response) => respond(stream, response, method, way));
  // A response that is none for HTTP/2: 101.
  out.once('close', () => {
    if (!stream.destroyed && !stream.headersSent) stream.close(NGHTTP2_INTERNAL_ERROR);
  });
  stream.once('close', () => {
    if (!out.destroyed) out.destroy();
  });
  sendBody(stream, out, hasBody);
}

/** False where Node would not: the stream has ended meanwhile, or a field cannot be sent by HTTP/2. */
function attempt(act: () => void): boolean {
  try {
    act();
    return true;
  } catch {
    return false;
  }
}

/** No Host, or one that names what :authority names. */
function sameAuthority({ ':authority': authority, host }: IncomingHttpHeaders): boolean {
  return authority === undefined || host === undefined || authority.toLowerCase() === host.toLowerCase();
}

function sendBody(stream: ServerHttp2Stream, out: ClientRequest, hasBody: boolean): void {
  if (!hasBody) {
    out.end();
    return;
  }
  let trailers: IncomingHttpHeaders = {};
  stream.once('trailers', (fields) => (trailers = fields));
  // Before its body: it may wait for 100.
  out.flushHeaders();
  stream.pipe(out, { end: false });
  stream.once('end', () => {
    if (attempt(() => out.addTrailers(trailers as Record<string, string>))) out.end();
    else stream.close(NGHTTP2_INTERNAL_ERROR);
  });
}

/** The request's fields as HTTP/1.1 has them, in their order. */
function fieldsFor(
  headers: IncomingHttpHeaders,
  raw: readonly string[],
  method: string,
  hasBody: boolean,
): readonly string[] {
  const fields: string[] = [];
  const host = headers[':authority'] ?? headers.host;
  if (host !== undefined) fields.push('host', host);
  const cookies: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i];
    if (name.startsWith(':') || name === 'host' || OWN.has(name)) continue;
    // They may be cut into crumbs: RFC 9113, 8.2.3.
    if (name === 'cookie') cookies.push(raw[i + 1]);
    else fields.push(name, raw[i + 1]);
  }
  if (cookies.length > 0) fields.push('cookie', cookies.join('; '));
  if (headers['content-length'] === undefined) {
    if (hasBody) fields.push('transfer-encoding', 'chunked');
    else if (method !== 'GET' && method !== 'HEAD') fields.push('content-length', '0');
  }
  return fields;
}

function responseFields(raw: readonly string[]): OutgoingHttpHeaders {
  const fields: Record<string, string | string[]> = Object.create(null);
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i].toLowerCase();
    if (OWN.has(name)) continue;
    const before = fields[name];
    if (before === undefined) fields[name] = raw[i + 1];
    else fields[name] = [...(Array.isArray(before) ? before : [before]), raw[i + 1]];
  }
  return fields;
}

function respond(stream: ServerHttp2Stream, response: IncomingMessage, method: string, way: Way): void {
  if (stream.destroyed) {
    response.destroy();
    return;
  }
  const { statusCode = 502, rawHeaders } = response;
  const empty = method === 'HEAD' || statusCode === 204 || statusCode === 304;
  const waitForTrailers = !empty && response.headers.trailer !== undefined;
  const head = { ':status': statusCode, ...responseFields(rawHeaders) };
  if (!attempt(() => stream.respond(head, { endStream: empty, waitForTrailers }))) {
    stream.close(NGHTTP2_INTERNAL_ERROR);
    return;
  }
  if (empty) {
    response.resume();
    return;
  }
  // The engine may have sent all of it: then only the front knows that the client takes nothing. Starts anew with what is sent.
  if (way.sendMs > 0) stream.setTimeout(way.sendMs);
  stream.on('timeout', () => {
    if (way.blocked()) stream.setTimeout(way.sendMs);
    else if (stream.writableLength > 0) stream.close(NGHTTP2_CANCEL);
  });
  response.once('error', () => stream.close(NGHTTP2_INTERNAL_ERROR));
  stream.once('wantTrailers', () => {
    if (!attempt(() => stream.sendTrailers(response.trailers))) stream.close(NGHTTP2_INTERNAL_ERROR);
  });
  response.pipe(stream);
  // Who has its answer need not send the rest: RFC 9113, 8.1.
  stream.once('finish', () => {
    if (!stream.endAfterHeaders && !stream.readableEnded && !waitForTrailers) stream.close(NGHTTP2_NO_ERROR);
  });
}
