/** The keepalive queue: a timer wheel against a plain list that does the same. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { KeepaliveQueue, type Queued } from '../../../src/worker/keepalive-queue.js';

class Entry implements Queued {
  readonly name: string;
  due = 0;
  queueSlot = -1;
  queueTick = 0;
  queuePrev: Queued | null = null;
  queueNext: Queued | null = null;

  constructor(name: string) {
    this.name = name;
  }
}

const TICK = 250;
const WHEEL = 512 * TICK;
const names = (entries: Iterable<Entry>) => [...entries].map((entry) => entry.name);
const sorted = (entries: Iterable<Entry>) => names(entries).sort();

describe('KeepaliveQueue', () => {
  test('entries come out when they are due, each once, earlier ticks first', () => {
    const queue = new KeepaliveQueue<Entry>(0);
    queue.add(new Entry('c'), 3 * TICK);
    queue.add(new Entry('a'), TICK);
    queue.add(new Entry('b'), 2 * TICK);
    assert.equal(queue.size, 3);
    assert.deepEqual(names(queue.due(TICK - 1)), []);
    assert.deepEqual(names(queue.due(TICK)), ['a']);
    assert.deepEqual(names(queue.due(TICK)), []);
    assert.deepEqual(names(queue.due(10 * TICK)), ['b', 'c']);
    assert.equal(queue.size, 0);
  });

  test('never early, at most a tick late', () => {
    for (const due of [1001, 1249, 1250, 1251, 1499]) {
      const queue = new KeepaliveQueue<Entry>(1000);
      queue.add(new Entry('x'), due);
      let now = 1000;
      while (queue.due(now).length === 0) now++;
      assert.ok(now >= due && now < due + TICK, `due ${due}, came at ${now}`);
    }
  });

  test('what is due already comes at the next tick', () => {
    const queue = new KeepaliveQueue<Entry>(100 * TICK);
    queue.add(new Entry('late'), 5);
    queue.add(new Entry('now'), 100 * TICK);
    assert.deepEqual(names(queue.due(100 * TICK)), []);
    assert.deepEqual(sorted(queue.due(101 * TICK)), ['late', 'now']);
  });

  test('remove, from any place of a list', () => {
    for (const victim of [0, 1, 2]) {
      const queue = new KeepaliveQueue<Entry>(0);
      const entries = ['a', 'b', 'c'].map((name) => new Entry(name));
      for (const entry of entries) queue.add(entry, 1000);
      assert.equal(queue.remove(entries[victim]), true);
      assert.equal(queue.remove(entries[victim]), false, 'it is in no queue any more');
      assert.equal(queue.size, 2);
      const rest = entries.filter((_, i) => i !== victim).map((entry) => entry.name);
      assert.deepEqual(sorted(queue), rest);
      assert.deepEqual(sorted(queue.due(1000)), rest);
      assert.equal(entries[victim].queuePrev, null);
      assert.equal(entries[victim].queueNext, null);
    }
    assert.equal(new KeepaliveQueue<Entry>(0).remove(new Entry('stranger')), false);
  });

  test('adding again moves', () => {
    const queue = new KeepaliveQueue<Entry>(0);
    const entry = new Entry('x');
    queue.add(entry, 1000);
    queue.add(entry, 5000);
    assert.equal(queue.size, 1);
    assert.deepEqual(names(queue.due(4999)), []);
    queue.add(entry, 5500);
    assert.deepEqual(names(queue.due(5500)), ['x']);
    queue.add(entry, 6000);
    assert.deepEqual(names(queue.due(6000)), ['x'], 'it may come back after it was due');
  });

  test('further away than the wheel is long', () => {
    const queue = new KeepaliveQueue<Entry>(0);
    queue.add(new Entry('one round'), WHEEL + TICK);
    queue.add(new Entry('three rounds'), 3 * WHEEL + TICK);
    queue.add(new Entry('soon'), TICK);
    const seen: string[] = [];
    for (let now = 0; now <= 4 * WHEEL; now += TICK) {
      for (const entry of queue.due(now)) {
        seen.push(`${entry.name} at ${now}`);
      }
    }
    const expected = [`soon at ${TICK}`, `one round at ${WHEEL + TICK}`, `three rounds at ${3 * WHEEL + TICK}`];
    assert.deepEqual(seen, expected);
  });

  test('after a long pause everything comes that is due, in order, and nothing else', () => {
    for (const pause of [WHEEL - TICK, WHEEL, WHEEL + TICK, 3 * WHEEL + 7 * TICK]) {
      const queue = new KeepaliveQueue<Entry>(0);
      const all = Array.from({ length: 1600 }, (_, i) => Object.assign(new Entry(String(i)), { due: (i + 1) * TICK }));
      for (const entry of all) queue.add(entry, entry.due);
      const expected = all.filter((entry) => entry.due <= pause);
      assert.deepEqual(names(queue.due(pause)), names(expected));
      assert.equal(queue.size, all.length - expected.length);
    }
  });

  test('a clock that stands still or goes back does no harm', () => {
    const queue = new KeepaliveQueue<Entry>(10_000);
    queue.add(new Entry('x'), 11_000);
    assert.deepEqual(names(queue.due(9_000)), []);
    assert.deepEqual(names(queue.due(10_000)), []);
    assert.deepEqual(names(queue.due(11_000)), ['x']);
  });

  test('entries may be removed while they are gone through', () => {
    const fill = () => {
      const queue = new KeepaliveQueue<Entry>(0);
      const entries = ['a', 'b', 'c', 'd'].map((name) => new Entry(name));
      for (const entry of entries) queue.add(entry, 1000);
      queue.add(new Entry('far'), 50_000);
      return { queue, entries };
    };
    const own = fill();
    const seen: string[] = [];
    for (const entry of own.queue) {
      seen.push(entry.name);
      own.queue.remove(entry);
    }
    assert.deepEqual(seen.sort(), ['a', 'b', 'c', 'd', 'far']);
    assert.equal(own.queue.size, 0);
    // Another one than the one in hand: it does not come, and the rest does.
    for (let victim = 0; victim < 4; victim++) {
      const { queue, entries } = fill();
      const others: string[] = [];
      for (const entry of queue) {
        if (others.length === 0 && entry !== entries[victim]) queue.remove(entries[victim]);
        others.push(entry.name);
      }
      const expected = ['a', 'b', 'c', 'd', 'far'].filter((name) => name !== entries[victim].name);
      // Where the victim itself came first there was nothing to skip.
      if (others[0] !== entries[victim].name) assert.deepEqual(others.sort(), expected);
    }
  });

  test('add, move, remove and due at random, against a plain set', () => {
    let seed = 7;
    const random = (n: number) => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 1) % n;
    const queue = new KeepaliveQueue<Entry>(0);
    const entries = Array.from({ length: 200 }, (_, i) => new Entry(String(i)));
    const waiting = new Set<Entry>();
    let now = 0;
    let tick = 0;
    for (let i = 0; i < 50_000; i++) {
      const entry = entries[random(entries.length)];
      const action = random(10);
      if (action < 6) {
        const due = now + random(2 * WHEEL);
        queue.add(entry, due);
        entry.due = Math.max(tick + 1, Math.ceil(due / TICK));
        waiting.add(entry);
      } else if (action < 8) assert.equal(queue.remove(entry), waiting.delete(entry));
      else {
        now += random(100) === 0 ? random(3 * WHEEL) : random(4 * TICK);
        tick = Math.floor(now / TICK);
        const expected = [...waiting].filter((e) => e.due <= tick);
        assert.deepEqual(sorted(queue.due(now)), sorted(expected));
        for (const e of expected) waiting.delete(e);
      }
      assert.equal(queue.size, waiting.size);
    }
    assert.deepEqual(sorted(queue), sorted(waiting));
  });

  test('the cost of add and remove does not grow with the size', () => {
    const measure = (n: number) => {
      const queue = new KeepaliveQueue<Entry>(0);
      const entries = Array.from({ length: n }, (_, i) => new Entry(String(i)));
      // All in one list, which is the worst case.
      for (const entry of entries) queue.add(entry, 1000);
      const before = performance.now();
      for (let i = 0; i < 20_000; i++) queue.add(entries[(i * 7919) % n], 1000);
      return performance.now() - before;
    };
    measure(100);
    const few = Math.min(measure(100), measure(100), measure(100));
    const many = Math.min(measure(20_000), measure(20_000), measure(20_000));
    // A list that is searched would take 200 times as long; memory that is not in the cache takes a few times.
    assert.ok(many < 40 * few + 20, `100 entries ${few} ms, 20000 entries ${many} ms`);
  });
});
