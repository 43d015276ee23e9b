/**
 * Connections that main has answered itself and that end: the answer is out, the writing side is shut, and what the client
 * still sends is thrown away until it has closed too, so that no reset overtakes the answer (RFC 9112, 9.6). Bounded by time.
 */
import { EAGAIN, native } from '../native/binding.js';
import type { ConnTable } from '../shared/tconn.js';
import type { TConn } from './tconn.js';

const LOOK_MS = 100;
const LINGER_MS = 2000;
/** Bytes thrown away of one connection before others get their turn. */
const MOST = 1 << 20;

export class Lingerer {
  private readonly table: ConnTable;
  private readonly closed: (conn: TConn) => void;
  private readonly list = new Map<TConn, number>();
  private readonly scratch = new Uint8Array(65536);
  private timer: NodeJS.Timeout | null = null;

  /** closed: the connection is gone. */
  constructor(table: ConnTable, closed: (conn: TConn) => void) {
    this.table = table;
    this.closed = closed;
  }

  /** Sends a last answer ('' for none) on a connection that main owns, and ends it. */
  end(conn: TConn, answer: string): void {
    if (answer !== '') native.sendString(conn.fd, answer, 1);
    native.shutdown(conn.fd, 1);
    if (this.drain(conn)) return;
    this.list.set(conn, performance.now() + LINGER_MS);
    this.timer ??= setInterval(() => this.look(), LOOK_MS);
  }

  /** Ends what is left at once. */
  stop(): void {
    for (const conn of this.list.keys()) this.close(conn);
    this.look();
  }

  private look(): void {
    const now = performance.now();
    for (const [conn, end] of this.list) if (!this.drain(conn) && now >= end) this.close(conn);
    if (this.list.size > 0 || this.timer === null) return;
    clearInterval(this.timer);
    this.timer = null;
  }

  /** Throws away what has come; true if that was the end. */
  private drain(conn: TConn): boolean {
    for (let taken = 0; taken < MOST; ) {
      const n = native.recv(conn.fd, this.scratch, 0, this.scratch.length);
      if (n === EAGAIN) return false;
      if (n <= 0) {
        this.close(conn);
        return true;
      }
      taken += n;
    }
    return false;
  }

  private close(conn: TConn): void {
    this.list.delete(conn);
    this.closed(conn);
    this.table.close(conn.fd);
  }
}
