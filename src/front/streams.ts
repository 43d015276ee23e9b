/**
 * HTTP/2 to HTTP/1.1: each stream becomes one request on a plain connection of its own to the engine, its response a response
 * of the stream (RFC 9113, 8). Bodies flow with backpressure; a stream that is reset ends its request; interim responses
 * and trailers are passed on; what only means something to one connection is not (RFC 9113, 8.2.2).
 */
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { constants, type IncomingHttpHeaders, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';

const { NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM } = constants;

/** Fields of one connection alone. */
const OWN = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade', 'http2-settings']);
/** The engine bounds what it reads; what it writes is the app's, and may be long. */
const MAX_RESPONSE_HEAD = 1 << 20;

/** @param open a new connection to the engine; null: there is none to be had. */
export function forward(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  raw: readonly string[],
  open: () => Socket | null,
): void {
  stream.on('error', () => {});
  // The engine dates its responses.
  (stream as { sendDate?: boolean }).sendDate = false;
  const { ':method': method, ':path': path } = headers;
  if (method === undefined || path === undefined) {
    // CONNECT, of which the engine has the same opinion.
    stream.respond({ ':status': 405, allow: 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS' }, { endStream: true });
    return;
  }
  const plain = open();
  if (plain === null) {
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
    stream.respond({ ':status': 400 }, { endStream: true });
    return;
  }
  out.on('error', () => {
    // Without an answer: its thread was ended, or the worker leaves.
    if (!stream.destroyed) stream.close(NGHTTP2_INTERNAL_ERROR);
  });
  out.on('continue', () => stream.additionalHeaders({ ':status': 100 }));
  out.on('information', ({ statusCode, rawHeaders }) => {
    if (statusCode !== 100 && statusCode !== 101 && !stream.headersSent) {
      stream.additionalHeaders({ ':status': statusCode, ...responseFields(rawHeaders) });
    }
  });
  out.on('response', (response) => respond(stream, response, method));
  stream.once('close', () => {
    if (!out.destroyed) out.destroy();
  });
  sendBody(stream, out, hasBody);
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
    if (Object.keys(trailers).length > 0) out.addTrailers(trailers as Record<string, string>);
    out.end();
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
  const fields: Record<string, string | string[]> = {};
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i].toLowerCase();
    if (OWN.has(name)) continue;
    const before = fields[name];
    if (before === undefined) fields[name] = raw[i + 1];
    else fields[name] = [...(Array.isArray(before) ? before : [before]), raw[i + 1]];
  }
  return fields;
}

function respond(stream: ServerHttp2Stream, response: IncomingMessage, method: string): void {
  if (stream.destroyed) {
    response.destroy();
    return;
  }
  const { statusCode = 502, rawHeaders } = response;
  const empty = method === 'HEAD' || statusCode === 204 || statusCode === 304;
  const waitForTrailers = !empty && response.headers.trailer !== undefined;
  try {
    stream.respond({ ':status': statusCode, ...responseFields(rawHeaders) }, { endStream: empty, waitForTrailers });
  } catch {
    // A field that HTTP/2 does not know how to send.
    stream.close(NGHTTP2_INTERNAL_ERROR);
    return;
  }
  if (empty) {
    response.resume();
    return;
  }
  response.once('error', () => stream.close(NGHTTP2_INTERNAL_ERROR));
  stream.once('wantTrailers', () => {
    if (Object.keys(response.trailers).length > 0) stream.sendTrailers(response.trailers);
    else stream.close(NGHTTP2_NO_ERROR);
  });
  response.pipe(stream);
  // Who has its answer need not send the rest: RFC 9113, 8.1.
  stream.once('finish', () => {
    if (!stream.readableEnded && !waitForTrailers) stream.close(NGHTTP2_NO_ERROR);
  });
}
