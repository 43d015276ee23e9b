/**
 * Files by sendfile: createReadStream(path).pipe(res), which is how send, serve-static and most handlers give a file, without a
 * read, a copy and a turn of the thread pool for every 64 KiB.
 *
 * Node's own pipe does everything but the reading: the stream's first _read() hands (fd, offset, length) to the socket's
 * queue instead of reading, and stays pending. When the range has left, or anything is not as usual (the file ended early, an
 * error, a pause, an unpipe, another listener), the stream's position is set to what has left and Node's _read() goes on from
 * there: it finds the end, or the error, and tells everybody in its usual order. Only streams of which nobody else sees the
 * data come here: see plain() and lengthOf(). A response without a length gets chunks, larger ones than Node makes.
 */
import fs, { type ReadStream } from 'node:fs';
import { native } from '../native/binding.js';
import { responseSymbol, ServerResponse, symbolOf } from '../node-http.js';
import { CONTROL } from '../request.js';
import type { Control } from './control.js';
import './cork.js';
import { FilePart } from './file-part.js';
import type { ClientSocket } from './socket.js';

/** Shorter ranges are read: a system call more for the head is not worth it. */
const LEAST = 64 * 1024;
/** Bytes of a chunk, where the response has no length: so much is read at once where the sending stops in its middle. */
const CHUNK = 256 * 1024;

type Read = (this: ReadStream, size: number) => void;
type Destroy = (this: ReadStream, error: Error | null, callback: (error?: Error | null) => void) => void;

/** What of fs.ReadStream Node's types do not show. */
interface FileStream {
  fd: number | null;
  flags: string;
  start: number | undefined;
  end: number;
  pos: number | undefined;
  _read: Read;
  _destroy: Destroy;
}

interface Response {
  [CONTROL]?: Control;
  _header: string | null;
  _headerSent: boolean;
  _hasBody: boolean;
  _removedTE: boolean;
  useChunkedEncodingByDefault: boolean;
  _contentLength: number | null;
  chunkedEncoding: boolean;
}

/** As they are before anybody else has changed them. */
const { write, end } = ServerResponse.prototype;
const proto = fs.ReadStream.prototype as unknown as FileStream & ReadStream;
const kBytesWritten = responseSymbol('kBytesWritten');
let installed = false;

/** Once per thread; responses that are not the engine's are not touched. */
export function installSendfile(): void {
  // Without it a response could not know what has left: a Node that keeps it elsewhere reads as ever.
  if (installed || kBytesWritten === undefined) return;
  installed = true;
  const pipe = fs.ReadStream.prototype.pipe;
  Object.defineProperty(fs.ReadStream.prototype, 'pipe', {
    configurable: true,
    writable: true,
    value: function <T extends NodeJS.WritableStream>(this: ReadStream, to: T, options?: { end?: boolean }): T {
      const result = pipe.call(this, to, options) as T;
      if (to instanceof ServerResponse && plain(this, to)) interpose(this, to);
      return result;
    },
  });
}

/** Nobody but this pipe sees the stream's data, and nothing changes what is written. */
function plain(stream: ReadStream, res: ServerResponse): boolean {
  const file = stream as unknown as FileStream;
  const kFs = symbolOf(stream, 'kFs');
  return (
    (res as unknown as Response)[CONTROL]?.conn.res === res &&
    res.write === write &&
    res.end === end &&
    file._read === proto._read &&
    file._destroy === proto._destroy &&
    stream.push === proto.push &&
    stream.emit === proto.emit &&
    kFs !== undefined &&
    (stream as unknown as Record<symbol, unknown>)[kFs] === fs &&
    // One that was given open may be anywhere in its file.
    file.fd === null &&
    file.flags === 'r' &&
    !stream.destroyed &&
    alone(stream)
  );
}

/** The pipe is the only one that listens. */
function alone(stream: ReadStream): boolean {
  const { pipes } = (stream as unknown as { _readableState: { pipes: unknown[] } })._readableState;
  return (
    pipes.length === 1 &&
    stream.listenerCount('data') === 1 &&
    stream.listenerCount('readable') === 0 &&
    stream.readableEncoding === null &&
    stream.readableLength === 0
  );
}

/** Puts the sending in the place of the stream's first read. */
function interpose(stream: ReadStream, res: ServerResponse): void {
  const file = stream as unknown as FileStream;
  file._read = (size) => {
    file._read = proto._read;
    if (!send(stream, res, size)) proto._read.call(stream, size);
  };
}

/**
 * Bytes that the response still waits for, all of them from this stream; 0: it is not to be sent so. Infinity: as many as there
 * are, in chunks.
 */
function lengthOf(res: ServerResponse): number {
  const parts = res as unknown as Response & Record<symbol, number>;
  if (res.destroyed || res.writableEnded || res.writableCorked > 0 || res.writableLength > 0) return 0;
  if (parts[kBytesWritten as symbol] !== 0 || parts[CONTROL]?.conn.res !== res) return 0;
  if (parts._header === null) {
    if (res.hasHeader('transfer-encoding') || bodyless(res)) return 0;
    const length = res.getHeader('content-length');
    if (length === undefined)
      return parts.useChunkedEncodingByDefault && !parts._removedTE ? Number.POSITIVE_INFINITY : 0;
    return /^\d{1,15}$/.test(String(length)) ? Number(length) : 0;
  }
  if (!parts._hasBody) return 0;
  return parts.chunkedEncoding ? Number.POSITIVE_INFINITY : (parts._contentLength ?? 0);
}

function bodyless({ req, statusCode }: ServerResponse): boolean {
  return req.method === 'HEAD' || statusCode === 204 || statusCode === 304 || statusCode < 200;
}

/** The stream is open and wants to read. False: it shall. */
function send(stream: ReadStream, res: ServerResponse, size: number): boolean {
  const file = stream as unknown as FileStream;
  const from = file.pos ?? 0;
  const wanted = lengthOf(res);
  if (wanted === 0 || file.fd === null || !alone(stream) || stream.readableFlowing !== true) return false;
  const there = Math.min(native.fileSize(file.fd), file.end + 1) - from;
  const length = Math.min(wanted, there);
  // What Node's read would refuse (a folder), or find too short, it shall: before the head has left.
  if (!(length >= LEAST) || (Number.isFinite(wanted) && there < Math.min(wanted, file.end + 1 - from))) return false;
  new Sending(stream, res, size, from, length, wanted === Number.POSITIVE_INFINITY).begin();
  return true;
}

/** A range of a file on its way into a response. */
class Sending {
  private readonly stream: ReadStream;
  private readonly file: FileStream;
  private readonly res: ServerResponse;
  private readonly socket: ClientSocket;
  /** For the read that goes on behind it. */
  private readonly size: number;
  private readonly from: number;
  private readonly length: number;
  private readonly chunked: boolean;
  private sent = 0;
  private part!: FilePart;
  private stopping = false;

  constructor(stream: ReadStream, res: ServerResponse, size: number, from: number, length: number, chunked: boolean) {
    this.stream = stream;
    this.file = stream as unknown as FileStream;
    this.res = res;
    this.socket = (res as unknown as { [CONTROL]: Control })[CONTROL].conn.socket;
    this.size = size;
    this.from = from;
    this.length = length;
    this.chunked = chunked;
  }

  begin(): void {
    const { stream, res, file, socket } = this;
    stream.on('newListener', this.onListener);
    res.on('unpipe', this.stop);
    // The file is closed by it: its number may be another file's then.
    file._destroy = (error, callback) => {
      this.stop();
      proto._destroy.call(stream, error, callback);
    };
    socket.cork();
    if (!res.headersSent || (res as unknown as Response)._headerSent === false) res.flushHeaders();
    this.next();
    socket.uncork();
  }

  private readonly onListener = (name: string | symbol): void => {
    if (name === 'data' || name === 'readable') this.stop();
  };

  private readonly stop = (): void => {
    this.stopping = true;
    this.socket.endFile(this.part);
  };

  /** Queues all of it, or the next chunk. */
  private next(): void {
    const { socket, sent, length, chunked } = this;
    const n = chunked ? Math.min(CHUNK, length - sent) : length;
    this.part = new FilePart(
      this.file.fd as number,
      this.from + sent,
      n,
      (bytes) => this.progress(bytes),
      () => this.over(),
    );
    if (chunked) socket.write(`${sent > 0 ? '\r\n' : ''}${n.toString(16)}\r\n`, 'latin1');
    socket.sendFile(this.part);
  }

  private progress(bytes: number): boolean {
    const { stream, file, res } = this;
    this.sent += bytes;
    file.pos = this.from + this.sent;
    stream.bytesRead += bytes;
    (res as unknown as Record<symbol, number>)[kBytesWritten as symbol] += bytes;
    if (stream.readableFlowing !== true) this.stopping = true;
    return !this.stopping;
  }

  /** The part is off the socket's queue: sent, or as far as it goes. */
  private over(): void {
    const { socket, file, part } = this;
    if (this.chunked && !socket.destroyed) {
      if (part.left > 0) this.completeChunk();
      else if (!this.stopping && this.sent < this.length) return this.next();
      if (!socket.destroyed) socket.write('\r\n', 'latin1');
    }
    this.stream.off('newListener', this.onListener);
    this.res.off('unpipe', this.stop);
    file._destroy = proto._destroy;
    file.pos = this.from + this.sent;
    if (!this.stream.destroyed) proto._read.call(this.stream, this.size);
  }

  /** The client was told how long the chunk is: what is left of it is read now. A file that was cut off meanwhile ends the connection. */
  private completeChunk(): void {
    const { socket, part, file } = this;
    const rest = Buffer.allocUnsafe(part.left);
    let n = 0;
    try {
      n = fs.readSync(file.fd as number, rest, 0, rest.length, this.from + this.sent);
    } catch {
      // Too short, then.
    }
    if (n < rest.length) {
      socket.destroy(new Error('The file was cut off while it was sent'));
      return;
    }
    this.progress(n);
    socket.write(rest);
  }
}
