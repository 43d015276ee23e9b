/**
 * --capture-output in the arbiter's own process: what hooks print there goes to the error log as what handlers print does, and, where
 * that is a file, what child processes of theirs print. Workers see to themselves.
 */
import { closeSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Config } from '../config/settings.js';
import { Capture } from '../log/capture.js';
import { capturedStreams, LogTarget } from '../log/target.js';
import type { Logger } from '../log.js';
import { native } from '../native/binding.js';

export class Output {
  readonly #log: () => Logger;
  /** What it captures, and into which file; '' nothing. */
  #wanted = '';
  #capture: Capture | null = null;
  #target: LogTarget | null = null;
  /** Where a stream went before. */
  readonly #before = new Map<1 | 2, number>();

  /** @param log the error log of now. */
  constructor(log: () => Logger) {
    this.#log = log;
  }

  /** Captures as a config wants it, from now on. What goes wrong is logged. */
  follow(config: Config): void {
    const { captureOutput, errorlog } = config;
    const streams = capturedStreams(config);
    const wanted = captureOutput ? [...streams, errorlog === '-' ? errorlog : resolve(errorlog)].join() : '';
    if (wanted === this.#wanted) return;
    this.close();
    this.#wanted = wanted;
    if (!captureOutput) return;
    try {
      const target = new LogTarget('error log', errorlog, 2);
      this.#target = target;
      for (const stream of streams) {
        const before = native.dup(stream);
        if (target.takeOver(stream) && before >= 0) this.#before.set(stream, before);
        else if (before >= 0) closeSync(before);
      }
    } catch (err) {
      this.#log().error('Output is not captured', err);
    }
    this.#capture = new Capture(this.#log);
  }

  /** Where standard output and error went before, for a process that is to see to itself. */
  get streams(): [out: number, err: number] {
    return [this.#before.get(1) ?? 1, this.#before.get(2) ?? 2];
  }

  /** The streams go where they went before. */
  close(): void {
    this.#wanted = '';
    this.#capture?.close();
    this.#capture = null;
    for (const [stream, fd] of this.#before) {
      native.dupTo(fd, stream);
      closeSync(fd);
    }
    this.#before.clear();
    this.#target?.close();
    this.#target = null;
  }
}
