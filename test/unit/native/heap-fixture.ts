/** A thread that outgrows its heap in the way it is told, by one allocation that Node's own 16 MB do not cover. */
import { workerData } from 'node:worker_threads';
import { native } from '../../../src/native/binding.js';

const { how, words, fd } = workerData as { how: string; words: Int32Array; fd: number };
words[1] = native.heapGuard(words, 0, fd);
const grow: Record<string, () => void> = {
  array() {
    // What an app holds: it decides at which length of the array the limit is reached.
    const held: unknown[] = [];
    for (let i = 0; i < 100_000; i++) held.push({ i });
    const all: number[] = [];
    for (;;) all.push(held.length);
  },
  map() {
    const all = new Map<number, number>();
    for (let i = 0; ; i++) all.set(i, i);
  },
  json() {
    const text = `[${'1,'.repeat(5e6)}1]`;
    const all: unknown[] = [];
    for (;;) all.push(JSON.parse(text));
  },
};
grow[how]();
