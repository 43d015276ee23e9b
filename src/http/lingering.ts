/**
 * The end of a connection whose last answer is out, or on its way: the writing side is shut, and input is thrown away until the
 * client has closed too (bounded by time: thread/sweep.ts). Closed at once with input unread, the kernel would send a reset,
 * which takes the answer with it.
 */
import { EAGAIN, native } from '../native/binding.js';
import { MAX_TURN } from './body.js';
import type { ConnectionHost } from './connection-host.js';

/** The connection, as far as this needs it. */
export interface Leaving {
  readonly host: ConnectionHost;
  readonly fd: number;
  readonly closed: boolean;
  touched: number;
  /** Asks to hear when the fd is readable, and when it is writable. */
  setWatch(read: boolean, write: boolean): void;
  /** The connection is over. */
  drop(): void;
}

export class Lingering {
  private readonly conn: Leaving;
  /** What the kernel did not take of the answer. */
  private rest: Buffer | null;

  constructor(conn: Leaving, rest: Buffer | null) {
    this.conn = conn;
    this.rest = rest;
  }

  start(): void {
    if (this.rest === null) native.shutdown(this.conn.fd, 1);
    this.conn.setWatch(true, this.rest !== null);
    this.onReadable();
  }

  onReadable(): void {
    const { conn } = this;
    const { parser, clock } = conn.host;
    let taken = 0;
    while (!conn.closed && taken < MAX_TURN) {
      const n = native.recv(conn.fd, parser.memory, parser.inputAt, parser.inputSize);
      if (n === EAGAIN) return;
      if (n <= 0) return conn.drop();
      conn.touched = clock[0];
      taken += n;
    }
  }

  /** A client that reads slowly gets all of the answer. */
  onWritable(): void {
    const { conn, rest } = this;
    if (rest === null) return;
    const n = native.send(conn.fd, rest, 0, rest.length);
    if (n === EAGAIN) return;
    if (n < 0) return conn.drop();
    this.rest = n < rest.length ? rest.subarray(n) : null;
    if (this.rest !== null) return;
    native.shutdown(conn.fd, 1);
    conn.setWatch(true, false);
  }
}
