/**
 * What handlers write to process.stdout and process.stderr, console included. In a thread Node sends that to the main thread, one
 * message at a time and only as fast as that one answers: a thread that is ended takes with it what waits. Here it is written
 * at once, by the thread itself; with --capture-output it goes to the error log, line by line.
 */
import { StringDecoder } from 'node:string_decoder';
import { isMainThread } from 'node:worker_threads';
import type { ProcessLogs } from '../log/process-logs.js';

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

/**
 * Takes over this thread's process.stdout and process.stderr; in class sync, on the worker's main thread, only to capture.
 * @returns what gives out lines that have no end yet: to be called when the thread ends in peace.
 */
export function takeStdio(logs: ProcessLogs, capture: boolean): () => void {
  const captured: Lines[] = [];
  const end = () => {
    for (const lines of captured) lines.end();
  };
  if (isMainThread && !capture) return end;
  process.once('exit', end);
  for (const name of ['stdout', 'stderr'] as const) {
    if (capture) {
      const lines = new Lines((line) => logs.log.output(name, line));
      captured.push(lines);
      redirect(process[name], (text) => lines.add(text));
    } else {
      const sink = logs[name];
      redirect(process[name], (text) => {
        sink.write(text);
        sink.flush();
      });
    }
  }
  return end;
}

/** What is written to the stream goes to `put`; for who writes it stays the stream it is. */
function redirect(stream: NodeJS.WriteStream, put: Put): void {
  const decoder = new StringDecoder('utf8');
  const inner = stream as unknown as {
    _write(chunk: Buffer | string, encoding: BufferEncoding, done: () => void): void;
    _writev: null;
  };
  inner._write = (chunk, encoding, done) => {
    put(decoder.write(typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk));
    done();
  };
  inner._writev = null;
}
