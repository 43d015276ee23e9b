/**
 * BodyReader: the body of the request that a connection is reading, from the parser to the handler's IncomingMessage. Made
 * at a connection's first body and used again for its later ones; a request without a body never sees it.
 *
 *     NONE --body incomplete--> WAITING --reader wants--> FLOWING --push() is false--> WAITING
 *     WAITING, FLOWING --response out, nobody reads--> DRAINING --message done--> NONE, or too much: the connection ends
 *
 * Only FLOWING and DRAINING read from the fd, in the thread's own event loop: what nobody asks for stays in the kernel and
 * holds the client back. A reader that pauses mostly comes back before there is more to read: the fd is watched on until
 * something comes for WAITING.
 */
import type { IncomingMessage } from 'node:http';
import { EAGAIN, native } from '../native/binding.js';
import { destroyQuietly, disconnected } from './message.js';
import { FAILED, MESSAGE_DONE, type MessageParser, type RequestParser } from './parser.js';

/** Most bytes of an unread body that are read and thrown away to keep the connection. */
const MAX_DRAIN = 256 * 1024;
/** Most bytes that are read in one turn for one connection, so that an upload does not hold up the thread. */
export const MAX_TURN = 512 * 1024;
/** Bytes from which on what comes is worth a buffer of its own, which spares copying it out of the parser's memory. */
const BULK = 32 * 1024;
/** More pieces of one read than this become one: chunks of a byte each would cost their reader, and memory, a hundred times their size. */
const MAX_PIECES = 64;
/** What a piece counts for besides its bytes in MAX_TURN. */
const PIECE_COST = 64;

const NONE = 0;
const WAITING = 1;
const FLOWING = 2;
const DRAINING = 3;

/** The connection, as its body reader sees it. */
export interface BodyOwner {
  readonly fd: number;
  /** Watch the fd for reading in the thread's event loop, or no longer. */
  watchInput(on: boolean): void;
  /** The body comes in many pieces: other threads shall not hear of them. */
  keepToSelf(): void;
  /** So many bytes of the client came, at the thread's clock. */
  received(bytes: number): void;
  /** The message is read to its end; `early` are bytes behind it, `full`: the kernel may hold more. */
  messageRead(early: Buffer | null, full: boolean): void;
  /** Ends the request if its response is out, too. */
  settle(): void;
  /** The rest of the body is longer than may be thrown away. */
  tooMuch(): void;
  /** The client left, or sent what cannot be understood. */
  broken(error: Error): void;
  malformed(status: number, reason: string): void;
}

/** What of IncomingMessage Node keeps to itself. */
interface RequestState {
  _consuming: boolean;
  _dumped: boolean;
  _addHeaderLines(headers: string[], count: number): void;
}

export class BodyReader {
  private readonly owner: BodyOwner;
  private readonly parser: RequestParser;
  private message: MessageParser | null = null;
  private reading = NONE;
  private pieces: Buffer[] = [];
  private trailers: string[] | null = null;
  /** The request object that gets the body. */
  private request: IncomingMessage | null = null;
  /** The request object whose body was never asked for and is thrown away. */
  private dumped: IncomingMessage | null = null;
  private drained = 0;
  /** Bytes that are to come by Content-Length, which needs no parser; -1: the framing tells. And the last read had many. */
  private left = -1;
  private bulk = false;
  /** What came with the head has not been asked for. */
  private fresh = false;

  constructor(owner: BodyOwner, parser: RequestParser) {
    this.owner = owner;
    this.parser = parser;
  }

  /** A head was parsed, and some of its body with it; `complete`: all of it. The parser stays ours until then. */
  start(message: MessageParser, complete: boolean): void {
    this.request = this.dumped = null;
    this.pieces = [];
    this.trailers = null;
    this.drained = 0;
    this.takePieces();
    this.left = message.length;
    this.bulk = false;
    if (this.left >= 0) for (const piece of this.pieces) this.left -= piece.length;
    this.fresh = true;
    if (complete) {
      this.message = null;
      this.reading = NONE;
      this.takeTrailers(message);
    } else {
      this.message = message;
      this.reading = WAITING;
    }
  }

  /** The message is not read to its end. */
  get unread(): boolean {
    return this.message !== null;
  }

  /** The handler does not read on: it is not the client who keeps everybody waiting. */
  get paused(): boolean {
    return this.reading === WAITING;
  }

  get draining(): boolean {
    return this.reading === DRAINING;
  }

  get hasPieces(): boolean {
    return this.pieces.length > 0;
  }

  feed(req: IncomingMessage): void {
    this.request = req;
  }

  feeds(req: IncomingMessage): boolean {
    return this.request === req;
  }

  /** Somebody reads, or has bound himself to: what is left of the body is still wanted when the response is out. */
  get wanted(): boolean {
    const req = this.request;
    return req !== null && !req.destroyed && (req.readableFlowing === true || req.listenerCount('readable') > 0);
  }

  private takePieces(): void {
    const { body, memory } = this.parser;
    if (body.length > 2 * MAX_PIECES) {
      this.pieces.push(joined(memory, body));
      return;
    }
    for (let i = 0; i < body.length; i += 2) {
      // A copy: the parser's memory is used again by the next recv.
      this.pieces.push(Buffer.from(memory.subarray(body[i], body[i] + body[i + 1])));
    }
  }

  private takeTrailers(message: MessageParser): void {
    if (message.trailers.list.length > 0) this.trailers = message.trailers.list;
  }

  /** The request's reader wants data: its _read(). */
  want(): void {
    const req = this.request;
    const { pieces } = this;
    if (req === null) return;
    if (this.fresh) {
      // As in Node, where a body comes after the ticks that its handler has asked for.
      this.fresh = false;
      process.nextTick(wantNT, this, req);
      return;
    }
    if (pieces.length > 0) {
      this.pieces = [];
      let room = true;
      for (const piece of pieces) room = req.push(piece);
      if (!room && this.message !== null) return;
    }
    if (this.message === null) this.finish();
    else if (this.reading === WAITING) {
      this.reading = FLOWING;
      this.owner.watchInput(true);
    }
  }

  /** The message is read to its end: the request gets what of it is still here. */
  deliver(): void {
    this.fresh = false;
    if (this.message === null) this.want();
  }

  /** The pieces of a message that is read to its end and that nobody has asked for. */
  takeRest(): Buffer[] {
    const { pieces } = this;
    if (this.message !== null) return [];
    this.pieces = [];
    return pieces;
  }

  /** The request has all of its body. */
  private finish(): void {
    const req = this.request;
    if (req === null) return;
    this.request = null;
    req.complete = true;
    if (this.trailers !== null) (req as unknown as RequestState)._addHeaderLines(this.trailers, this.trailers.length);
    req.push(null);
  }

  /** The fd is readable. Pushing data runs handlers' code: everything may have changed after it. */
  onReadable(): void {
    const { owner } = this;
    if (this.reading === WAITING) {
      owner.watchInput(false);
      return;
    }
    let taken = 0;
    while (this.message !== null && (this.reading === FLOWING || this.reading === DRAINING)) {
      const room = this.parser.inputSize;
      const framed = this.left < 0;
      const n = framed ? this.readFramed(this.message, room) : this.readPlain(room);
      if (n === 0) return;
      taken += n + (framed ? PIECE_COST * (this.parser.body.length >> 1) : 0);
      owner.keepToSelf();
      if (!this.passOn()) return;
      if (taken >= MAX_TURN || n < room) return;
    }
  }

  /** Reads at most `room` bytes into `into`; 0: nothing is there, or the client has left. */
  private receive(into: Buffer, at: number, room: number): number {
    const { owner } = this;
    const n = native.recv(owner.fd, into, at, room);
    if (n > 0) {
      owner.received(n);
      return n;
    }
    if (n !== EAGAIN) owner.broken(disconnected(n));
    return 0;
  }

  /** A chunked body: how many bytes there were, 0 if reading is over. */
  private readFramed(message: MessageParser, room: number): number {
    const { parser, owner } = this;
    const n = this.receive(parser.memory, parser.inputAt, room);
    if (n === 0) return 0;
    const result = parser.more(message, parser.inputAt, n);
    if (result === FAILED) {
      owner.malformed(parser.status, parser.reason);
      return 0;
    }
    this.takePieces();
    return result === MESSAGE_DONE ? this.lastRead(parser.consumed, n, room) : n;
  }

  /** The same by Content-Length. */
  private readPlain(room: number): number {
    const { memory, inputAt } = this.parser;
    const own = this.bulk && this.left > room ? Buffer.allocUnsafeSlow(room) : null;
    const n = own === null ? this.receive(memory, inputAt, room) : this.receive(own, 0, room);
    if (n === 0) return 0;
    const part = Math.min(n, this.left);
    this.bulk = n >= BULK;
    // A small piece shall not keep a large buffer.
    if (own !== null && this.bulk) this.pieces.push(n === room ? own : own.subarray(0, n));
    else this.pieces.push(Buffer.from(own === null ? memory.subarray(inputAt, inputAt + part) : own.subarray(0, n)));
    this.left -= part;
    // The last piece has no buffer of its own: what follows the body came into the parser's memory, too.
    return this.left > 0 ? n : this.lastRead(part, n, room);
  }

  /** The message ends behind `part` of the n bytes in the parser's memory; 0: reading is over. */
  private lastRead(part: number, n: number, room: number): number {
    const { memory, inputAt } = this.parser;
    const early = part < n ? Buffer.from(memory.subarray(inputAt + part, inputAt + n)) : null;
    this.messageDone(early, n === room);
    return 0;
  }

  /** Gives the pieces to the reader, or throws them away; false if reading stops for now. */
  private passOn(): boolean {
    const { pieces } = this;
    if (pieces.length === 0) return true;
    this.pieces = [];
    if (this.reading === DRAINING) {
      for (const piece of pieces) this.drained += piece.length;
      if (this.drained <= MAX_DRAIN) return true;
      this.owner.tooMuch();
      return false;
    }
    let room = true;
    for (const piece of pieces) room = this.request?.push(piece) ?? true;
    if (room || this.reading !== FLOWING) return this.reading === FLOWING;
    this.reading = WAITING;
    return false;
  }

  private messageDone(early: Buffer | null, full: boolean): void {
    const draining = this.reading === DRAINING;
    this.takeTrailers(this.message as MessageParser);
    this.stop();
    this.owner.messageRead(early, full);
    const { pieces } = this;
    this.pieces = [];
    if (draining) {
      if (this.dumped !== null) this.dumped.complete = true;
    } else {
      for (const piece of pieces) this.request?.push(piece);
      this.finish();
    }
    this.owner.settle();
  }

  /** The response is out and nobody reads: takes the rest of the body off the wire, within bounds. */
  drain(): void {
    const req = this.request;
    this.request = null;
    // One that was read in part must not look complete to a reader who comes back.
    this.dumped = req !== null && !(req as unknown as RequestState)._consuming ? req : null;
    this.reading = DRAINING;
    if (!this.passOn()) return;
    this.owner.watchInput(true);
    this.onReadable();
  }

  /** Ends the message where it is and gives the parser back. */
  stop(): void {
    if (this.message !== null) {
      this.parser.end(this.message);
      this.message = null;
    }
    if (this.reading !== NONE) {
      this.reading = NONE;
      this.owner.watchInput(false);
    }
  }

  /** Forgets the request: nothing is pushed to it any more. A reader that comes back is told that data is missing. */
  forget(): void {
    this.request = this.dumped = null;
    this.pieces = [];
    this.trailers = null;
  }
}

/** The pieces (at, length, at, length ...) as one. */
function joined(memory: Buffer, pieces: readonly number[]): Buffer {
  let length = 0;
  for (let i = 1; i < pieces.length; i += 2) length += pieces[i];
  const all = Buffer.allocUnsafe(length);
  let to = 0;
  for (let i = 0; i < pieces.length; i += 2) to += memory.copy(all, to, pieces[i], pieces[i] + pieces[i + 1]);
  return all;
}

function wantNT(reader: BodyReader, req: IncomingMessage): void {
  if (reader.feeds(req)) reader.want();
}

/**
 * A reader of a request without a body, or one that comes after the connection has gone on: the end, or an error where part of
 * the body was thrown away. bodiless: there is none.
 */
export function readLate(req: IncomingMessage, bodiless: boolean): void {
  if (bodiless) req.complete = true;
  if (req.complete) req.push(null);
  // As in Node, one that was thrown away unread hears nothing.
  else if (!(req as unknown as RequestState)._dumped) destroyQuietly(req, disconnected(0));
}
