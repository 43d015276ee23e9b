/**
 * The way out of the fetch path: a Response onto an exchange.
 *
 * Ours with a string, bytes or nothing leaves by one send(). Streams are pulled: the next chunk is read when the
 * exchange took the last one, and the reader is cancelled when the client leaves. The head of a stream waits for the
 * end of the loop's turn, so that a body which is complete by then has a length instead of chunks and an error in the
 * first pull is a 500; after that it goes, for the sake of event streams. Other Responses (the platform's, of another
 * fetch implementation) are read through their public interface. Connection and framing headers are the engine's and
 * dropped here, after Content-Length has told the length of a stream.
 */
import { USED_BODY } from './fetch-body.js';
import { type HeaderList, isFraming, lowerName, safeValue } from './fetch-headers.js';
import {
  BODY,
  type FastResponse,
  HEADERS,
  isFastResponse,
  LIST,
  NATIVE,
  SIZE,
  STATUS,
  STATUS_MESSAGE,
  TEXT_HEADERS,
  USED,
} from './fetch-response.js';
import type { FetchExchange } from './types.js';

/** RFC 9112, 4. */
const REASON_PHRASE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** What is needed of any Response. */
interface ResponseLike {
  readonly status: number;
  readonly statusText: string;
  readonly headers: Headers;
  readonly body: ReadableStream | null;
  readonly bodyUsed: boolean;
}

/** Sends what a handler returned. Throws where that cannot be sent; nothing has been then. */
export function sendResponse(exchange: FetchExchange, value: unknown): void {
  if (isFastResponse(value)) {
    if (value[LIST] === TEXT_HEADERS && value[NATIVE] === null && !value[USED] && typeof value[BODY] === 'string') {
      exchange.send(value[STATUS], value[STATUS_MESSAGE], TEXT_HEADERS, value[BODY]);
    } else {
      sendFast(exchange, value);
    }
  } else if (isResponseLike(value)) {
    sendAny(exchange, value);
  } else {
    const what = value === null || typeof value !== 'object' ? String(value) : Object.prototype.toString.call(value);
    throw new TypeError(`The fetch handler returned ${what}, not a Response`);
  }
}

function sendFast(exchange: FetchExchange, response: FastResponse): void {
  const list = response[LIST];
  const body = response[BODY];
  if (response[NATIVE] !== null || (body !== null && typeof body === 'object' && !(body instanceof Uint8Array))) {
    sendAny(exchange, response as unknown as ResponseLike);
    return;
  }
  if (response[USED]) throw new TypeError(USED_BODY);
  const head = list === null ? headOf(response[HEADERS] as Headers) : headOfList(list);
  if (body === null && saysLength(exchange, response[STATUS], head)) {
    exchange.writeHead(response[STATUS], response[STATUS_MESSAGE], head.list, head.said);
    exchange.end();
  } else {
    exchange.send(response[STATUS], response[STATUS_MESSAGE], head.list, body);
  }
}

function sendAny(exchange: FetchExchange, response: ResponseLike): void {
  const { status, body } = response;
  const statusText = response.statusText ?? '';
  if (!Number.isInteger(status) || status < 200 || status > 599) {
    throw new TypeError(`A Response of status ${status} cannot be sent`);
  }
  // The platform looks at it, another implementation may not.
  if (!REASON_PHRASE.test(statusText)) throw new TypeError('The status text of the Response cannot be sent');
  if (response.bodyUsed) throw new TypeError(USED_BODY);
  const head = headOf(response.headers);
  if (isFastResponse(response) && response[SIZE] !== null) head.length = head.said = response[SIZE];
  if (saysLength(exchange, status, head) || (exchange.method === 'HEAD' && body !== null)) {
    body?.cancel().catch(() => {});
    exchange.writeHead(status, statusText, head.list, head.said);
    exchange.end();
  } else if (body === null) {
    exchange.send(status, statusText, head.list, null);
  } else {
    new StreamSender(exchange, status, statusText, head, body).start();
  }
}

function isResponseLike(value: unknown): value is ResponseLike {
  if (typeof value !== 'object' || value === null) return false;
  const { status, headers } = value as Partial<ResponseLike>;
  if (typeof status !== 'number' || typeof headers !== 'object' || headers === null || !('body' in value)) return false;
  return Symbol.iterator in headers;
}

interface Head {
  list: HeaderList;
  /** As the handler's Content-Length says; null without one. */
  said: number | null;
  /** The same, where a body is to be measured by it. */
  length: number | null;
}

/** Where nothing of a body is sent, the length that a GET would have: only the handler knows it. */
function saysLength(exchange: FetchExchange, status: number, head: Head): boolean {
  return head.said !== null && (exchange.method === 'HEAD' || status === 304);
}

function headOfList(list: HeaderList): Head {
  for (let i = 0; i < list.length; i += 2) {
    if (isFraming(list[i])) return filtered(pairs(list));
  }
  return { list, said: null, length: null };
}

function headOf(headers: Headers): Head {
  return filtered(headers as Iterable<[string, string]>);
}

function* pairs(list: HeaderList): Iterable<[string, string]> {
  for (let i = 0; i < list.length; i += 2) yield [list[i], list[i + 1]];
}

function filtered(headers: Iterable<[string, string]>): Head {
  const list: HeaderList = [];
  let length: number | null = null;
  let encoded = false;
  for (const [name, value] of headers) {
    const lower = lowerName(name);
    // The platform lets control characters pass that HTTP does not.
    if (lower === null || !safeValue(value)) throw new TypeError(`Header ${JSON.stringify(name)} cannot be sent`);
    if (isFraming(lower)) {
      if (lower === 'content-length' && /^\d{1,15}$/.test(value)) length = Number(value);
      // The one wish about the connection that a handler may have.
      else if (lower === 'connection' && value.toLowerCase() === 'close') list.push(lower, 'close');
      continue;
    }
    if (lower === 'content-encoding') encoded = true;
    list.push(lower, value);
  }
  // A response of fetch() still says the length that it had before fetch() decoded it.
  return { list, said: length, length: encoded ? null : length };
}

/** Fetch itself allows a Uint8Array alone; strings and other views are what handlers for Node's servers give, too. */
function bytesOf(chunk: unknown): Uint8Array | null {
  if (chunk instanceof Uint8Array) return chunk;
  if (typeof chunk === 'string') return Buffer.from(chunk);
  return ArrayBuffer.isView(chunk) ? new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength) : null;
}

class StreamSender {
  readonly #exchange: FetchExchange;
  readonly #status: number;
  readonly #statusText: string;
  readonly #head: Head;
  readonly #reader: ReadableStreamDefaultReader<unknown>;
  /** The only chunk so far, while the head waits. */
  #held: Uint8Array | null = null;
  /** Bytes read from the stream. */
  #count = 0;
  #headSent = false;
  #gone = false;
  /** Set while the exchange takes nothing. */
  #blocked = false;
  #resume: (() => void) | null = null;

  constructor(exchange: FetchExchange, status: number, statusText: string, head: Head, body: ReadableStream) {
    this.#exchange = exchange;
    this.#status = status;
    this.#statusText = statusText;
    this.#head = head;
    this.#reader = body.getReader();
  }

  start(): void {
    const exchange = this.#exchange;
    const abort = (reason: Error) => {
      this.#gone = true;
      this.#reader.cancel(reason).catch(() => {});
      this.#resume?.();
    };
    if (exchange.aborted) {
      abort(new Error('The client left'));
      return;
    }
    exchange.onAbort(abort);
    const timer = setImmediate(() => {
      try {
        if (!this.#gone) this.#sendHead();
      } catch (err) {
        this.#fail(err);
      }
    });
    this.#pull()
      .catch((err) => this.#fail(err))
      .finally(() => clearImmediate(timer));
  }

  #fail(err: unknown): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#reader.cancel(err).catch(() => {});
    this.#exchange.fail(err);
  }

  async #pull(): Promise<void> {
    const reader = this.#reader;
    const { length } = this.#head;
    for (;;) {
      const { done, value: chunk } = await reader.read();
      if (this.#gone) return;
      if (done) return this.#finish();
      const value = bytesOf(chunk);
      if (value === null) {
        throw new TypeError(`A response stream gave ${typeof chunk}; chunks must be Uint8Array`);
      }
      if (value.byteLength === 0) continue;
      this.#count += value.byteLength;
      if (length !== null && this.#count > length) {
        throw new RangeError(`The response stream is longer than its Content-Length of ${length}`);
      }
      if (!this.#headSent) {
        if (this.#held === null) {
          this.#held = value;
          continue;
        }
        this.#sendHead();
      }
      if (this.#blocked) await this.#drained();
      if (this.#gone) return;
      if (!this.#exchange.write(value)) this.#blocked = true;
      if (this.#blocked) await this.#drained();
      if (this.#gone) return;
    }
  }

  #sendHead(): void {
    if (this.#headSent) return;
    this.#headSent = true;
    this.#exchange.writeHead(this.#status, this.#statusText, this.#head.list, this.#head.length);
    if (this.#held !== null && !this.#exchange.write(this.#held)) this.#blocked = true;
    this.#held = null;
  }

  #finish(): void {
    if (!this.#headSent && this.#head.length === null) {
      this.#exchange.send(this.#status, this.#statusText, this.#head.list, this.#held);
    } else {
      this.#sendHead();
      this.#exchange.end();
    }
    this.#gone = true;
  }

  #drained(): Promise<void> {
    return new Promise((resolve) => {
      const resume = () => {
        this.#blocked = false;
        this.#resume = null;
        resolve();
      };
      this.#resume = resume;
      this.#exchange.onDrain(resume);
    });
  }
}
