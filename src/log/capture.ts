/**
 * --capture-output: what JavaScript writes to process.stdout and process.stderr, console included, goes to the error log, line by line. What
 * native code and child processes print is the descriptors' matter (target.ts).
 */
import { StringDecoder } from 'node:string_decoder';
import type { Logger } from '../log.js';

/** A line that does not end is given out in pieces of so many characters. */
const LONGEST = 64 * 1024;

type Put = (text: string) => void;

/** Cuts text into lines. */
class Lines {
  private rest = '';
  private readonly put: Put;

  constructor(put: Put) {
    this.put = put;
  }

  add(text: string): void {
    const lines = (this.rest + text).split('\n');
    this.rest = lines.pop() as string;
    for (const line of lines) this.put(line);
    if (this.rest.length >= LONGEST) this.end();
  }

  /** Gives out what has no end yet. */
  end(): void {
    if (this.rest !== '') this.put(this.rest);
    this.rest = '';
  }
}

/** Both streams of this thread, captured. */
export class Capture {
  readonly #lines: Lines[] = [];
  readonly #undo: (() => void)[] = [];
  readonly #atExit = () => this.end();

  /** @param log the error log of now. */
  constructor(log: () => Logger) {
    for (const name of ['stdout', 'stderr'] as const) {
      const lines = new Lines((line) => log().output(name, line));
      this.#lines.push(lines);
      this.#undo.push(redirect(process[name], (text) => lines.add(text)));
    }
    process.once('exit', this.#atExit);
  }

  /** Gives out lines that have no end yet. */
  end(): void {
    for (const lines of this.#lines) lines.end();
  }

  /** The streams are what they were. */
  close(): void {
    this.end();
    for (const undo of this.#undo) undo();
    process.off('exit', this.#atExit);
  }
}

/** What is written to the stream goes to `put`; for who writes it stays the stream it is. @returns what takes that back. */
export function redirect(stream: NodeJS.WriteStream, put: Put): () => void {
  const decoder = new StringDecoder('utf8');
  const inner = stream as unknown as { _write?: unknown; _writev?: unknown };
  const write = (chunk: Buffer | string, encoding: BufferEncoding, done: () => void) => {
    put(decoder.write(typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk));
    done();
  };
  const before = Object.getOwnPropertyDescriptors(inner);
  Object.assign(inner, { _write: write, _writev: null });
  return () => {
    for (const name of ['_write', '_writev'] as const) {
      if (before[name] === undefined) delete inner[name];
      else Object.defineProperty(inner, name, before[name]);
    }
  };
}
