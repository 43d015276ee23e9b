/**
 * A file that lines are appended to, by several processes and threads at once. Each write carries whole lines (O_APPEND;
 * up to PIPE_BUF bytes where a pipe would otherwise mix them), and nothing here throws or waits for a reader: what a full
 * pipe does not take is held for the next flush, up to a bound; on any other failure (full disk, closed pipe) the lines
 * are dropped and counted. sonic-boom is not used because its synchronous flush repeats a failing write for ever.
 */
import { closeSync, fstatSync, openSync, writeSync } from 'node:fs';

/** Characters held back for a destination that does not take them. */
const MAX_HELD = 1024 * 1024;
/** So much is written at once, and the most that waits for a flush. */
const CHUNK = 64 * 1024;
/** Writes to a pipe are whole up to this size, whoever else writes to it. */
const PIPE_BUF = 4096;
const NEWLINE = 10;

export class LogFile {
  /** Lines lost so far because the destination failed. */
  dropped = 0;
  /** Null: a standard stream, which is not ours to open or close. */
  readonly #path: string | null;
  #fd: number;
  #chunk: number;
  /** Lines not yet in a write, and their length together. */
  #lines: string[] = [];
  #size = 0;
  /** What is left of a write that a full pipe cut, and how many lines that write had. */
  #rest: Buffer | null = null;
  #inWrite = 0;

  /**
   * @param path '-' is the standard stream `standardFd`.
   * @throws what openSync throws.
   */
  constructor(path: string, standardFd: 1 | 2) {
    this.#path = path === '-' ? null : path;
    this.#fd = path === '-' ? standardFd : openSync(path, 'a');
    this.#chunk = chunkFor(this.#fd);
  }

  /** Adds text that ends a line. It leaves at flush(), or now if much is waiting. */
  write(text: string): void {
    if (this.#fd < 0 || this.#size > MAX_HELD) {
      this.dropped++;
      return;
    }
    this.#lines.push(text);
    this.#size += text.length;
    if (this.#size >= CHUNK) this.flush();
  }

  /** Writes what is waiting. @returns false if some of it still is. */
  flush(): boolean {
    while (this.#rest !== null || this.#lines.length > 0) {
      const bytes = this.#rest ?? this.#take();
      let sent = 0;
      try {
        while (sent < bytes.length) sent += writeSync(this.#fd, bytes, sent);
        this.#rest = null;
      } catch (err) {
        if ((err as NodeJS.ErrnoException).code === 'EAGAIN') {
          this.#rest = bytes.subarray(sent);
          return false;
        }
        this.#drop(sent > 0 && bytes[sent - 1] !== NEWLINE);
        return true;
      }
    }
    return true;
  }

  /** flush(), and patience with a slow reader: `ms` at most. For the end of a process. */
  drain(ms: number): void {
    const until = performance.now() + ms;
    const nap = new Int32Array(new SharedArrayBuffer(4));
    while (!this.flush() && performance.now() < until) Atomics.wait(nap, 0, 0, 10);
  }

  /** Opens the file again, after a rotation renamed it. If that fails, the old one is better than none. */
  reopen(): void {
    if (this.#path === null || this.#fd < 0) return;
    this.flush();
    try {
      const fd = openSync(this.#path, 'a');
      closeSync(this.#fd);
      this.#fd = fd;
      this.#chunk = chunkFor(fd);
    } catch {
      // Tried again at the next rotation.
    }
  }

  /** Later lines are dropped. A second call does nothing. */
  close(): void {
    if (this.#fd < 0) return;
    this.drain(DRAIN_MS);
    if (this.#path !== null) closeSync(this.#fd);
    this.#fd = -1;
  }

  /** Takes the lines of the next write out: as many as fit, at least one. */
  #take(): Buffer {
    let bytes = 0;
    let count = 0;
    while (count < this.#lines.length) {
      bytes += Buffer.byteLength(this.#lines[count]);
      if (bytes > this.#chunk) break;
      count++;
    }
    const lines = this.#lines.splice(0, Math.max(1, count));
    for (const line of lines) this.#size -= line.length;
    this.#inWrite = lines.length;
    return Buffer.from(lines.join(''));
  }

  /** Gives up everything that waits. A line that was cut is ended, so that the next one starts on its own. */
  #drop(torn: boolean): void {
    this.dropped += this.#inWrite + this.#lines.length;
    this.#lines = [];
    this.#size = 0;
    this.#inWrite = 0;
    this.#rest = torn ? Buffer.of(NEWLINE) : null;
  }
}

/** Longest wait for a slow reader at the end of a process or thread. */
export const DRAIN_MS = 500;

function chunkFor(fd: number): number {
  return fstatSync(fd).isFile() ? CHUNK : PIPE_BUF;
}
