/**
 * A descriptor that lines are written to, by several processes and threads at once. Each write carries whole lines (O_APPEND;
 * up to PIPE_BUF bytes where a pipe would otherwise mix them), and nothing here throws or waits for a reader: what a full
 * pipe does not take is held and tried again, up to a bound; on any other failure (full disk, closed pipe) lines are dropped
 * and counted, and when it works again `onRecovered` hears how many. sonic-boom is not used because its synchronous flush
 * repeats a failing write for ever.
 *
 * What is held stands in shared memory, in bytes: the memory outlives a thread that is terminated, and whoever has it too can
 * write the rest (a new FileSink over the same memory).
 */
import { fstatSync } from 'node:fs';
import { EAGAIN, native } from '../native/binding.js';

/** Bytes held back for a destination that does not take them. */
const MAX_HELD = 1024 * 1024;
/** So much is written at once, and the most that waits for a flush. */
const CHUNK = 64 * 1024;
/** Writes to a pipe are whole up to this size, whoever else writes to it. */
const PIPE_BUF = 4096;
const NEWLINE = 10;
/** Words before the bytes: where what is held begins and ends. */
const START = 0;
const END = 1;
const WORDS = 2;
/** Longest wait for slow readers at the end of a process or thread, ms. */
const DRAIN_MS = 500;
/** Pauses between two tries at a full pipe: as long as it takes something, and at most, ms. */
const FIRST_RETRY_MS = 5;
const LONGEST_RETRY_MS = 100;

/** Memory for what a sink holds. It is only used as far as lines really have to wait. */
export function heldMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(WORDS * 4 + MAX_HELD);
}

/** A descriptor, and what is held for it: all that another thread needs to write the same log. */
export interface Outlet {
  fd: number;
  held: SharedArrayBuffer;
}

/** Hears how many lines were lost, and why, when the destination works again. */
export type Recovered = (lost: number, why: string) => void;

/** Sinks that are open, for the end of the process or thread: a pipe that was full gets a last chance. */
const openSinks = new Set<FileSink>();
process.once('exit', () => {
  const until = performance.now() + DRAIN_MS;
  for (const sink of openSinks) sink.drain(until - performance.now());
});

export class FileSink {
  /** Lines lost so far because the destination failed. */
  dropped = 0;
  onRecovered: Recovered | null = null;
  readonly #fd: number;
  readonly #isSocket: boolean;
  readonly #chunk: number;
  readonly #words: Int32Array;
  readonly #bytes: Buffer;
  #open = true;
  /** The last byte that left was not the end of a line; and a line was cut for good: the next one starts on its own. */
  #torn = false;
  #cut = false;
  /** Lines lost that nobody was told of, and why. */
  #lost = 0;
  #why = '';
  #retryMs = FIRST_RETRY_MS;
  #retry: NodeJS.Timeout | null = null;

  /** The descriptor is somebody else's to close. `held` may be memory that a thread has left behind. */
  constructor({ fd, held }: Outlet) {
    this.#fd = fd;
    const stat = fstatSync(fd);
    this.#isSocket = stat.isSocket();
    this.#chunk = stat.isFile() ? CHUNK : PIPE_BUF;
    this.#words = new Int32Array(held, 0, WORDS);
    this.#bytes = Buffer.from(held, WORDS * 4);
    openSinks.add(this);
  }

  /** Adds text, as a rule whole lines. It leaves at flush(), or now if much is waiting. Never throws. */
  write(text: string): void {
    if (this.#cut) {
      this.#cut = false;
      text = `\n${text}`;
    }
    if (!this.#hasRoom(text)) {
      if (text.length > CHUNK && this.#open) this.#writeLong(Buffer.from(text));
      else this.#lose(1, 'nobody reads it');
      return;
    }
    const words = this.#words;
    words[END] += this.#bytes.write(text, words[END]);
    if (words[END] - words[START] >= CHUNK) this.flush();
  }

  #hasRoom(text: string): boolean {
    if (!this.#open) return false;
    const words = this.#words;
    if (words[END] + text.length * 3 <= MAX_HELD) return true;
    if (this.flush()) return text.length * 3 <= MAX_HELD;
    if (words[START] > MAX_HELD / 2) {
      this.#bytes.copyWithin(0, words[START], words[END]);
      words[END] -= words[START];
      words[START] = 0;
    }
    return words[END] + Buffer.byteLength(text) <= MAX_HELD;
  }

  /** More than fits at once: as much of it as the reader takes meanwhile. */
  #writeLong(bytes: Buffer): void {
    const words = this.#words;
    for (let at = 0; at < bytes.length; ) {
      const n = bytes.copy(this.#bytes, words[END], at, at + MAX_HELD - words[END]);
      at += n;
      words[END] += n;
      if (!this.flush() && n === 0) {
        this.#cut = true;
        return this.#lose(1, 'nobody reads it');
      }
    }
  }

  /** Writes what is waiting. @returns false if some of it still is. */
  flush(): boolean {
    const words = this.#words;
    if (words[START] >= words[END]) return true;
    while (words[START] < words[END]) {
      const n = this.#put(words[START], this.#portion(words[START], words[END]));
      if (n === EAGAIN) {
        this.#later();
        return false;
      }
      if (n < 0) {
        this.#fail(n);
        return true;
      }
      this.#torn = this.#bytes[words[START] - 1] !== NEWLINE;
      this.#retryMs = FIRST_RETRY_MS;
    }
    // In this order: whoever looks in between finds nothing.
    words[END] = 0;
    words[START] = 0;
    // It has taken something: it works.
    if (this.#lost > 0) {
      const lost = this.#lost;
      this.#lost = 0;
      this.onRecovered?.(lost, this.#why);
    }
    return true;
  }

  /** Bytes of the next write: as many lines as fit, at least one. */
  #portion(start: number, end: number): number {
    if (end - start <= this.#chunk) return end - start;
    const last = this.#bytes.lastIndexOf(NEWLINE, start + this.#chunk - 1);
    if (last >= start) return last + 1 - start;
    const next = this.#bytes.indexOf(NEWLINE, start);
    return (next < 0 || next >= end ? end : next + 1) - start;
  }

  /** Writes, and moves START on in the same call: the thread may be ended behind it. n | -errno. */
  #put(start: number, length: number): number {
    return native.writeOut(this.#fd, this.#bytes, start, length, this.#words, START, this.#isSocket ? 1 : 0);
  }

  #later(): void {
    if (this.#retry !== null) return;
    this.#retry = setTimeout(() => {
      this.#retry = null;
      this.#retryMs = Math.min(LONGEST_RETRY_MS, this.#retryMs * 2);
      this.flush();
    }, this.#retryMs).unref();
  }

  /** Gives up everything that waits. */
  #fail(error: number): void {
    const words = this.#words;
    let lines = 0;
    for (let at = words[START]; at < words[END]; lines++) {
      const next = this.#bytes.indexOf(NEWLINE, at);
      at = next < 0 ? words[END] : next + 1;
    }
    this.#cut = this.#torn;
    this.#torn = false;
    words[END] = 0;
    words[START] = 0;
    this.#lose(lines, native.errnoName(error));
  }

  #lose(lines: number, why: string): void {
    this.dropped += lines;
    this.#lost += lines;
    this.#why = why;
  }

  /** flush(), and patience with a slow reader: `ms` at most. For the end of a process. */
  drain(ms: number): void {
    const until = performance.now() + ms;
    const nap = new Int32Array(new SharedArrayBuffer(4));
    while (!this.flush() && performance.now() < until) Atomics.wait(nap, 0, 0, 10);
  }

  /** Writes what is waiting; later lines are dropped. A second call does nothing. The descriptor stays open. */
  close(): void {
    if (!this.#open) return;
    this.drain(DRAIN_MS);
    this.#open = false;
    if (this.#retry !== null) clearTimeout(this.#retry);
    openSinks.delete(this);
  }
}

/**
 * Writes what a thread that is gone has left in its memory, in main's place. What a full pipe does not take now is tried again
 * for as long as the process lives. @returns true if nothing is left: the memory may be used again.
 */
export function rescue(outlet: Outlet): boolean {
  const words = new Int32Array(outlet.held, 0, WORDS);
  if (words[START] < words[END]) {
    const sink = new FileSink(outlet);
    if (!sink.flush()) return false;
    sink.close();
  }
  // It may have been ended between the last byte and this.
  words[END] = 0;
  words[START] = 0;
  return true;
}
