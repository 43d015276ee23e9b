/**
 * A Response that costs a fifth of a microsecond where the platform's costs twenty.
 *
 * FastResponse keeps what it was constructed with. For the usual arguments (string, bytes, stream or no body;
 * headers as a plain object) it checks and stores them itself; everything else goes to the platform's constructor
 * at once, so that conversions and thrown errors are the platform's own. The rest of the Response interface is
 * answered from the stored parts where that is short, otherwise by a native Response made on demand. The prototype
 * chain ends in the native class, so instanceof holds both ways, and reading a header materializes real Headers.
 * The state's symbols are exported for fetch-send.ts, which sends what is stored without asking the interface.
 */
import * as stream from 'node:stream';
import { types } from 'node:util';
import { decodeText, delegateRest, forwardInternals, toArrayBuffer, USED_BODY } from './fetch-body.js';
import { appendOnce, type HeaderList, lowerName, safeValue } from './fetch-headers.js';
import type { Platform } from './fetch-platform.js';

/** Not in @types/node. */
const { isDisturbed } = stream as unknown as { isDisturbed(body: unknown): boolean };

let NativeHeaders: typeof Headers;
let NativeResponse: typeof Response;

const TEXT_PLAIN = 'text/plain;charset=UTF-8';
const FORM_URLENCODED = 'application/x-www-form-urlencoded;charset=UTF-8';
const JSON_TYPE = 'application/json';
/** The header list of `new Response('text')`. Shared: nobody writes to a list that was taken. */
export const TEXT_HEADERS: HeaderList = ['content-type', TEXT_PLAIN];
const NO_HEADERS: HeaderList = [];
const STATUS_TEXT = /^[\t\x20-\x7e\x80-\xff]*$/;

export type FastBody = string | Uint8Array | ReadableStream | null;
type Init = ResponseInit | undefined | null;

// State lives under symbols rather than private fields so that a Proxy around a response works, as with the native.
export const BODY = Symbol('body');
export const STATUS = Symbol('status');
export const STATUS_MESSAGE = Symbol('statusText');
/** Flat list of lower-case names and values; null once HEADERS holds the truth. */
export const LIST = Symbol('headerList');
export const HEADERS = Symbol('headers');
export const USED = Symbol('used');
export const NATIVE = Symbol('native');
/** Bytes of the body where only its source knew them (a Blob); null: unknown. */
export const SIZE = Symbol('size');
/** Redirects have immutable headers. */
const REDIRECT = Symbol('redirect');

export class FastResponse {
  [BODY]: FastBody = null;
  [STATUS] = 200;
  [STATUS_MESSAGE] = '';
  [LIST]: HeaderList | null = NO_HEADERS;
  [HEADERS]: Headers | null = null;
  [USED] = false;
  [NATIVE]: Response | null = null;
  [REDIRECT] = false;
  [SIZE]: number | null = null;

  constructor(body?: unknown, init?: Init) {
    if (typeof body === 'string' && init === undefined) {
      this[BODY] = body;
      this[LIST] = TEXT_HEADERS;
    } else if (!this.#store(body, init)) {
      this.#fallBack(body, init);
    }
  }

  /** Stores body and init if they are of the usual kinds; false: the platform must look at them. */
  #store(body: unknown, init: Init): boolean {
    let type: string | null = null;
    if (typeof body === 'string') {
      this[BODY] = body;
      type = TEXT_PLAIN;
    } else if (body !== null && body !== undefined) {
      if (body instanceof ReadableStream) {
        if (body.locked || isDisturbed(body)) return false;
        this[BODY] = body;
      } else if (body instanceof URLSearchParams) {
        this[BODY] = body.toString();
        type = FORM_URLENCODED;
      } else {
        const bytes = copyBytes(body);
        if (bytes === null) return false;
        this[BODY] = bytes;
      }
    }
    if (init !== undefined && init !== null) return this.#init(init, type);
    if (type !== null) this[LIST] = ['content-type', type];
    return true;
  }

  /** Reads init in the platform's order: headers, status, statusText. type: the default content-type of the body. */
  #init(init: object, type: string | null): boolean {
    if (typeof init !== 'object') return false;
    const { headers, status, statusText } = init as { headers?: unknown; status?: unknown; statusText?: unknown };
    if (status !== undefined) {
      if (typeof status !== 'number' || !(status >= 200 && status <= 599) || status % 1 !== 0) return false;
      if ((status === 204 || status === 205 || status === 304) && this[BODY] !== null) return false;
      this[STATUS] = status;
    }
    if (statusText !== undefined && statusText !== '') {
      if (typeof statusText !== 'string' || !STATUS_TEXT.test(statusText)) return false;
      this[STATUS_MESSAGE] = statusText;
    }
    if (headers === undefined) {
      if (type !== null) this[LIST] = type === TEXT_PLAIN ? TEXT_HEADERS : ['content-type', type];
      return true;
    }
    const list = listOf(headers, type);
    if (list !== null) {
      this[LIST] = list;
      return true;
    }
    // Unusual headers: the platform's Headers converts and checks them. Status and text are known to be good, so an
    // error here is the one that the native constructor would throw.
    const native = new NativeHeaders(headers as Headers);
    if (type !== null && !native.has('content-type')) native.set('content-type', type);
    this[HEADERS] = native;
    this[LIST] = null;
    return true;
  }

  #fallBack(body: unknown, init: Init): void {
    const native = new NativeResponse(body as string, init as ResponseInit);
    this[BODY] = null;
    this[NATIVE] = native;
    this[STATUS] = native.status;
    this[STATUS_MESSAGE] = native.statusText;
    this[HEADERS] = native.headers;
    this[LIST] = null;
    if (body instanceof Blob) this[SIZE] = body.size;
  }

  get status(): number {
    return this[STATUS];
  }
  get statusText(): string {
    return this[STATUS_MESSAGE];
  }
  get ok(): boolean {
    return this[STATUS] >= 200 && this[STATUS] <= 299;
  }
  get type(): 'default' {
    return 'default';
  }
  get url(): string {
    return '';
  }
  get redirected(): boolean {
    return false;
  }

  get headers(): Headers {
    return this[HEADERS] ?? this.#makeHeaders();
  }

  #makeHeaders(): Headers {
    const list = this[LIST] ?? NO_HEADERS;
    let headers: Headers;
    if (this[REDIRECT]) {
      headers = NativeResponse.redirect(list[1], this[STATUS] as 302).headers;
    } else {
      headers = new NativeHeaders();
      for (let i = 0; i < list.length; i += 2) headers.append(list[i], list[i + 1]);
    }
    this[LIST] = null;
    this[HEADERS] = headers;
    return headers;
  }

  get body(): ReadableStream | null {
    const body = this[BODY];
    if (this[NATIVE] === null && (body === null || typeof body === 'object')) {
      if (body === null) return null;
      if (body instanceof ReadableStream) return body;
    }
    return nativeOf(this).body;
  }

  get bodyUsed(): boolean {
    if (this[USED]) return true;
    const native = this[NATIVE];
    if (native !== null) return native.bodyUsed;
    const body = this[BODY];
    return body !== null && typeof body === 'object' && !(body instanceof Uint8Array) && isDisturbed(body);
  }

  async text(): Promise<string> {
    const body = this.#takeBody();
    return body === undefined ? nativeOf(this).text() : decodeText(body);
  }

  async json(): Promise<unknown> {
    const body = this.#takeBody();
    return body === undefined ? nativeOf(this).json() : JSON.parse(decodeText(body));
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    const body = this.#takeBody();
    return body === undefined ? nativeOf(this).arrayBuffer() : toArrayBuffer(body);
  }

  async bytes(): Promise<Uint8Array> {
    return new Uint8Array(await this.arrayBuffer());
  }

  /** Marks a string or byte body as read and returns it; undefined where the native Response must do it. */
  #takeBody(): string | Uint8Array | null | undefined {
    if (this[USED]) throw new TypeError(USED_BODY);
    const body = this[BODY];
    if (this[NATIVE] !== null) return undefined;
    if (body === null) return null;
    if (typeof body !== 'string' && !(body instanceof Uint8Array)) return undefined;
    this[USED] = true;
    return body;
  }

  clone(): FastResponse {
    if (this.bodyUsed || (this[NATIVE]?.body ?? (this[BODY] as ReadableStream | null))?.locked === true) {
      throw new TypeError('Response.clone: Body has already been consumed.');
    }
    const copy = new FastResponse();
    copy[STATUS] = this[STATUS];
    copy[STATUS_MESSAGE] = this[STATUS_MESSAGE];
    copy[REDIRECT] = this[REDIRECT];
    copy[SIZE] = this[SIZE];
    copy[LIST] = this[LIST];
    copy[HEADERS] = this[HEADERS] === null ? null : new NativeHeaders(this[HEADERS] as never);
    const body = this[BODY];
    if (this[NATIVE] !== null) {
      copy[NATIVE] = this[NATIVE].clone();
    } else if (body instanceof ReadableStream) {
      [this[BODY], copy[BODY]] = body.tee();
    } else {
      copy[BODY] = body;
    }
    return copy;
  }

  /** As the platform's Response.json. */
  static json(data: unknown, init?: Init): FastResponse {
    const text = JSON.stringify(data);
    if (text === undefined) throw new TypeError('Response.json: the value cannot be serialized to JSON');
    const response = new FastResponse();
    response[BODY] = text;
    if (!response.#init(init ?? {}, JSON_TYPE)) {
      response.#fallBack(text, init);
      if (!hasType(init)) response.headers.set('content-type', JSON_TYPE);
    }
    return response;
  }

  /** As the platform's Response.redirect. */
  static redirect(url: string | URL, status: number = 302): Response | FastResponse {
    if (status !== 301 && status !== 302 && status !== 303 && status !== 307 && status !== 308) {
      return NativeResponse.redirect(url, status as 302);
    }
    let location: string;
    try {
      location = new URL(String(url)).href;
    } catch {
      return NativeResponse.redirect(url, status as 302);
    }
    const response = new FastResponse();
    response[STATUS] = status;
    response[LIST] = ['location', location];
    response[REDIRECT] = true;
    return response;
  }

  /** As the platform's Response.error: status 0, which no handler can send. */
  static error(): Response {
    return NativeResponse.error();
  }
}

// Native responses (from fetch(), or made before the override) are instances too; subclasses are as usual.
Object.defineProperty(FastResponse, Symbol.hasInstance, {
  value(this: unknown, candidate: unknown): boolean {
    return Function.prototype[Symbol.hasInstance].call(this === FastResponse ? NativeResponse : this, candidate);
  },
});

/** The native twin of a response, made at the first need; its body is then the body. */
function nativeOf(response: FastResponse): Response {
  let native = response[NATIVE];
  if (native === null) {
    native = new NativeResponse(response[BODY], {
      status: response[STATUS],
      statusText: response[STATUS_MESSAGE],
      headers: response.headers as never,
    });
    // The stored body was read by a short way: the twin's has to be spent as well.
    if (response[USED]) native.arrayBuffer().catch(() => {});
    response[NATIVE] = native;
  }
  return native;
}

/**
 * A header list from a plain object of good names and values; null for anything else. type is added where no
 * content-type is given.
 */
function listOf(headers: unknown, type: string | null): HeaderList | null {
  if (typeof headers !== 'object' || headers === null) return null;
  const prototype = Object.getPrototypeOf(headers);
  if ((prototype !== Object.prototype && prototype !== null) || Symbol.iterator in headers) return null;
  if (types.isProxy(headers) || Object.getOwnPropertySymbols(headers).length > 0) return null;
  const list: HeaderList = [];
  let typed = type === null;
  for (const name in headers) {
    const value = (headers as Record<string, unknown>)[name];
    const lower = lowerName(name);
    if (lower === null || typeof value !== 'string' || !safeValue(value)) return null;
    if (lower === 'content-type') typed = true;
    if (!appendOnce(list, lower, value)) return null;
  }
  if (!typed) list.push('content-type', type as string);
  return list;
}

function hasType(init: Init): boolean {
  return new NativeHeaders(init?.headers).has('content-type');
}

/** The platform takes a copy at construction, so that a reused buffer does not change the response. */
function copyBytes(body: unknown): Uint8Array | null {
  if (types.isArrayBuffer(body)) return Buffer.from(new Uint8Array(body));
  if (!ArrayBuffer.isView(body) || !types.isArrayBuffer(body.buffer)) return null;
  const view = new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
  return Buffer.from(view);
}

/** Makes FastResponse one of the platform's kind; once, before the first. */
export function linkResponse(platform: Platform): void {
  NativeHeaders = platform.Headers;
  NativeResponse = platform.Response;
  Object.setPrototypeOf(FastResponse.prototype, NativeResponse.prototype);
  Object.setPrototypeOf(FastResponse, NativeResponse);
  Object.defineProperty(FastResponse, 'name', { value: 'Response' });
  delegateRest(FastResponse.prototype, NativeResponse.prototype, nativeOf);
  forwardInternals(FastResponse.prototype, new NativeResponse(), nativeOf);
}

/** True for our own kind, without the cost of instanceof through Symbol.hasInstance. */
export function isFastResponse(value: unknown): value is FastResponse {
  return typeof value === 'object' && value !== null && USED in value;
}
