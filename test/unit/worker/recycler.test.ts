/** Recycler: which thread is replaced, and when, with a pool and a clock that are made up. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ThreadHandle } from '../../../src/pool/thread-handle.js';
import { allocate, Shared, T } from '../../../src/shared/memory.js';
import { Recycler } from '../../../src/worker/recycler.js';

const MIB = 1024;

class Rig {
  readonly config = { maxRequests: 0, maxRequestsJitter: 0, threadMaxMemory: 0 };
  readonly shared = new Shared(allocate(4, 16, { epfd: -1, mainWake: -1, threadWake: [] }));
  readonly running = [1, 2, 3].map((slot) => ({ slot, asked: '' }) as ThreadHandle);
  readonly served = new Map<number, number>();
  readonly replaced: Array<[slot: number, reason: string]> = [];
  replacing = false;
  time = 0;
  random = () => 0.5;
  private done: (swapped: boolean) => void = () => {};
  readonly recycler = new Recycler({
    pool: this as never,
    shared: this.shared,
    config: () => this.config,
    random: () => this.random(),
    now: () => this.time,
  });

  servedBy({ slot }: ThreadHandle): number {
    return this.served.get(slot) ?? 0;
  }

  replace(slot: number, reason: string): Promise<boolean> {
    this.replacing = true;
    this.replaced.push([slot, reason]);
    return new Promise((resolve) => {
      this.done = resolve;
    });
  }

  /** The replacement took so long, ms. */
  async over(ms: number, swapped = true): Promise<void> {
    this.time += ms;
    this.replacing = false;
    this.done(swapped);
    await new Promise(setImmediate);
  }

  set(slot: number, word: number, value: number): void {
    this.shared.control[this.shared.threadWord(slot, word)] = value;
  }
}

describe('Recycler', () => {
  test('does nothing where nothing is set', () => {
    const rig = new Rig();
    rig.served.set(1, 1e9);
    rig.set(1, T.HEAP, 1e6);
    rig.recycler.look();
    assert.deepEqual(rig.replaced, []);
  });

  test('replaces a thread that has served max_requests and its share of the jitter', () => {
    const rig = new Rig();
    rig.config.maxRequests = 50;
    rig.config.maxRequestsJitter = 9;
    rig.served.set(2, 54);
    rig.recycler.look();
    assert.deepEqual(rig.replaced, []);
    rig.served.set(2, 55);
    rig.recycler.look();
    assert.deepEqual(rig.replaced, [[2, '55 requests']]);
  });

  test('each thread has a jitter of its own', () => {
    const rig = new Rig();
    const shares = [0.9, 0, 0.5];
    rig.random = () => shares.shift()!;
    rig.config.maxRequests = 10;
    rig.config.maxRequestsJitter = 10;
    for (const slot of [1, 2, 3]) rig.served.set(slot, 14);
    rig.recycler.look();
    assert.deepEqual(rig.replaced, [[2, '14 requests']]);
  });

  test('replaces a thread that has grown too big, and one that asks for it', async () => {
    const rig = new Rig();
    rig.config.threadMaxMemory = 100;
    rig.set(3, T.HEAP, 100 * MIB - 1);
    rig.recycler.look();
    rig.set(3, T.HEAP, 100 * MIB);
    rig.recycler.look();
    assert.deepEqual(rig.replaced, [[3, '100 MiB of memory']]);
    await rig.over(0);
    rig.set(3, T.HEAP, 0);
    rig.running[0].asked = 'uncaught exception';
    rig.recycler.look();
    assert.deepEqual(rig.replaced[1], [1, 'uncaught exception']);
  });

  test('idle threads go first', () => {
    const rig = new Rig();
    rig.config.maxRequests = 1;
    for (const slot of [1, 2, 3]) rig.served.set(slot, 1);
    rig.set(1, T.INFLIGHT, 1);
    rig.set(2, T.BUSY, 1);
    rig.recycler.look();
    assert.equal(rig.replaced[0][0], 3);
  });

  test('one at a time, at most a tenth of the time', async () => {
    const rig = new Rig();
    rig.config.maxRequests = 1;
    for (const slot of [1, 2, 3]) rig.served.set(slot, 1);
    rig.recycler.look();
    rig.recycler.look();
    assert.equal(rig.replaced.length, 1);
    await rig.over(100);
    rig.time += 899;
    rig.recycler.look();
    assert.equal(rig.replaced.length, 1);
    rig.time += 1;
    rig.recycler.look();
    assert.equal(rig.replaced.length, 2);
  });

  test('after one that failed it waits', async () => {
    const rig = new Rig();
    rig.running[0].asked = 'a test';
    rig.recycler.look();
    await rig.over(10, false);
    rig.time += 9999;
    rig.recycler.look();
    assert.equal(rig.replaced.length, 1);
    rig.time += 1;
    rig.recycler.look();
    assert.equal(rig.replaced.length, 2);
  });
});
