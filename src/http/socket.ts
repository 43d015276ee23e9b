/**
 * ClientSocket: what handlers see as req.socket and res.socket. A Duplex, so that everything which expects a stream finds
 * one, but its writing side is our own: parts are gathered while corked and leave in one system call at uncork(), which
 * is how Node's ServerResponse writes. What the kernel does not take waits here and goes on when the fd is writable.
 *
 * One for each connection and thread, made when a handler first needs it and kept while the connection stays active.
 * The fd is not its own: `wire` says which fd, and closes it when the connection may be closed.
 */
import { AsyncResource } from 'node:async_hooks';
import { EAGAIN, native } from '../native/binding.js';
import { BareResponse } from '../node-http.js';
import { FilePart, PIECE } from './file-part.js';
import { SocketFace, type Wire, type WriteCallback } from './socket-face.js';

type Part = string | Uint8Array;

/** Bytes offered to the kernel in one call, which takes an int32. */
const MAX_SEND = 1 << 30;
/**
 * Bytes of one response in one go, behind which others get their turn: one that nobody reads fills megabytes of the kernel's buffers. The
 * first go comes out of the queue of new requests, where more of them wait; later ones are among the thread's own events.
 */
const FIRST_GO = 128 * 1024;
const LATER_GO = 1 << 20;
/** Behind every chunk of a chunked body. */
const CRLF = Buffer.from('\r\n');
/** What ServerResponse passes on as callback where its handler has given none: it does nothing, so nobody has to call it. */
const nodesNop = unaskedCallback();

function unaskedCallback(): unknown {
  const res = new BareResponse();
  res.setHeader('Content-Length', 1);
  res.write('x');
  // Without a socket it keeps what it would have written.
  return (res as unknown as { outputData: Array<{ callback: unknown }> }).outputData[0]?.callback;
}

/** What latin1 does not have. V8 sees without looking at a string of one byte each, as nearly all are, that it has none. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: all of latin1
const WIDE = /[^\x00-\xff]/;
function emitClose(socket: ClientSocket, hadError: boolean): void {
  socket.emit('close', hadError);
}

export class ClientSocket extends SocketFace {
  /** Node's ServerResponse keeps itself here while it owns the socket. */
  _httpMessage: unknown = null;
  _hadError = false;
  private readonly sent: Int32Array;
  private corks = 0;
  /** Length of the parts that are gathered while corked. */
  private gathered = 0;
  private parts: Part[] = [];
  /** True where the string at the same index of parts is UTF-8, false for latin1. */
  private utf8: boolean[] = [];
  private callbacks: WriteCallback[] = [];
  /** Output that the kernel did not take; files that are to leave. */
  private queue: (Uint8Array | FilePart)[] = [];
  private queued = 0;
  /** Files in the queue. */
  private files = 0;
  /** The queue is being sent, and bytes of files that it has taken in this go. */
  private draining = false;
  private fileBytes = 0;
  /** The clock when the present go began, and what had been written by then. */
  private goAt = 0;
  private goFrom = 0;
  private goLimit = FIRST_GO;
  private needDrain = false;
  private ending = false;
  /** Where the output that waits was written: as in Node what its end causes is told in that context. */
  private writer: AsyncResource | null = null;

  /** sent: element 1 has the bytes that the last send took (native.useClock). */
  constructor(wire: Wire, sent: Int32Array) {
    super(wire);
    this.sent = sent;
  }

  /** What is written from here on is another response. */
  beginResponse(): void {
    this.goLimit = FIRST_GO;
    this.beginGo();
  }

  // --- writing ---

  override cork(): void {
    this.corks++;
  }

  override uncork(): void {
    // ServerResponse.end() sets _writableState.corked to 1 to say: all of it, now.
    if (this._all()) {
      this.corks = 0;
      this.wire.whole();
    } else this.corks = Math.max(0, this.corks - 1);
    if (this.corks === 0 && (this.parts.length > 0 || this.callbacks.length > 0)) this.flush();
  }

  // @ts-expect-error: Duplex has it as an accessor too, its type says property.
  override get writableCorked(): number {
    return this.corks;
  }

  private _all(): boolean {
    const state = (this as unknown as { _writableState: { corked: number } })._writableState;
    const all = state.corked === 1;
    state.corked = 0;
    return all;
  }

  override write(chunk: unknown, encoding?: unknown, callback?: unknown): boolean {
    let cb = callback as WriteCallback | undefined;
    let enc = encoding as BufferEncoding | undefined;
    if (typeof encoding === 'function') {
      cb = encoding as WriteCallback;
      enc = undefined;
    }
    if (this.destroyed || this.ending) {
      const error = Object.assign(new Error(this.ending ? 'write after end' : 'The connection is closed'), {
        code: this.ending ? 'ERR_STREAM_WRITE_AFTER_END' : 'ERR_STREAM_DESTROYED',
      });
      if (cb) process.nextTick(cb, error);
      return false;
    }
    if (typeof chunk === 'string') {
      if (chunk.length > 0) this.addString(chunk, enc);
    } else if (chunk instanceof Uint8Array) {
      if (chunk.byteLength > 0) {
        this.parts.push(chunk);
        this.utf8.push(false);
        this.gathered += chunk.byteLength;
      }
    } else {
      throw new TypeError('The "chunk" argument must be a string, Buffer or Uint8Array');
    }
    if (cb && cb !== nodesNop) this.callbacks.push(cb);
    if (this.corks === 0) this.flush();
    const room = this.queued + this.gathered < this.writableHighWaterMark;
    if (!room) this.needDrain = true;
    return room;
  }

  private addString(text: string, encoding: BufferEncoding | undefined): void {
    this.gathered += text.length;
    if (encoding === 'latin1' || encoding === 'binary') {
      if (WIDE.test(text)) text = this.addWideHead(text);
      this.parts.push(text);
      this.utf8.push(false);
    } else if (encoding === undefined || encoding === null || encoding === 'utf8' || encoding === 'utf-8') {
      this.parts.push(text);
      this.utf8.push(true);
    } else {
      this.parts.push(Buffer.from(text, encoding));
      this.utf8.push(false);
    }
  }

  /**
   * A response's head in latin1 has wide characters only where Node has decoded the bytes of a Content-Disposition as UTF-8. As
   * latin1 they would lose their upper half, and some become CR or LF: they leave as the bytes that they were. Returns what
   * is behind the head.
   */
  private addWideHead(text: string): string {
    const head = (this._httpMessage as { _header?: string | null } | null)?._header ?? '';
    if (head === '' || !text.startsWith(head)) return text;
    this.parts.push(head);
    this.utf8.push(true);
    return text.slice(head.length);
  }

  /** Sends what was gathered, in one system call where it is one string, or a string and bytes. */
  private flush(): void {
    const { parts, utf8 } = this;
    this.gathered = 0;
    if (parts.length > 0) {
      this.touch();
      if (!this.wire.beforeSend()) {
        this.parts = [];
        this.utf8 = [];
      } else if (this.queued > 0 || this.draining) this.enqueue();
      else if (this.hasHadItsTurn()) {
        this.enqueue();
        this.wire.wantWrite(true);
      } else if (parts.length === 1 && typeof parts[0] === 'string') this.sendText(parts[0], utf8[0]);
      else if (parts.length === 2 && typeof parts[0] === 'string' && !utf8[0] && isShort(parts[1])) {
        this.sendHead(parts[0], parts[1]);
      } else this.sendAll();
      if (this.parts.length > 0) {
        this.parts = [];
        this.utf8 = [];
      }
    }
    this.goneOn();
  }

  /** It has written so much in the present go, a tick of the coarse clock, that others of the thread's requests come first. */
  private hasHadItsTurn(): boolean {
    if (this.sent[0] === this.goAt) return this.bytesWritten - this.goFrom >= this.goLimit && this.wire.crowded;
    this.beginGo();
    return false;
  }

  private beginGo(): void {
    this.goAt = this.sent[0];
    this.goFrom = this.bytesWritten;
  }

  private sendText(text: string, utf8: boolean): void {
    const left = native.sendString(this.wire.fd, text, utf8 ? 1 : 0, this.wire.hold(), this.wire.outcome());
    if (left === 0) {
      this.bytesWritten += this.sent[1];
      return;
    }
    if (left < 0 && left !== EAGAIN) return this.broken(left);
    const bytes = Buffer.from(text, utf8 ? 'utf8' : 'latin1');
    if (left > 0) this.bytesWritten += bytes.length - left;
    this.queueBytes(left > 0 ? bytes.subarray(bytes.length - left) : bytes);
    this.wire.wantWrite(true);
  }

  private sendHead(head: string, body: Uint8Array): void {
    const { wire } = this;
    const left = native.sendHead(wire.fd, head, body, 0, body.byteLength, wire.hold(), wire.outcome());
    if (left === 0) {
      this.bytesWritten += this.sent[1];
      return;
    }
    if (left < 0 && left !== EAGAIN) return this.broken(left);
    const total = head.length + body.byteLength;
    const done = left > 0 ? total - left : 0;
    this.bytesWritten += done;
    if (done < head.length) this.queueBytes(Buffer.from(head.slice(done), 'latin1'));
    this.queueBytes(done > head.length ? body.subarray(done - head.length) : body);
    this.wire.wantWrite(true);
  }

  private sendAll(): void {
    this.enqueue();
    this.drainQueue();
  }

  /** Moves the gathered parts to the queue. */
  private enqueue(): void {
    for (let i = 0; i < this.parts.length; i++) {
      const part = this.parts[i];
      if (part === '\r\n') this.queueBytes(CRLF);
      else this.queueBytes(typeof part === 'string' ? Buffer.from(part, this.utf8[i] ? 'utf8' : 'latin1') : part);
    }
    this.parts = [];
    this.utf8 = [];
  }

  private queueBytes(bytes: Uint8Array): void {
    if (bytes.byteLength === 0) return;
    this.queue.push(bytes);
    this.queued += bytes.byteLength;
  }

  /** Sends from the queue until it is empty, the kernel has no room, or others shall have their turn. */
  private drainQueue(): void {
    this.draining = true;
    this.fileBytes = 0;
    this.wire.wantWrite(this.sendQueue());
    this.draining = false;
  }

  /** True: something is left. */
  private sendQueue(): boolean {
    while (this.queue.length > 0) {
      const { queue } = this;
      const [first] = queue;
      if (first instanceof FilePart) {
        if (this.sendPiece(first)) return true;
        continue;
      }
      const alone = queue.length === 1;
      const outcome = alone || this.files === 0 ? this.wire.outcome() : 0;
      const n =
        alone || this.files > 0
          ? this.sendFirst(first, outcome)
          : native.sendv(this.wire.fd, queue as Uint8Array[], outcome);
      if (n === EAGAIN) return true;
      if (n < 0) {
        this.broken(n);
        return false;
      }
      this.bytesWritten += n;
      this.queued -= n;
      // A part that left only in part: there is no room for the rest, which needs no system call to find out.
      if (this.consume(n) || (this.queue.length > 0 && this.hasHadItsTurn())) return true;
    }
    return false;
  }

  private sendFirst(bytes: Uint8Array, outcome: number): number {
    const length = Math.min(bytes.byteLength, MAX_SEND);
    return native.send(this.wire.fd, bytes, 0, length, length === bytes.byteLength ? outcome : 0);
  }

  /** Takes n bytes off the queue; true if that ends inside of a part. */
  private consume(n: number): boolean {
    const queue = this.queue as Uint8Array[];
    let whole = 0;
    while (n > 0 && n >= queue[whole].byteLength) n -= queue[whole++].byteLength;
    if (n > 0) queue[whole] = queue[whole].subarray(n);
    if (whole === 1) queue.shift();
    else if (whole > 1) queue.splice(0, whole);
    return n > 0;
  }

  /** Queues a part of a file behind what was written. */
  sendFile(part: FilePart): void {
    this.enqueue();
    this.gathered = 0;
    this.queue.push(part);
    this.files++;
    this.queued += part.left;
    this.touch();
    if (this.draining) return;
    if (this.destroyed || !this.wire.beforeSend()) this.endFile(part);
    else this.drainQueue();
    this.goneOn();
  }

  /** Takes a part of a file off the queue, if it is there. */
  endFile(part: FilePart): void {
    const at = this.queue.indexOf(part);
    if (at < 0) return;
    this.queue.splice(at, 1);
    this.files--;
    this.queued -= part.left;
    part.done();
  }

  /** Sends a piece of a file; true: the rest has to wait for room, or for others' turn. */
  private sendPiece(part: FilePart): boolean {
    const n = part.send(this.wire.fd);
    if (n > 0) {
      this.bytesWritten += n;
      this.queued -= n;
      this.fileBytes += n;
    }
    if ((n > 0 || n === EAGAIN) && part.left > 0 && !part.stopped) return true;
    this.endFile(part);
    return this.fileBytes >= PIECE && this.queue.length > 0;
  }

  /** Forgets what waits. */
  private clearQueue(): void {
    const { queue } = this;
    this.queue = [];
    this.queued = this.files = 0;
    for (const part of queue) if (part instanceof FilePart) part.done();
  }

  /** The fd is writable: goes on with what waits. */
  onWritable(): void {
    if (this.writer === null) this.goOn();
    else this.writer.runInAsyncScope(this.goOn, this);
  }

  private goOn(): void {
    this.touch();
    this.beginGo();
    this.goLimit = LATER_GO;
    this.drainQueue();
    this.goneOn();
  }

  /** Behind every attempt to send. */
  private goneOn(): void {
    if (this.destroyed) return;
    if (this.queued === 0) this.taken();
    else this.writer ??= new AsyncResource('WRITEWRAP', { requireManualDestroy: true });
  }

  private forgetWriter(): void {
    if (this.writer === null) return;
    this.writer.emitDestroy();
    this.writer = null;
  }

  /** All of the output has been taken. */
  private taken(): void {
    this.forgetWriter();
    // As in Node's streams: 'drain' comes before the callbacks of what has been taken.
    if (this.needDrain) this.callbacks.unshift(() => this.drain());
    if (this.callbacks.length > 0) {
      const callbacks = this.callbacks;
      this.callbacks = [];
      this.wire.later(callbacks);
    }
    this.wire.flushed();
    if (this.ending) this.finish();
  }

  private drain(): void {
    if (!this.needDrain || this.destroyed || this.queued + this.gathered > 0) return;
    this.needDrain = false;
    if (this.listenerCount('drain') > 0) this.emit('drain');
    this.wire.drained();
  }

  /** end() was called and everything is out. */
  private finish(): void {
    if (this.listenerCount('finish') > 0) process.nextTick(() => this.emit('finish'));
    this.destroy();
  }

  private broken(errno: number): void {
    const code = native.errnoName(errno);
    this.clearQueue();
    this.destroy(Object.assign(new Error(`write ${code}`), { code, errno, syscall: 'write' }));
  }

  // @ts-expect-error: Duplex has it as an accessor too, its type says property.
  override get writableLength(): number {
    return this.queued + this.gathered;
  }

  // @ts-expect-error: as above.
  override get writableNeedDrain(): boolean {
    return this.needDrain;
  }

  /** True while output waits for the client. */
  get blocked(): boolean {
    return this.queued > 0;
  }

  override end(chunk?: unknown, encoding?: unknown, callback?: unknown): this {
    if (typeof chunk === 'function') callback = chunk;
    else if (typeof encoding === 'function') callback = encoding;
    if (chunk !== undefined && chunk !== null && typeof chunk !== 'function') this.write(chunk, encoding);
    if (typeof callback === 'function') this.once('finish', callback as () => void);
    if (this.ending || this.destroyed) return this;
    this.corks = 0;
    if (this.parts.length > 0) this.flush();
    this.ending = true;
    if (this.queued === 0) this.finish();
    return this;
  }

  /** As net.Socket's: ends, and closes when everything is written. */
  destroySoon(): void {
    this.end();
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.stopTimer();
    this.forgetWriter();
    if (this.queue.length > 0) this.clearQueue();
    this.gathered = 0;
    this.parts = [];
    this.utf8 = [];
    const { callbacks } = this;
    this.callbacks = [];
    for (const cb of callbacks) {
      process.nextTick(
        cb,
        error ?? Object.assign(new Error('The connection is closed'), { code: 'ERR_STREAM_DESTROYED' }),
      );
    }
    // An error of the connection is told through the request and the response; nobody has to listen here.
    const listened = this.listenerCount('error') > 0;
    this.wire.socketGone(error);
    callback(listened ? error : null);
    // As net.Socket's, with its argument, and behind 'error'.
    process.nextTick(emitClose, this, error !== null);
  }
}

function isShort(part: Part): part is Uint8Array {
  return typeof part !== 'string' && part.byteLength <= MAX_SEND;
}
