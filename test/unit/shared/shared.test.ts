/** The memory that threads share: its layout, the rings of ready connections, and who owns a connection. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { native } from '../../../src/native/binding.js';
import { allocate, C, CONN_WORDS, RING_ENTRIES, Shared, T } from '../../../src/shared/memory.js';
import { ReadyRing } from '../../../src/shared/ready-ring.js';
import {
  ConnTable,
  HAS_HEAD,
  IN_HAND,
  OWNER_FREE,
  OWNER_IDLE,
  OWNER_MAIN,
  OWNER_THREAD,
  READ_AHEAD,
  REGISTERED,
  SERVED_ONE,
} from '../../../src/shared/tconn.js';
import { ok, openFds } from '../../support/native.js';
import { until } from '../../support/poll.js';
import { type Fixture, pairOf } from './shared-fixture.js';

const NO_FDS = { epfd: -1, mainWake: -1, threadWake: [] };

async function startThreads(count: number, data: Omit<Fixture, 'slot'>): Promise<Worker[]> {
  const workers = Array.from(
    { length: count },
    (_, i) => new Worker(new URL('./shared-fixture.js', import.meta.url), { workerData: { ...data, slot: i + 1 } }),
  );
  await Promise.all(workers.map((worker) => once(worker, 'message')));
  return workers;
}

const sharedWords = (n: number) => new Int32Array(new SharedArrayBuffer(4 * n));

describe('Shared', () => {
  test('every word has its own place', () => {
    const memory = allocate(3, 100, NO_FDS);
    const shared = new Shared(memory);
    assert.equal(shared.threads, 3);
    assert.equal(shared.conns.length, 100 * CONN_WORDS);
    assert.equal(shared.rings.length, 2 * 4 * RING_ENTRIES * 2);
    const places: number[] = Object.values(C);
    for (let slot = 0; slot <= 3; slot++) {
      for (const word of Object.values(T)) places.push(shared.threadWord(slot, word));
    }
    assert.equal(new Set(places).size, places.length);
    assert.ok(places.every((at) => at >= 0 && at < shared.control.length));
    assert.equal(shared.threadWord(2, T.SENT), shared.threadWord(2, T.CLOCK) + 1, 'as native.useClock writes them');
    for (const part of [memory.control, memory.rings, memory.conns]) {
      assert.ok(part instanceof SharedArrayBuffer);
      assert.ok(new Int32Array(part).every((word) => word === 0));
    }
  });
});

describe('ReadyRing', () => {
  const make = (start = 0, slot = 0) => {
    const shared = new Shared(allocate(2, 1, NO_FDS));
    shared.control[shared.threadWord(slot, T.RING_HEAD)] = start;
    shared.control[shared.threadWord(slot, T.RING_TAIL)] = start;
    return new ReadyRing(shared, slot);
  };

  for (const start of [0, 1000, 0x7fffffff - 10, 0x7fffffff, -0x80000000, -1]) {
    test(`first in, first out, full and empty; counters from ${start}`, () => {
      const ring = make(start);
      assert.equal(ring.empty, true);
      assert.equal(ring.take(), -1);
      for (let round = 0; round < 3; round++) {
        for (let i = 0; i < RING_ENTRIES; i++) {
          assert.equal(ring.room, RING_ENTRIES - i);
          assert.equal(ring.put(i, i + 5), true);
        }
        assert.equal(ring.room, 0);
        assert.equal(ring.put(9999, 0), false, 'full');
        for (let i = 0; i < RING_ENTRIES; i++) {
          assert.equal(ring.empty, false);
          assert.equal(ring.take(), i);
          assert.equal(ring.generation, i + 5);
        }
        assert.equal(ring.empty, true);
      }
      assert.equal(ring.room, RING_ENTRIES);
    });
  }

  test('each tells of what stands in it, across the wrap of the counters', () => {
    const ring = make(0x7fffffff - 2);
    for (let i = 0; i < 6; i++) ring.put(i, i + 5);
    ring.take();
    const seen: number[] = [];
    ring.each((fd, generation) => seen.push(fd, generation));
    assert.deepEqual(seen, [1, 6, 2, 7, 3, 8, 4, 9, 5, 10]);
  });

  test('rings of different slots do not touch each other', () => {
    const shared = new Shared(allocate(2, 1, NO_FDS));
    const rings = [0, 1, 2].map((slot) => new ReadyRing(shared, slot));
    for (let i = 0; i < RING_ENTRIES; i++) for (const [slot, ring] of rings.entries()) ring.put(i, slot);
    for (const [slot, ring] of rings.entries()) {
      for (let i = 0; i < RING_ENTRIES; i++) {
        assert.equal(ring.take(), i);
        assert.equal(ring.generation, slot);
      }
    }
  });

  test('three threads take, one puts: every entry comes exactly once, across the wrap of the counters', async () => {
    const entries = 100_000;
    const memory = allocate(1, 1, NO_FDS);
    const shared = new Shared(memory);
    shared.control[shared.threadWord(0, T.RING_HEAD)] = 0x7fffffff - entries / 2;
    shared.control[shared.threadWord(0, T.RING_TAIL)] = 0x7fffffff - entries / 2;
    const [stop, seen, wrong] = [sharedWords(1), sharedWords(entries), sharedWords(2)];
    const workers = await startThreads(3, { role: 'ring', memory, stop, seen, wrong });
    const ring = new ReadyRing(shared, 0);
    const end = performance.now() + 10_000;
    for (let i = 0; i < entries; ) {
      if (ring.put(i, pairOf(i))) i++;
      else if (performance.now() > end) throw new Error('nobody takes');
      else await turn();
    }
    await until(() => ring.empty);
    Atomics.store(stop, 0, 1);
    await Promise.all(workers.map((worker) => once(worker, 'exit')));
    assert.equal(wrong[0], 0, 'fd and generation belong together');
    assert.ok(seen.every((times) => times === 1));
    assert.ok(shared.control[shared.threadWord(0, T.RING_TAIL)] < 0, 'the counters wrapped');
  });
});

describe('ConnTable', () => {
  /** A table, and a connection in it that main has just accepted. */
  function make() {
    const shared = new Shared(allocate(3, 4096, { epfd: -1, mainWake: ok(native.eventfd()), threadWake: [] }));
    const table = new ConnTable(shared);
    const fd = ok(native.eventfd());
    const generation = table.open(fd, 5);
    return { shared, table, fd, generation, done: () => native.close(shared.memory.mainWake) };
  }

  test('open: a new generation, nothing of the one before', () => {
    const { shared, table, fd, generation, done } = make();
    assert.equal(table.owner(fd), OWNER_MAIN);
    assert.equal(table.generation(fd), generation);
    assert.equal(table.listener(fd), 5);
    assert.equal(shared.control[C.OPEN], 1);
    table.setFacts(fd, table.facts(fd) | REGISTERED | HAS_HEAD);
    table.setDeadline(fd, 1234);
    table.markSent(fd);
    table.askNotice(fd);
    table.close(fd);
    assert.equal(table.owner(fd), OWNER_FREE);
    assert.equal(shared.control[C.OPEN], 0);
    const again = ok(native.eventfd());
    assert.equal(again, fd, 'the kernel gives the lowest number');
    assert.equal(table.open(again, 1), generation + 1);
    assert.equal(table.facts(fd) & (REGISTERED | HAS_HEAD), 0);
    assert.equal(table.deadline(fd), 0);
    assert.equal(table.wasSent(fd), false);
    assert.equal(table.listener(fd), 1);
    table.close(again);
    done();
  });

  test('generations wrap', () => {
    const { table, fd, done } = make();
    const first = table.generation(fd);
    for (let i = 1; i <= 0x10000; i++) assert.equal(table.open(fd, 0), (first + i) & 0xffff);
    assert.equal(table.generation(fd), first);
    native.close(fd);
    done();
  });

  test('the allowed way: main, idle, thread, idle, main, idle, thread, free', () => {
    const { table, fd, generation, done } = make();
    table.handOver(fd, false);
    assert.equal(table.owner(fd), OWNER_IDLE);
    assert.equal(table.claim(fd, generation, 2), true);
    assert.equal(table.owner(fd), OWNER_THREAD + 2);
    assert.equal(table.release(fd, 77), true);
    assert.equal(table.owner(fd), OWNER_IDLE);
    assert.equal(table.deadline(fd), 77);
    assert.equal(table.seize(fd, generation), true);
    assert.equal(table.owner(fd), OWNER_MAIN);
    table.handOver(fd, false);
    assert.equal(table.claim(fd, generation, 3), true);
    table.close(fd);
    assert.equal(table.owner(fd), OWNER_FREE);
    assert.equal(native.close(fd), -9, 'the fd is closed');
    done();
  });

  test('what is refused changes neither owner nor generation', () => {
    const { table, fd, generation, done } = make();
    const state = () => [table.owner(fd), table.generation(fd)];
    const refused = (what: string, call: () => boolean) => {
      const before = state();
      assert.equal(call(), false, what);
      assert.deepEqual(state(), before, what);
    };
    refused('claim from main', () => table.claim(fd, generation, 1));
    refused('seize from main', () => table.seize(fd, generation));
    refused('inherit from main', () => table.inherit(fd, 1));
    table.handOver(fd, false);
    refused('claim of another generation', () => table.claim(fd, generation + 1, 1));
    refused('seize of another generation', () => table.seize(fd, generation - 1));
    refused('inherit of an idle one', () => table.inherit(fd, 1));
    table.claim(fd, generation, 1);
    refused('claim of a claimed one', () => table.claim(fd, generation, 2));
    refused('claim again', () => table.claim(fd, generation, 1));
    refused('seize of a claimed one', () => table.seize(fd, generation));
    refused("inherit of another slot's", () => table.inherit(fd, 2));
    table.close(fd);
    refused('claim of a free one', () => table.claim(fd, generation, 1));
    refused('seize of a free one', () => table.seize(fd, generation));
    refused('inherit of a free one', () => table.inherit(fd, 1));
    done();
  });

  test('an event that comes while somebody owns it makes release fail once', () => {
    const { table, fd, generation, done } = make();
    table.handOver(fd, false);
    table.claim(fd, generation, 1);
    for (let i = 0; i < 2; i++) assert.equal(table.claim(fd, generation, 2), false);
    const visits = table.visits(fd);
    assert.equal(table.release(fd, 1), false);
    assert.equal(table.owner(fd), OWNER_THREAD + 1, 'still owned');
    assert.equal(table.visits(fd), visits);
    assert.equal(table.release(fd, 2), true);
    assert.equal(table.visits(fd), visits + 1);
    // An event of an earlier connection on the same number is none.
    table.claim(fd, generation, 1);
    assert.equal(table.claim(fd, generation - 1, 2), false);
    assert.equal(table.release(fd, 3), true);
    // Handed over: main has looked, and the ring tells whoever takes it.
    table.seize(fd, generation);
    assert.equal(table.claim(fd, generation, 2), false);
    table.handOver(fd, false);
    assert.equal(table.claim(fd, generation, 2), true);
    assert.equal(table.release(fd, 4), true);
    table.seize(fd, generation);
    table.close(fd);
    done();
  });

  test('claim takes back what the last owner left: sent bytes, a remembered event', () => {
    const { table, fd, generation, done } = make();
    table.handOver(fd, false);
    table.claim(fd, generation, 1);
    assert.equal(table.wasSent(fd), false);
    table.markSent(fd);
    assert.equal(table.wasSent(fd), true);
    table.clearSent(fd);
    assert.equal(table.wasSent(fd), false);
    table.markSent(fd);
    table.release(fd, 0);
    assert.equal(table.wasSent(fd), false);
    table.claim(fd, generation, 1);
    table.close(fd);
    done();
  });

  test('a notice is told once, with the visit it belongs to', () => {
    const { table, fd, generation, done } = make();
    const before = table.visits(fd);
    table.handOver(fd, false);
    table.askNotice(fd);
    table.claim(fd, generation, 1);
    assert.equal(table.claim(fd, generation, 2), false);
    assert.equal(table.release(fd, 0), false, 'an event is pending');
    assert.equal(table.release(fd, 0), true);
    assert.equal(table.notice, before + 1);
    table.claim(fd, generation, 1);
    table.release(fd, 0);
    assert.equal(table.notice, -1);
    table.seize(fd, generation);
    table.handOver(fd, true);
    table.claim(fd, generation, 1);
    table.close(fd);
    assert.equal(table.notice, before + 3);
    done();
  });

  test("a dead thread's connection is main's", () => {
    const { shared, table, fd, generation, done } = make();
    table.handOver(fd, false);
    table.claim(fd, generation, 3);
    table.markSent(fd);
    assert.equal(table.inherit(fd, 3), true);
    assert.equal(table.owner(fd), OWNER_MAIN);
    assert.equal(table.wasSent(fd), true, 'so that main knows whether it may answer');
    table.close(fd);
    // Also where it died on its way to close.
    const other = ok(native.eventfd());
    const next = table.open(other, 0);
    table.handOver(other, false);
    table.claim(other, next, 3);
    shared.conns[other * CONN_WORDS] |= 1 << 15;
    assert.equal(table.inherit(other, 3), true);
    assert.equal(table.owner(other), OWNER_MAIN);
    table.close(other);
    assert.equal(table.owner(other), OWNER_FREE);
    assert.equal(shared.control[C.OPEN], 0);
    done();
  });

  test('the outcome of a request: with the last byte, until it is over', () => {
    const { table, fd, done } = make();
    table.setFacts(fd, table.facts(fd) | REGISTERED | READ_AHEAD);
    table.beginRequest(fd, 1, 2, 3);
    assert.equal(table.status(fd), 0);
    const before = table.facts(fd);
    assert.equal(table.outcome(fd, 200, true) & READ_AHEAD, 0);
    assert.equal(table.facts(fd), before, 'not yet');
    table.setFacts(fd, table.outcome(fd, 999, false));
    assert.deepEqual([table.status(fd), table.listener(fd)], [999, 5]);
    assert.equal(table.facts(fd) & (REGISTERED | READ_AHEAD | IN_HAND), REGISTERED | READ_AHEAD | IN_HAND);
    table.setFacts(fd, table.outcome(fd, 204, true));
    assert.deepEqual([table.status(fd), table.facts(fd) & (READ_AHEAD | IN_HAND)], [204, IN_HAND]);
    table.markSent(fd);
    table.endRequest(fd, true, false);
    assert.deepEqual([table.status(fd), table.listener(fd), table.wasSent(fd)], [0, 5, false]);
    assert.equal(table.facts(fd) & (REGISTERED | SERVED_ONE | IN_HAND | READ_AHEAD), REGISTERED | SERVED_ONE);
    table.beginRequest(fd, 1, 2, 3);
    table.endRequest(fd, true, true);
    assert.equal(table.facts(fd) & (IN_HAND | READ_AHEAD), READ_AHEAD);
    table.beginRequest(fd, 1, 2, 3);
    table.markSent(fd);
    table.endRequest(fd, false, false);
    assert.deepEqual([table.facts(fd) & (IN_HAND | READ_AHEAD), table.wasSent(fd)], [READ_AHEAD, true], 'it is closed');
    table.close(fd);
    done();
  });

  test('a close wakes main while it does not accept', () => {
    const { shared, table, fd, done } = make();
    const other = ok(native.eventfd());
    table.open(other, 0);
    table.close(fd);
    assert.equal(native.eventfdRead(shared.memory.mainWake), -11);
    shared.control[C.ACCEPT_PAUSED] = 1;
    table.close(other);
    assert.equal(native.eventfdRead(shared.memory.mainWake), 1);
    done();
  });

  test('a close waits while main is in a call on the fd', async () => {
    const { shared, table, fd, generation, done } = make();
    table.handOver(fd, false);
    assert.ok(table.claim(fd, generation, 1));
    const PROBE = 1 << 11;
    Atomics.or(shared.conns, fd * CONN_WORDS, PROBE);
    const closing = sharedWords(1);
    const worker = new Worker(
      `const { parentPort, workerData: { conns, at, probe, fd, closing } } = require('node:worker_threads');
       parentPort.postMessage('up');
       Atomics.wait(closing, 0, 0);
       Atomics.wait(closing, 0, 1, 50);
       let open = true;
       try { require('node:fs').fstatSync(fd); } catch { open = false; }
       Atomics.and(conns, at, ~probe);
       parentPort.postMessage(open);`,
      { eval: true, workerData: { conns: shared.conns, at: fd * CONN_WORDS, probe: PROBE, fd, closing } },
    );
    await once(worker, 'message');
    Atomics.store(closing, 0, 1);
    Atomics.notify(closing, 0);
    table.close(fd);
    assert.deepEqual(await once(worker, 'message'), [true]);
    assert.equal(table.owner(fd), OWNER_FREE);
    await worker.terminate();
    done();
  });

  test('main and three threads fight for connections: each has one owner at a time, none is lost', async () => {
    const before = openFds().length;
    const mainWake = ok(native.eventfd());
    const memory = allocate(3, 64, { epfd: -1, mainWake, threadWake: [] });
    const shared = new Shared(memory);
    const table = new ConnTable(shared);
    const [stop, seen, wrong] = [sharedWords(1), sharedWords(64), sharedWords(2)];
    const workers = await startThreads(3, { role: 'table', memory, stop, seen, wrong });
    const end = performance.now() + 1500;
    let opened = 0;
    let seized = 0;
    while (performance.now() < end) {
      if (shared.control[C.OPEN] < 10) {
        const fd = ok(native.eventfd());
        if (fd >= 64) native.close(fd);
        else {
          const generation = table.open(fd, 0);
          if (Atomics.compareExchange(seen, fd, 0, 99) !== 0) Atomics.add(wrong, 0, 1);
          Atomics.store(seen, fd, 0);
          assert.equal(table.generation(fd), generation);
          table.handOver(fd, false);
          if (opened++ % 3 === 0) table.askNotice(fd);
        }
      }
      const fd = opened % 64;
      for (let at = 0; at < 64; at++) {
        const victim = (fd + at) % 64;
        if (table.owner(victim) !== OWNER_IDLE || !table.seize(victim, table.generation(victim))) continue;
        seized++;
        if (Atomics.compareExchange(seen, victim, 0, 99) !== 0) Atomics.add(wrong, 0, 1);
        Atomics.store(seen, victim, 0);
        if (seized % 5 === 0) table.close(victim);
        else table.handOver(victim, false);
        break;
      }
      if (opened % 100 === 0) await turn();
    }
    Atomics.store(stop, 0, 1);
    await Promise.all(workers.map((worker) => once(worker, 'exit')));
    assert.equal(wrong[0], 0, 'two owners at a time');
    assert.ok(wrong[1] > 100 && seized > 100 && opened > 100, `${wrong[1]} claims, ${seized} seized, ${opened} opened`);
    let open = 0;
    for (let fd = 0; fd < 64; fd++) {
      const owner = table.owner(fd);
      assert.ok(owner === OWNER_FREE || owner === OWNER_IDLE, `fd ${fd} has owner ${owner} and nobody to be it`);
      if (owner === OWNER_FREE) continue;
      open++;
      assert.equal(table.seize(fd, table.generation(fd)), true);
      table.close(fd);
    }
    assert.equal(shared.control[C.OPEN], 0, `${open} were open`);
    native.close(mainWake);
    await until(() => openFds().length <= before, { what: 'all fds to be closed' });
  });
});
