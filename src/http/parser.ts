/**
 * Requests from bytes: llhttp with gunicorn's limits, and strict where llhttp is not (strict.ts). One RequestParser for each thread; one MessageParser (llhttp's own
 * state, a pointer) for each message that is being read, because a body may take many turns of the event loop.
 *
 * A head is always parsed from its first byte in one piece: bytes of an incomplete one are kept for the fd and the head is
 * parsed anew when more came (thread/handle.ts), so any thread can go on with it. Bodies and trailers go on in the
 * same MessageParser, split anywhere.
 */
import type { Watch } from '../trust.js';
import {
  HPE_INVALID_METHOD,
  HPE_INVALID_VERSION,
  HPE_OK,
  HPE_PAUSED,
  HPE_PAUSED_UPGRADE,
  HPE_USER,
  Llhttp,
} from './llhttp.js';
import {
  areTrailers,
  authorityOf,
  ChunkMeter,
  codingStatus,
  emptyLines,
  isHost,
  isOriginForm,
  isOtherForm,
  keepsAlive,
  methodStatus,
} from './strict.js';
import { Trailers } from './trailers.js';

export interface Limits {
  /** Bytes of the request line, 0 = none (gunicorn: limit_request_line). */
  line: number;
  /** Number of header fields (gunicorn: limit_request_fields). */
  fields: number;
  /** Bytes of a header field, name and value, 0 = none (gunicorn: limit_request_field_size). */
  fieldSize: number;
}

/** What execute() came to. */
export const NEED_MORE = 0;
export const HEAD_DONE = 1;
export const MESSAGE_DONE = 2;
export const FAILED = 3;

/** llhttp's state for one message. Free ones are reused. */
export interface MessageParser {
  pointer: number;
  trailers: Trailers;
  /** What its Content-Length says, -1 = it has none. */
  length: number;
  /** The body is chunked: bounds its framing. */
  chunked: boolean;
  chunks: ChunkMeter;
}

const INPUT_BYTES = 64 * 1024;
const METHOD_ROOM = 32; // longest method and the spaces and version of a request line

export class RequestParser {
  readonly limits: Limits;
  /** Longest head that the limits allow (bounded at 1 MiB where they do not). */
  readonly maxHead: number;
  private readonly llhttp: Llhttp;
  private readonly free: MessageParser[] = [];
  private current!: MessageParser;

  // The head that was read last; valid from HEAD_DONE until the next begin().
  method = '';
  url = '';
  versionMajor = 1;
  versionMinor = 1;
  keepAlive = false;
  upgrade = false;
  /** The target is an absolute one that says https. */
  https = false;
  /** A field may be one that somebody watches for. */
  notable = false;
  /** name, value, name, value ... as received, values without the white space around them. */
  headers: string[] = [];
  /** Body pieces that the last execute() met: at, length, at, length ... in memory. */
  readonly body: number[] = [];
  /** Bytes that the last execute() took, when it came to MESSAGE_DONE. */
  consumed = 0;
  /** Status that answers a FAILED message, and why. */
  status = 400;
  reason = '';

  private urlAt = 0;
  private urlEnd = 0;
  private start = 0;
  private headEnd = 0;
  /** Where the first trailer begins that the last execute() met, 0 = none. */
  private trailerAt = 0;
  /** The bytes of the Host that was looked at last and found good. */
  private readonly goodHost = Buffer.alloc(256);
  private goodHostLength = 0;
  private headDone = false;
  private messageDone = false;
  private fieldCount = 0;
  private expectValue = false;
  /** For each field: name at, name end, value at, value end. */
  private readonly spans: Int32Array;
  /** 1 for the lengths of names (modulo 256) that are watched for. */
  private readonly watched = new Uint8Array(256);
  private readonly underscores: boolean;

  /** watch: which fields make a request notable; none if it is left out. */
  constructor(limits: Limits, watch: Watch = { lengths: [], underscores: false }) {
    this.limits = limits;
    this.maxHead = maxHead(limits);
    for (const length of watch.lengths) this.watched[length & 255] = 1;
    this.underscores = watch.underscores;
    this.spans = new Int32Array((limits.fields + 1) * 4);
    this.llhttp = new Llhttp(this.callbacks(), INPUT_BYTES);
  }

  /** View for recv(): offset `inputAt`, at most `inputSize` bytes. Not stable over grow(). */
  get memory(): Buffer {
    return this.llhttp.memory;
  }
  get inputAt(): number {
    return this.llhttp.inputAt;
  }
  get inputSize(): number {
    return this.llhttp.inputSize;
  }

  /** The head that was begun last, refused or not, asks for no body. */
  get asksHead(): boolean {
    return this.memory.latin1Slice(this.start, this.start + 5) === 'HEAD ';
  }

  grow(keep: number): void {
    this.llhttp.grow(Math.min(this.inputSize * 2, this.maxHead + INPUT_BYTES), keep);
  }

  /** What comes is no head: nothing is known of what an answer should be. */
  forget(): void {
    this.start = this.inputAt;
  }

  /** A parser for a new message. */
  begin(): MessageParser {
    const message = this.free.pop() ?? {
      pointer: this.llhttp.allocate(),
      trailers: new Trailers(),
      length: -1,
      chunked: false,
      chunks: new ChunkMeter(),
    };
    this.llhttp.exports.llhttp_reset(message.pointer);
    return message;
  }

  /** Gives a parser back when its message is over. */
  end(message: MessageParser): void {
    message.trailers.reset();
    message.length = -1;
    if (message.chunked) {
      message.chunked = false;
      message.chunks.reset();
    }
    this.free.push(message);
  }

  /**
   * Parses a head (and what of the body is there) from its first byte: `length` bytes at `at` in memory.
   * NEED_MORE: no complete head. HEAD_DONE: the body goes on. MESSAGE_DONE: `consumed` bytes were the whole message.
   * FAILED: `status` and `reason` answer it.
   */
  head(message: MessageParser, at: number, length: number): number {
    this.headDone = false;
    this.fieldCount = 0;
    this.expectValue = false;
    this.urlAt = this.urlEnd = 0;
    let skip = 0;
    this.start = at;
    const first = this.memory[at];
    if (first === 13 || first === 10) {
      skip = emptyLines(this.memory, at, length);
      if (skip < 0) return this.failed(400, 'Malformed empty lines');
      if (skip === length) return NEED_MORE;
    }
    this.start = at + skip;
    // HTTP/2's preface, reserved (RFC 9113, 11.6): llhttp would wait for the rest of it behind what looks like a whole head.
    if (this.memory[this.start] === 80 && length - skip >= 4 && isPreface(this.memory, this.start)) {
      return this.failed(400, 'HTTP/2 is not spoken here');
    }
    const result = this.execute(message, this.start, length - skip);
    this.consumed += skip;
    return result;
  }

  /** Goes on with a body: HEAD_DONE (more to come), MESSAGE_DONE or FAILED. */
  more(message: MessageParser, at: number, length: number): number {
    this.headDone = true;
    return this.execute(message, at, length);
  }

  private execute(message: MessageParser, at: number, length: number): number {
    const { exports } = this.llhttp;
    this.current = message;
    this.messageDone = false;
    // Emptying an empty array is a call into the runtime, too.
    if (this.body.length > 0) this.body.length = 0;
    this.status = 0;
    this.trailerAt = 0;
    const headBefore = this.headDone;
    const error = exports.llhttp_execute(message.pointer, at, length);
    if (error === HPE_OK) {
      if (!this.headDone) return this.checkPartial(at + length);
      if (!this.trailersFit(message, at, at + length)) return FAILED;
      return message.chunked && !this.chunksFit(message, at, at + length, headBefore) ? FAILED : HEAD_DONE;
    }
    if ((error === HPE_PAUSED || error === HPE_PAUSED_UPGRADE) && this.messageDone) {
      this.consumed = exports.llhttp_get_error_pos(message.pointer) - at;
      if (!this.trailersFit(message, at, at + this.consumed)) return FAILED;
      if (message.trailers.bytes > 0 && !areTrailers(message.trailers.list)) return this.failed(400, 'Invalid trailer');
      return message.chunked && !this.chunksFit(message, at, at + this.consumed, headBefore) ? FAILED : MESSAGE_DONE;
    }
    if (this.status === 0) {
      this.reason = this.llhttp.reason(message.pointer);
      // llhttp has the same number for what is no version at all.
      const version = error === HPE_INVALID_VERSION && this.reason === 'Invalid HTTP version';
      // Methods of RTSP.
      const method = !headBefore && this.reason === 'Invalid method for HTTP/x.x request';
      this.status = version ? 505 : method ? 501 : 400;
      if (error === HPE_INVALID_METHOD && !headBefore) {
        this.status = methodStatus(this.memory, at, length);
        if (this.status === 0) return NEED_MORE;
      }
    }
    return FAILED;
  }

  /** False where the trailers are longer than a head may be. */
  private trailersFit({ trailers }: MessageParser, at: number, end: number): boolean {
    if (trailers.bytes === 0) return true;
    trailers.section += end - (this.trailerAt || at);
    if (trailers.section > this.maxHead) this.fail(431, 'Trailers too long');
    return trailers.section <= this.maxHead;
  }

  /** False where chunk lines are too long, or none. */
  private chunksFit(message: MessageParser, at: number, end: number, headBefore: boolean): boolean {
    const from = headBefore ? at : this.memory.indexOf('\r\n\r\n', this.start, 'latin1') + 4;
    const wrong = message.chunks.look(this.memory, from, end, this.body, this.trailerAt, this.messageDone);
    if (wrong !== '') this.fail(400, wrong);
    return wrong === '';
  }

  private fail(status: number, reason: string): number {
    this.status = status;
    this.reason = reason;
    return HPE_USER;
  }

  /** Limits of a head that is not complete. */
  private checkPartial(end: number): number {
    const { line, fieldSize } = this.limits;
    const { urlEnd } = this;
    // HTTP/0.9 has no version there; llhttp goes on to fields.
    if (urlEnd > 0 && urlEnd < end && this.memory[urlEnd] !== 32) return this.failed(400, 'Malformed request line');
    if (this.fieldCount === 0 && !this.expectValue) {
      // Inside the request line, or just behind it.
      const seen = (this.urlEnd > 0 ? this.urlEnd : end) - this.start;
      if ((line > 0 && seen > line + METHOD_ROOM) || seen >= this.maxHead) {
        return this.failed(414, 'Request line too long');
      }
      if (this.urlEnd === 0 || this.urlEnd === end) return NEED_MORE;
    }
    const open = this.fieldCount === 0 ? this.urlEnd : this.spans[this.fieldCount * 4 - 1];
    if (fieldSize > 0 && end - open > fieldSize + METHOD_ROOM) return this.failed(431, 'Header field too long');
    return NEED_MORE;
  }

  private failed(status: number, reason: string): number {
    this.fail(status, reason);
    return FAILED;
  }

  private callbacks() {
    return {
      url: (at: number, length: number): number => {
        if (this.urlAt === 0) this.urlAt = at;
        this.urlEnd = at + length;
        return 0;
      },
      headerField: (at: number, length: number): number => {
        if (this.headDone) return this.trailerField(at, length);
        const { fieldCount, spans } = this;
        if (fieldCount >= this.limits.fields) return this.fail(431, 'Too many header fields');
        spans[fieldCount * 4] = at;
        spans[fieldCount * 4 + 1] = at + length;
        this.expectValue = true;
        return 0;
      },
      headerValue: (at: number, length: number): number => {
        if (this.headDone) return this.trailerValue(at, length);
        const i = this.fieldCount * 4;
        if (!this.expectValue) {
          // A second span of the same value: a folded line, which RFC 9112 5.2 lets a server refuse.
          return this.fail(400, 'Folded header line');
        }
        this.spans[i + 2] = at;
        this.spans[i + 3] = at + length;
        this.expectValue = false;
        this.fieldCount++;
        const { fieldSize } = this.limits;
        if (fieldSize > 0 && at + length - this.spans[i] > fieldSize) return this.fail(431, 'Header field too long');
        return 0;
      },
      headersComplete: (): number => this.headersComplete(),
      body: (at: number, length: number): number => {
        this.body.push(at, length);
        return 0;
      },
      messageComplete: (): number => {
        this.messageDone = true;
        if (this.current.trailers.bytes > 0) this.current.trailers.finish();
        return HPE_PAUSED;
      },
    };
  }

  private headersComplete(): number {
    const { exports, memory } = this.llhttp;
    const { pointer } = this.current;
    const { spans, fieldCount, start } = this;
    const { line } = this.limits;
    // llhttp takes several spaces, RTSP and ICE in place of HTTP, and nothing at all (HTTP/0.9).
    if (memory[this.urlEnd] !== 32 || memory[this.urlEnd + 1] !== 72 || memory[this.urlAt - 2] === 32) {
      return this.fail(400, 'Malformed request line');
    }
    this.versionMajor = exports.llhttp_get_http_major(pointer);
    this.versionMinor = exports.llhttp_get_http_minor(pointer);
    if (this.versionMajor !== 1 || this.versionMinor > 1) return this.fail(505, 'HTTP version not supported');
    // Method, space, target, space, HTTP/1.1
    if (line > 0 && this.urlEnd - this.start + 9 > line) return this.fail(414, 'Request line too long');
    this.method = this.llhttp.methods[exports.llhttp_get_method(pointer)];
    this.headEnd = fieldCount === 0 ? this.urlEnd : spans[fieldCount * 4 - 1];
    // One string for the whole head; the parts are slices of it.
    const text = memory.latin1Slice(start, this.headEnd);
    this.url = text.slice(this.urlAt - start, this.urlEnd - start);
    const { method, url } = this;
    const origin = method !== 'CONNECT' && isOriginForm(memory, this.urlAt, this.urlEnd);
    if (!origin && !isOtherForm(method, url)) return this.fail(400, 'Invalid request target');
    const authority = origin || method === 'CONNECT' ? '' : authorityOf(url);
    this.https = authority !== '' && (memory[this.urlAt + 4] | 32) === 115;
    const headers: string[] = [];
    const { watched } = this;
    // Mostly there is none in the whole head: one look for all names.
    let notable = this.underscores && text.indexOf('_') >= 0 ? 1 : 0;
    let hosts = 0;
    let host = -1;
    let hostEnd = -1;
    let lengths = 0;
    let coding = '';
    let connection = '';
    for (let i = 0; i < fieldCount * 4; i += 4) {
      let end = spans[i + 3];
      while (end > spans[i + 2] && (memory[end - 1] === 32 || memory[end - 1] === 9)) end--;
      const nameLength = spans[i + 1] - spans[i];
      const name = text.slice(spans[i] - start, spans[i + 1] - start);
      let value = text.slice(spans[i + 2] - start, end - start);
      notable |= watched[nameLength & 255];
      if (nameLength === 4) {
        if (spellsHost(memory, spans[i])) {
          hosts++;
          host = spans[i + 2];
          hostEnd = end;
          // RFC 9112, 3.2.2: the received one is to be ignored.
          if (authority !== '') value = authority;
        }
      } else if (nameLength === 10) {
        if (name.toLowerCase() === 'connection') connection = connection === '' ? value : `${connection},${value}`;
      } else if (nameLength === 14) {
        if (name.toLowerCase() === 'content-length') {
          lengths++;
          if (!/^\d+$/.test(value)) return this.fail(400, 'Invalid Content-Length');
          this.current.length = Number(value);
        }
      } else if (nameLength === 17 && name.toLowerCase() === 'transfer-encoding') {
        coding = coding === '' ? value || ',' : `${coding}, ${value}`;
      }
      headers.push(name, value);
    }
    if (hosts !== 1 && (hosts > 1 || this.versionMinor === 1)) {
      return this.fail(400, hosts === 0 ? 'Missing Host header' : 'More than one Host header');
    }
    if (host >= 0 && !this.isGoodHost(host, hostEnd)) return this.fail(400, 'Invalid Host header');
    if (lengths > 1) return this.fail(400, 'More than one Content-Length');
    if (coding !== '') {
      // RFC 9112 6.1: framing that an old proxy in between may not have understood.
      if (this.versionMinor === 0) return this.fail(400, 'Transfer-Encoding in HTTP/1.0');
      if (lengths > 0) return this.fail(400, 'Content-Length and Transfer-Encoding');
      const status = codingStatus(coding);
      if (status !== 0) return this.fail(status, 'Transfer-Encoding other than chunked');
      this.current.chunked = true;
    }
    this.headers = headers;
    this.notable = notable !== 0;
    // llhttp takes Proxy-Connection for it, too, and in HTTP/1.0 "keep-alive" even beside "close" (RFC 9112, 9.3).
    this.keepAlive = connection === '' ? this.versionMinor === 1 : keepsAlive(connection, this.versionMinor);
    this.upgrade = exports.llhttp_get_upgrade(pointer) === 1;
    this.headDone = true;
    return 0;
  }

  /** Mostly it is the Host of the request before: a few bytes are compared faster than strings are. */
  private isGoodHost(at: number, end: number): boolean {
    const { memory } = this.llhttp;
    const length = end - at;
    let same = 0;
    if (length === this.goodHostLength) while (same < length && memory[at + same] === this.goodHost[same]) same++;
    if (same === length && length > 0) return true;
    if (!isHost(memory.latin1Slice(at, end))) return false;
    if (length <= this.goodHost.length) this.goodHostLength = memory.copy(this.goodHost, 0, at, end);
    return true;
  }

  private trailerField(at: number, length: number): number {
    const { trailers } = this.current;
    if (trailers.bytes === 0 && this.trailerAt === 0) this.trailerAt = at;
    trailers.addName(this.memory.latin1Slice(at, at + length));
    return this.checkTrailers(trailers);
  }

  private trailerValue(at: number, length: number): number {
    const { trailers } = this.current;
    trailers.addValue(this.memory.latin1Slice(at, at + length));
    return this.checkTrailers(trailers);
  }

  private checkTrailers(trailers: Trailers): number {
    const wrong = trailers.wrong(this.limits.fieldSize, this.limits.fields);
    return wrong === '' ? 0 : this.fail(431, wrong);
  }
}

function maxHead({ line, fields, fieldSize }: Limits): number {
  if (line === 0 || fieldSize === 0) return 1 << 20;
  return Math.min(1 << 20, line + fields * (fieldSize + 4) + 4);
}

/** "PRI ", of which the first byte is known. */
function isPreface(memory: Buffer, at: number): boolean {
  return memory[at + 1] === 82 && memory[at + 2] === 73 && memory[at + 3] === 32;
}

/** Four bytes that spell host in any case. */
function spellsHost(memory: Buffer, at: number): boolean {
  return (
    (memory[at] | 32) === 104 &&
    (memory[at + 1] | 32) === 111 &&
    (memory[at + 2] | 32) === 115 &&
    (memory[at + 3] | 32) === 116
  );
}
