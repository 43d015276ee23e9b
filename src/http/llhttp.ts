/**
 * llhttp 9 as the WebAssembly build that undici ships (native-notes.md says why not the npm package `llhttp`): one
 * instance for each thread, which reads from its own memory. recv() writes straight into `input`.
 *
 * This file is the instance and its calls; parser.ts gives the callbacks their meaning. The callbacks of the build
 * are url, header field, header value, body (spans: pointer and length), and message begin, headers complete, message
 * complete.
 *
 * llhttp's leniency flags are off: they are in a new parser, llhttp_reset() keeps them, and nobody here sets one.
 */
import { createRequire } from 'node:module';

/** Error numbers of llhttp that we tell apart. */
export const HPE_OK = 0;
export const HPE_INVALID_METHOD = 6;
export const HPE_INVALID_VERSION = 9;
export const HPE_PAUSED = 21;
export const HPE_PAUSED_UPGRADE = 22;
export const HPE_USER = 24;

const TYPE_REQUEST = 1;

interface Exports {
  memory: WebAssembly.Memory;
  _initialize?(): void;
  malloc(size: number): number;
  free(pointer: number): void;
  llhttp_alloc(type: number): number;
  llhttp_reset(parser: number): void;
  llhttp_execute(parser: number, data: number, length: number): number;
  llhttp_get_error_pos(parser: number): number;
  llhttp_get_error_reason(parser: number): number;
  llhttp_get_method(parser: number): number;
  llhttp_get_http_major(parser: number): number;
  llhttp_get_http_minor(parser: number): number;
  llhttp_get_upgrade(parser: number): number;
  llhttp_method_name(method: number): number;
}

/** Returning HPE_PAUSED stops llhttp after the message; any other number than 0 from a span is an error. */
export interface Callbacks {
  url(at: number, length: number): number;
  headerField(at: number, length: number): number;
  headerValue(at: number, length: number): number;
  headersComplete(): number;
  body(at: number, length: number): number;
  messageComplete(): number;
}

export class Llhttp {
  readonly exports: Exports;
  /** Where recv() puts bytes: a view on the WebAssembly memory, `inputSize` bytes from `inputAt`. */
  memory: Buffer;
  inputAt: number;
  inputSize: number;
  /** Method names by llhttp's number. */
  readonly methods: string[] = [];

  constructor(callbacks: Callbacks, inputSize: number) {
    const require = createRequire(import.meta.url);
    const module = new WebAssembly.Module(require('undici/lib/llhttp/llhttp_simd-wasm.js') as Buffer);
    const instance = new WebAssembly.Instance(module, {
      env: {
        wasm_on_message_begin: () => 0,
        wasm_on_status: () => 0,
        wasm_on_url: (_parser: number, at: number, length: number) => callbacks.url(at, length),
        wasm_on_header_field: (_parser: number, at: number, length: number) => callbacks.headerField(at, length),
        wasm_on_header_value: (_parser: number, at: number, length: number) => callbacks.headerValue(at, length),
        wasm_on_headers_complete: () => callbacks.headersComplete(),
        wasm_on_body: (_parser: number, at: number, length: number) => callbacks.body(at, length),
        wasm_on_message_complete: () => callbacks.messageComplete(),
      },
    });
    this.exports = instance.exports as unknown as Exports;
    this.exports._initialize?.();
    this.inputSize = inputSize;
    this.inputAt = this.exports.malloc(inputSize);
    this.memory = Buffer.from(this.exports.memory.buffer);
    for (let method = 0; method <= 46; method++)
      this.methods[method] = this.text(this.exports.llhttp_method_name(method));
  }

  /** A new parser for requests: a pointer, to be given to the calls of `exports`. */
  allocate(): number {
    const parser = this.exports.llhttp_alloc(TYPE_REQUEST);
    this.refresh();
    return parser;
  }

  /** Makes room for `size` bytes of input; what is there is kept up to `keep` bytes (from inputAt). */
  grow(size: number, keep: number): void {
    const at = this.exports.malloc(size);
    this.refresh();
    this.memory.copyWithin(at, this.inputAt, this.inputAt + keep);
    this.exports.free(this.inputAt);
    this.inputAt = at;
    this.inputSize = size;
  }

  /** llhttp's own words for the error of a parser. */
  reason(parser: number): string {
    return this.text(this.exports.llhttp_get_error_reason(parser)) || 'Malformed request';
  }

  /** The memory's buffer changes when the memory grows. */
  private refresh(): void {
    if (this.memory.buffer !== this.exports.memory.buffer) this.memory = Buffer.from(this.exports.memory.buffer);
  }

  private text(at: number): string {
    if (at === 0) return '';
    return this.memory.latin1Slice(at, this.memory.indexOf(0, at));
  }
}
