/**
 * Files by sendfile: createReadStream(path).pipe(res), which is how send, serve-static and most handlers give a file, without a
 * read, a copy and a turn of the thread pool for every 64 KiB.
 *
 * Node's own pipe does everything but the reading: the stream's first _read() hands (fd, offset, length) to the socket's
 * queue instead of reading, and stays pending. When the range has left, or anything is not as usual (the file ended early, an
 * error, a pause, an unpipe, another listener), the stream's position is set to what has left and Node's _read() goes on from
 * there: it finds the end, or the error, and tells everybody in its usual order. Only streams of which nobody else sees the
 * data come here, and only responses with a length: see eligible().
 */
import fs, { type ReadStream } from 'node:fs';
import { OutgoingMessage, ServerResponse } from 'node:http';
import { native } from '../native/binding.js';
import { CONTROL } from '../request.js';
import type { Connection } from './connection.js';
import { FilePart } from './file-part.js';

/** Shorter ranges are read: a system call more for the head is not worth it. */
const LEAST = 64 * 1024;

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
  [CONTROL]?: Connection;
  _header: string | null;
  _hasBody: boolean;
  _contentLength: number | null;
  chunkedEncoding: boolean;
}

const proto = fs.ReadStream.prototype as unknown as FileStream & ReadStream;
const kBytesWritten = symbolOf(new ServerResponse({ method: 'GET' } as never), 'kBytesWritten');
let installed = false;

function symbolOf(object: object, description: string): symbol | undefined {
  return Object.getOwnPropertySymbols(object).find((symbol) => symbol.description === description);
}

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
    (res as unknown as Response)[CONTROL]?.res === res &&
    res.write === OutgoingMessage.prototype.write &&
    res.end === OutgoingMessage.prototype.end &&
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

/** Bytes that the response still waits for, all of them from this stream; 0: it is not to be sent so. */
function lengthOf(res: ServerResponse): number {
  const parts = res as unknown as Response & Record<symbol, number>;
  if (res.destroyed || res.writableEnded || res.writableCorked > 0 || res.writableLength > 0) return 0;
  if (parts[kBytesWritten as symbol] !== 0 || parts[CONTROL]?.res !== res) return 0;
  if (parts._header === null) {
    const length = res.getHeader('content-length');
    if (res.hasHeader('transfer-encoding') || !/^\d{1,15}$/.test(String(length))) return 0;
    return bodyless(res) ? 0 : Number(length);
  }
  return parts._hasBody && !parts.chunkedEncoding ? (parts._contentLength ?? 0) : 0;
}

function bodyless({ req, statusCode }: ServerResponse): boolean {
  return req.method === 'HEAD' || statusCode === 204 || statusCode === 304 || statusCode < 200;
}

/** The stream is open and wants to read. False: it shall. */
function send(stream: ReadStream, res: ServerResponse, size: number): boolean {
  const file = stream as unknown as FileStream;
  const from = file.pos ?? 0;
  const length = Math.min(lengthOf(res), file.end - from + 1);
  if (!(length >= LEAST) || file.fd === null || !alone(stream) || stream.readableFlowing !== true) return false;
  // What Node's read would refuse (a folder), or find too short, it shall: before the head has left.
  if (native.fileSize(file.fd) < from + length) return false;
  const { socket } = (res as unknown as { [CONTROL]: Connection })[CONTROL];
  const written = res as unknown as Record<symbol, number>;
  let sent = 0;

  const stop = () => socket.endFile(part);
  const onListener = (name: string | symbol) => {
    if (name === 'data' || name === 'readable') stop();
  };
  const part = new FilePart(
    file.fd,
    from,
    length,
    (bytes) => {
      sent += bytes;
      file.pos = from + sent;
      stream.bytesRead += bytes;
      written[kBytesWritten as symbol] += bytes;
      return stream.readableFlowing === true;
    },
    () => {
      stream.off('newListener', onListener);
      res.off('unpipe', stop);
      file._destroy = proto._destroy;
      file.pos = from + sent;
      if (!stream.destroyed) proto._read.call(stream, size);
    },
  );
  stream.on('newListener', onListener);
  res.on('unpipe', stop);
  // The file is closed by it: its number may be another file's then.
  file._destroy = (error, callback) => {
    stop();
    proto._destroy.call(stream, error, callback);
  };
  socket.cork();
  if (!res.headersSent || (res as unknown as { _headerSent: boolean })._headerSent === false) res.flushHeaders();
  socket.sendFile(part);
  socket.uncork();
  return true;
}
