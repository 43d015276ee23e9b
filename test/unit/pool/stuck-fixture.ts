/** A worker that gets stuck in the way its message names. Its lines differ from this source's: only the types' are gone. */
export interface Note {
  what: string;
  /** Set to 1 when the thread is about to be stuck. */
  begun: Int32Array;
}

import { execSync } from 'node:child_process';
import { parentPort } from 'node:worker_threads';

export const stuck: Record<string, () => unknown> = {
  inLoop() {
    while (true) {}
  },
  inRegExp: () => /^(a+)+$/.test(`${'a'.repeat(64)}b`),
  inJson() {
    const text = JSON.stringify(new Array(1000).fill({ a: [1, 2, 3], b: 'x' }));
    // V8 looks at interrupts in a loop with nothing but JSON.parse in it only every few seconds.
    for (;;) [text].map((t) => JSON.parse(t));
  },
  inSort() {
    for (;;) [...'thequickbrownfox'.repeat(50)].sort((a, b) => (a < b ? -1 : 1));
  },
  inWait: () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0),
  async inTicks() {
    for (;;) await null;
  },
  inRecursion: function inRecursion(depth: unknown = 0): void {
    try {
      inRecursion(Number(depth) + 1);
    } catch {
      while (true) {}
    }
  },
  inConsole() {
    for (let i = 0; ; i++) console.log({ i, text: 'x'.repeat(100) });
  },
  withHooks() {
    Error.stackTraceLimit = 0;
    Error.prepareStackTrace = () => {
      throw new Error('not to be called');
    };
    Object.freeze(Error);
    while (true) {}
  },
  inNative: () => execSync('sleep 1'),
};

parentPort!.on('message', (note: Note) => {
  Atomics.store(note.begun, 0, 1);
  stuck[note.what]?.();
  parentPort!.postMessage('over');
});
parentPort!.postMessage('up');
