/** A range of an open file in a socket's queue: it leaves by sendfile, from the page cache to the socket. */
import { native } from '../native/binding.js';

/** Bytes in one call, and in a row: whoever else waits for the thread gets a turn, also where the disk is slow. */
export const PIECE = 1 << 20;

export class FilePart {
  private readonly file: number;
  private offset: number;
  /** Bytes still to leave. */
  left: number;
  /** Nothing more leaves. */
  stopped = false;
  private readonly progress: (bytes: number) => boolean;
  private readonly over: () => void;

  /**
   * progress: told of each piece that has left; false stops. over: the part is done, cannot go on (end of the file, an error of
   * either side) or was stopped; `left` says which.
   */
  constructor(file: number, offset: number, length: number, progress: (bytes: number) => boolean, over: () => void) {
    this.file = file;
    this.offset = offset;
    this.left = length;
    this.progress = progress;
    this.over = over;
  }

  /** Sends a piece: bytes sent, 0 where the file has ended, or -errno. */
  send(socket: number): number {
    const n = native.sendfile(socket, this.file, this.offset, Math.min(this.left, PIECE));
    if (n > 0) {
      this.offset += n;
      this.left -= n;
      if (!this.progress(n)) this.stopped = true;
    }
    return n;
  }

  /** The socket has taken it off its queue. */
  done(): void {
    this.stopped = true;
    this.over();
  }
}
