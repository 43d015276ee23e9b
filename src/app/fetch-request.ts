/**
 * The Request that a handler is given: a view of the exchange in which every part is made at the first look.
 *
 * method, url and headers come from the request line and the received list. text(), json() and arrayBuffer() read
 * Node's stream directly. The signal registers with the exchange when it is asked for. Everything else (body,
 * formData, blob, clone, the properties about caching and modes) makes the platform's Request, once, with the body as
 * a web stream, and asks that. The prototype chain ends in the native class, so instanceof holds.
 */
import type { IncomingMessage } from 'node:http';
import { CONTROL } from '../request.js';
import { decodeText, delegateRest, forwardInternals, toArrayBuffer, USED_BODY } from './fetch-body.js';
import { adoptHeaders, nativeHeaders, RequestHeaders } from './fetch-headers.js';
import type { Platform } from './fetch-platform.js';
import { bodyStream, leftEarly } from './fetch-stream.js';
import { requestUrl } from './fetch-url.js';
import type { FetchExchange } from './types.js';

let NativeRequest: typeof Request;

const EXCHANGE = Symbol('exchange');
const URL_TEXT = Symbol('url');
const HEADERS = Symbol('headers');
const CONTROLLER = Symbol('controller');
const USED = Symbol('used');
const REAL = Symbol('real');

export class LazyRequest {
  [EXCHANGE]: FetchExchange;
  [URL_TEXT]: string | null = null;
  [HEADERS]: RequestHeaders | null = null;
  [CONTROLLER]: AbortController | null = null;
  [USED] = false;
  [REAL]: Request | null = null;

  constructor(exchange: FetchExchange) {
    this[EXCHANGE] = exchange;
  }

  get method(): string {
    return this[EXCHANGE].method;
  }

  get url(): string {
    let url = this[URL_TEXT];
    if (url === null) {
      url = requestUrl(this[EXCHANGE], lazyHeaders(this).get('host'));
      this[URL_TEXT] = url;
    }
    return url;
  }

  get headers(): Headers {
    return lazyHeaders(this) as unknown as Headers;
  }

  get [CONTROL](): FetchExchange {
    return this[EXCHANGE];
  }

  get signal(): AbortSignal {
    let controller = this[CONTROLLER];
    if (controller === null) {
      controller = new AbortController();
      this[CONTROLLER] = controller;
      const exchange = this[EXCHANGE];
      const abort = (reason?: Error) => controller?.abort(abortReason(reason));
      if (exchange.aborted) abort();
      else exchange.onAbort(abort);
    }
    return controller.signal;
  }

  get bodyUsed(): boolean {
    return this[USED] || (this[REAL]?.bodyUsed ?? false);
  }

  async text(): Promise<string> {
    const real = this[REAL];
    return real === null ? decodeText(await readBody(this)) : real.text();
  }

  async json(): Promise<unknown> {
    const real = this[REAL];
    return real === null ? JSON.parse(decodeText(await readBody(this))) : real.json();
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    const real = this[REAL];
    return real === null ? toArrayBuffer(await readBody(this)) : real.arrayBuffer();
  }

  async bytes(): Promise<Uint8Array> {
    return new Uint8Array(await this.arrayBuffer());
  }

  clone(): Request {
    if (this[USED]) throw new TypeError('Request.clone: Body has already been consumed.');
    return new NativeRequest(realRequest(this).clone(), { signal: this.signal });
  }
}

function lazyHeaders(request: LazyRequest): RequestHeaders {
  let headers = request[HEADERS];
  if (headers === null) {
    headers = new RequestHeaders(request[EXCHANGE].rawHeaders);
    request[HEADERS] = headers;
  }
  return headers;
}

/** As the head says: an empty body is one, too. A GET or HEAD has none in fetch, whatever the client sent: the engine drains it. */
function hasBody({ method, hasBody, rawHeaders }: FetchExchange): boolean {
  return method !== 'GET' && method !== 'HEAD' && (hasBody || framesBody(rawHeaders));
}

/** RFC 9112, 6. */
function framesBody(rawHeaders: readonly string[]): boolean {
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (/^(?:content-length|transfer-encoding)$/i.test(rawHeaders[i])) return true;
  }
  return false;
}

/** All of the body, from Node's stream. */
async function readBody(request: LazyRequest): Promise<Uint8Array | null> {
  const exchange = request[EXCHANGE];
  if (!hasBody(exchange)) return null;
  if (request[USED]) throw new TypeError(USED_BODY);
  request[USED] = true;
  return exchange.hasBody ? collect(exchange.req) : null;
}

function collect(stream: IncomingMessage): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.once('end', () => resolve(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks)));
    stream.once('error', reject);
    stream.once('close', () => reject(leftEarly()));
    if (stream.destroyed) stream.emit('close');
  });
}

/**
 * The platform's Request for this one, made at the first need; it then owns the body. It has no part in our signal:
 * following one costs more than all the rest (40 us), and only what is handed on needs it.
 */
export function realRequest(request: LazyRequest): Request {
  let real = request[REAL];
  if (real === null) {
    const exchange = request[EXCHANGE];
    const headers = lazyHeaders(request);
    const init: RequestInit = {
      method: exchange.method,
      headers: nativeHeaders(headers) as never,
    };
    if (hasBody(exchange)) {
      init.body = request[USED] ? '' : (bodyStream(exchange.req) as never);
      init.duplex = 'half';
    }
    real = new NativeRequest(request.url, init);
    // Read already by a short way: the real one's body has to be spent as well.
    if (request[USED]) real.arrayBuffer().catch(() => {});
    adoptHeaders(headers, real.headers as never);
    request[REAL] = real;
  }
  return real;
}

/** What request.signal.reason is: a DOMException, as the platform's, unless the engine already gives one by name. */
function abortReason(reason?: Error): unknown {
  if (reason?.name === 'AbortError' || reason?.name === 'TimeoutError') return reason;
  return new DOMException(reason?.message ?? 'The client left', 'AbortError');
}

/**
 * For the platform's functions that take a Request, and the body with it: a native one for a LazyRequest, which aborts
 * when the client leaves; any other value as it is. init: what they are given beside it. A body there leaves the request its own.
 */
export function unwrapRequest(input: unknown, init?: unknown): unknown {
  if (typeof input !== 'object' || input === null || !(EXCHANGE in input)) return input;
  const request = input as LazyRequest;
  const { method, signal } = request;
  const body = (init as RequestInit | null | undefined)?.body ?? null;
  if (body === null) return new NativeRequest(realRequest(request), { signal });
  return new NativeRequest(request.url, { method, signal, headers: nativeHeaders(lazyHeaders(request)) as never });
}

/** Makes LazyRequest one of the platform's kind; once, before the first. */
export function linkRequest(platform: Platform): void {
  NativeRequest = platform.Request;
  Object.setPrototypeOf(LazyRequest.prototype, NativeRequest.prototype);
  Object.defineProperty(LazyRequest, 'name', { value: 'Request' });
  delegateRest(LazyRequest.prototype, NativeRequest.prototype, realRequest);
  // Ours takes an exchange: who makes another one of a request's kind means the platform's.
  Reflect.deleteProperty(LazyRequest.prototype, 'constructor');
  forwardInternals(LazyRequest.prototype, new NativeRequest('http://localhost/'), realRequest);
}
