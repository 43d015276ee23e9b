/** Fixtures of the app tests: files in a temporary directory, and an exchange that records what it is told. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import type { TestContext } from 'node:test';
import type { FetchExchange } from '../../../src/app/types.js';

/** Writes files into a fresh directory that goes with the test. The project's node_modules is in reach. */
export function project(t: TestContext, files: Record<string, string>): string {
  const dir = mkdtempSync(join(tmpdir(), 'tunicorn-app-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  if (!Object.keys(files).some((name) => name.startsWith('node_modules/'))) {
    symlinkSync(resolve('node_modules'), join(dir, 'node_modules'));
  }
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), text);
  }
  return dir;
}

export interface FakeOptions {
  method?: string;
  target?: string;
  rawHeaders?: string[];
  /** The request body, as the pieces in which it arrives; a Readable to control it from the test. */
  body?: string[] | Readable;
  /** write() answers false after this many calls, until drain(). */
  blockAfter?: number;
}

/** Checks the contract of FetchExchange while it records. `done` resolves once the exchange is settled. */
export class FakeExchange implements FetchExchange {
  readonly method: string;
  readonly target: string;
  readonly rawHeaders: string[];
  readonly scheme = 'http';
  readonly localAuthority = '127.0.0.1:8000';
  readonly hasBody: boolean;
  aborted = false;
  status = 0;
  statusText = '';
  headers: string[] = [];
  /** As given to send(); undefined where the response was streamed. */
  sent: string | Uint8Array | null | undefined;
  length: number | null | undefined;
  chunks: Uint8Array[] = [];
  ended = false;
  failure: unknown;
  abortListeners = 0;
  /** Told of each step, for tests that wait for one. */
  onStep: () => void = () => {};
  readonly done: Promise<void>;
  #settle!: () => void;
  #req: Readable | null;
  #abort: ((reason: Error) => void)[] = [];
  #drain: (() => void)[] = [];
  #blockAfter: number;

  constructor(options: FakeOptions = {}) {
    this.method = options.method ?? 'GET';
    this.target = options.target ?? '/';
    this.rawHeaders = options.rawHeaders ?? ['Host', 'example.test'];
    this.hasBody = options.body !== undefined;
    this.#blockAfter = options.blockAfter ?? Number.POSITIVE_INFINITY;
    const body = options.body;
    this.#req = Array.isArray(body)
      ? Readable.from(
          body.map((piece) => Buffer.from(piece)),
          { objectMode: false },
        )
      : (body ?? null);
    this.done = new Promise((settle) => {
      this.#settle = settle;
    });
  }

  get req(): IncomingMessage {
    if (this.#req === null) throw new Error('the request stream was touched');
    return this.#req as IncomingMessage;
  }

  controlOf(): null {
    return null;
  }

  onAbort(fn: (reason: Error) => void): void {
    this.abortListeners++;
    this.#abort.push(fn);
  }

  send(status: number, statusText: string, headers: string[], body: string | Uint8Array | null): void {
    this.writeHead(status, statusText, headers, null);
    this.sent = body;
    this.#finish();
  }

  writeHead(status: number, statusText: string, headers: string[], length: number | null): void {
    if (this.status !== 0) throw new Error('two heads');
    this.status = status;
    this.statusText = statusText;
    this.headers = headers;
    this.length = length;
    this.onStep();
  }

  write(chunk: Uint8Array): boolean {
    if (this.status === 0 || this.ended) throw new Error('write outside of a response');
    this.chunks.push(Uint8Array.from(chunk));
    this.onStep();
    return this.chunks.length < this.#blockAfter;
  }

  onDrain(fn: () => void): void {
    this.#drain.push(fn);
    this.onStep();
  }

  end(): void {
    this.#finish();
  }

  fail(err: unknown): void {
    this.failure = err ?? new Error('failed with nothing');
    this.#finish();
  }

  #finish(): void {
    if (this.ended) throw new Error('settled twice');
    this.ended = true;
    this.onStep();
    this.#settle();
  }

  /** The client leaves. */
  abort(reason = new Error('client left')): void {
    this.aborted = true;
    for (const fn of this.#abort) fn(reason);
    this.#settle();
  }

  get waitsForDrain(): boolean {
    return this.#drain.length > 0;
  }

  /** The socket takes more; block again after that many writes. */
  drain(blockAfter: number): void {
    this.#blockAfter = this.chunks.length + blockAfter;
    for (const fn of this.#drain.splice(0)) fn();
  }

  /** Resolves when condition holds, looked at after each step. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolveUntil) => {
      const look = () => {
        if (condition()) resolveUntil();
      };
      this.onStep = look;
      look();
    });
  }

  /** All of the response's body as text. */
  get text(): string {
    if (typeof this.sent === 'string') return this.sent;
    return Buffer.concat(this.sent ? [this.sent] : this.chunks).toString();
  }

  header(name: string): string[] {
    return this.headers.filter((_, i) => i % 2 === 1 && this.headers[i - 1].toLowerCase() === name);
  }
}
