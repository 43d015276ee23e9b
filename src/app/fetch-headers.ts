/**
 * Headers for the fetch path. A HeaderList is flat (name, value, name, value...), with lower-case names where it is
 * ours. Checking one against the grammar is cheap for what apps really write: names are looked up in a small table
 * of names seen to be good, values run through one expression. What does not pass is left to the platform's Headers.
 *
 * RequestHeaders is the `headers` of a request: get and has read the received list; the first call of anything else
 * makes the platform's Headers, which answers from then on.
 */
import { delegateRest } from './fetch-body.js';
import type { Platform } from './fetch-platform.js';

export type HeaderList = string[];

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const BAD_IN_VALUE = /[^\t\x20-\x7e\x80-\xff]/;
/** Above this many distinct names (an app that makes them up) the table starts anew. */
const MAX_NAMES = 512;
const names = new Map<string, string>();

/** The name in lower case; null if it is not a header name. */
export function lowerName(name: string): string | null {
  const known = names.get(name);
  if (known !== undefined) return known;
  if (!TOKEN.test(name)) return null;
  const lower = name.toLowerCase();
  if (names.size >= MAX_NAMES) names.clear();
  names.set(name, lower);
  return lower;
}

/** True if a value may be sent as it is: visible characters, with spaces and tabs only inside. */
export function safeValue(value: string): boolean {
  if (value === '') return true;
  return value.charCodeAt(0) > 0x20 && value.charCodeAt(value.length - 1) > 0x20 && !BAD_IN_VALUE.test(value);
}

/** Appends to a list in which each name stands once; false if it is there already. */
export function appendOnce(list: HeaderList, lower: string, value: string): boolean {
  for (let i = 0; i < list.length; i += 2) if (list[i] === lower) return false;
  list.push(lower, value);
  return true;
}

let NativeHeaders: typeof Headers;

const RAW = Symbol('rawHeaders');
const NATIVE = Symbol('native');

export class RequestHeaders {
  [RAW]: string[];
  [NATIVE]: Headers | null = null;

  /** raw: as received, in the client's spelling. Not copied, not changed. */
  constructor(raw: string[]) {
    this[RAW] = raw;
  }

  get(name: string): string | null {
    const native = this[NATIVE];
    const lower = native === null && typeof name === 'string' ? lowerName(name) : null;
    if (lower === null) return nativeHeaders(this).get(name);
    const raw = this[RAW];
    let found: string | null = null;
    for (let i = 0; i < raw.length; i += 2) {
      if (!sameName(raw[i], lower)) continue;
      found = found === null ? raw[i + 1] : `${found}${lower === 'cookie' ? '; ' : ', '}${raw[i + 1]}`;
    }
    return found;
  }

  has(name: string): boolean {
    const native = this[NATIVE];
    const lower = native === null && typeof name === 'string' ? lowerName(name) : null;
    if (lower === null) return nativeHeaders(this).has(name);
    const raw = this[RAW];
    for (let i = 0; i < raw.length; i += 2) if (sameName(raw[i], lower)) return true;
    return false;
  }
}

function sameName(name: string, lower: string): boolean {
  return name.length === lower.length && (name === lower || name.toLowerCase() === lower);
}

/** The platform's Headers behind a request's headers. */
export function nativeHeaders(headers: RequestHeaders): Headers {
  let native = headers[NATIVE];
  if (native === null) {
    native = new NativeHeaders();
    const raw = headers[RAW];
    for (let i = 0; i < raw.length; i += 2) native.append(raw[i], raw[i + 1]);
    headers[NATIVE] = native;
  }
  return native;
}

/** Makes native (the headers of the real Request) the one that answers. */
export function adoptHeaders(headers: RequestHeaders, native: Headers): void {
  headers[NATIVE] = native;
}

/** Makes RequestHeaders one of the platform's kind; once, before the first. */
export function linkHeaders(platform: Platform): void {
  NativeHeaders = platform.Headers;
  Object.setPrototypeOf(RequestHeaders.prototype, NativeHeaders.prototype);
  delegateRest(RequestHeaders.prototype, NativeHeaders.prototype, nativeHeaders);
  Reflect.deleteProperty(RequestHeaders.prototype, 'constructor');
}

/** Names that describe the connection and the framing, which are the engine's. */
const FRAMING = new Set([
  'connection',
  'content-length',
  'keep-alive',
  'proxy-connection',
  'trailer',
  'transfer-encoding',
]);

export function isFraming(lower: string): boolean {
  return FRAMING.has(lower);
}
