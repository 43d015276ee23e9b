/**
 * Big bodies over a bare socket, hashed on the way: an upload of a multipart form, and a download. The client does as little
 * as possible besides, so that the server's rate is what is seen.
 */
import { createHash, type Hash } from 'node:crypto';
import { once } from 'node:events';
import { createConnection } from 'node:net';

export interface Transfer {
  /** Of the body that was downloaded, or of the response to an upload. */
  bytes: number;
  sha1: string;
  ms: number;
  /** Response to an upload. */
  text: string;
}

const PIECE = 256 * 1024;
/** Pieces of pseudo-random bytes; their number is prime to most chunk sizes, so that a lost chunk changes the hash. */
const PIECES: Buffer[] = [];

function pieceAt(i: number): Buffer {
  if (PIECES.length === 0) {
    let x = 88172645;
    for (let n = 0; n < 13; n++) {
      const words = new Uint32Array(PIECE / 4);
      for (let at = 0; at < words.length; at++) {
        x ^= x << 13;
        x ^= x >>> 17;
        x ^= x << 5;
        words[at] = x;
      }
      PIECES.push(Buffer.from(words.buffer));
    }
  }
  return PIECES[i % PIECES.length];
}

/** The content of a file of that size, piece by piece. */
export function* content(size: number): Generator<Buffer> {
  for (let i = 0, left = size; left > 0; i++) {
    const piece = pieceAt(i);
    yield left < PIECE ? piece.subarray(0, left) : piece;
    left -= PIECE;
  }
}

/** SHA-1 of content(size), hex. */
export function contentHash(size: number): string {
  const hash = createHash('sha1');
  for (const piece of content(size)) hash.update(piece);
  return hash.digest('hex');
}

/**
 * Sends content(size) as the file of a form, or as it is; resolves with the response. Rejects if the server ends early.
 */
export async function upload(port: number, path: string, size: number, form = true): Promise<Transfer> {
  const before = Buffer.from(
    form
      ? '--xxBoundaryxx\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n' +
          'Content-Type: application/octet-stream\r\n\r\n'
      : '',
  );
  const after = Buffer.from(form ? '\r\n--xxBoundaryxx--\r\n' : '');
  const begun = performance.now();
  const answer = receive(
    port,
    `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=xxBoundaryxx\r\n` +
      `Content-Length: ${before.length + size + after.length}\r\nConnection: close\r\n\r\n`,
  );
  const { socket } = answer;
  socket.write(before);
  for (const piece of content(size)) {
    if (!socket.write(piece)) await Promise.race([once(socket, 'drain'), answer.done]);
    if (socket.destroyed) break;
  }
  socket.write(after);
  await answer.done;
  return { ...answer.result(), ms: performance.now() - begun };
}

/** GETs path; resolves when the body is complete. Rejects on another status than 200 and on a body that is cut off. */
export async function download(port: number, path: string): Promise<Transfer> {
  const begun = performance.now();
  const answer = receive(port, `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
  await answer.done;
  return { ...answer.result(), ms: performance.now() - begun };
}

function receive(port: number, head: string) {
  const body = new BodyHash();
  const buffer = Buffer.allocUnsafe(512 * 1024);
  let failure: Error | null = null;
  const socket = createConnection({
    port,
    host: '127.0.0.1',
    onread: {
      buffer,
      callback: (n) => {
        try {
          body.push(buffer.subarray(0, n));
        } catch (error) {
          failure = error as Error;
          socket.destroy();
        }
        if (body.complete) socket.destroy();
        return true;
      },
    },
  });
  socket.write(head);
  const done = new Promise<void>((resolve, reject) => {
    socket.on('error', reject);
    socket.on('close', () => {
      if (failure === null && body.complete) resolve();
      else reject(failure ?? new Error(`the response ended after ${body.bytes} bytes of its body`));
    });
  });
  // It is awaited later.
  done.catch(() => {});
  return { socket, done, result: () => ({ bytes: body.bytes, sha1: body.hash.digest('hex'), text: body.text }) };
}

/** Takes a response apart as it comes: Content-Length or chunked. */
class BodyHash {
  readonly hash: Hash = createHash('sha1');
  bytes = 0;
  complete = false;
  /** The first 1000 bytes. */
  text = '';
  private head = '';
  private chunked = false;
  private inHead = true;
  /** Bytes to come of the body or of the chunk; -1: the last chunk was met. */
  private left = 0;
  private line = '';
  private inLine = true;

  push(data: Buffer): void {
    if (this.inHead) {
      this.head += data.toString('latin1');
      const end = this.head.indexOf('\r\n\r\n');
      if (end < 0) return;
      const rest = Buffer.from(this.head.slice(end + 4), 'latin1');
      this.startBody(this.head.slice(0, end));
      data = rest;
    }
    if (this.chunked) this.chunks(data);
    else this.take(data);
  }

  private startBody(head: string): void {
    if (!/^HTTP\/1\.1 200 /.test(head)) throw new Error(`the answer was ${head.slice(0, 200)}`);
    this.inHead = false;
    this.chunked = /^transfer-encoding: chunked$/im.test(head);
    if (this.chunked) return;
    const length = /^content-length: (\d+)$/im.exec(head);
    if (!length) throw new Error(`neither length nor chunks: ${head}`);
    this.left = Number(length[1]);
    this.complete = this.left === 0;
  }

  private take(data: Buffer): void {
    if (data.length > this.left) throw new Error(`${data.length - this.left} bytes behind the body`);
    this.left -= data.length;
    this.add(data);
    this.complete = this.left === 0;
  }

  private add(data: Buffer): void {
    this.bytes += data.length;
    this.hash.update(data);
    if (this.text.length < 1000) this.text += data.toString('utf8', 0, 1000);
  }

  private chunks(data: Buffer): void {
    let at = 0;
    while (at < data.length) {
      if (this.inLine) {
        const end = data.indexOf(10, at);
        this.line += data.toString('latin1', at, end < 0 ? data.length : end + 1);
        if (end < 0) return;
        at = end + 1;
        if (this.line === '\r\n') {
          // Behind a chunk's bytes; behind the last chunk's size it is the end.
          if (this.left === -1) this.complete = true;
          this.line = '';
          continue;
        }
        if (!/^[0-9a-f]+\r\n$/i.test(this.line)) throw new Error(`no chunk size: ${JSON.stringify(this.line)}`);
        this.left = Number.parseInt(this.line, 16) || -1;
        this.line = '';
        this.inLine = this.left === -1;
      } else {
        const n = Math.min(this.left, data.length - at);
        this.add(data.subarray(at, at + n));
        this.left -= n;
        at += n;
        this.inLine = this.left === 0;
      }
    }
  }
}
