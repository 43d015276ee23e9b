/** What the addon does for several threads at once: event loops seen from outside, heads, handles that keep a thread alive. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { EINVAL, ENOENT, native } from '../../../src/native/binding.js';
import { ok } from '../../support/native.js';
import { until } from '../../support/poll.js';
import type { Fixture } from './thread-fixture.js';

function start(workerData: Partial<Fixture>): Worker {
  return new Worker(new URL('./thread-fixture.js', import.meta.url), { workerData });
}

test('an unref handle does not keep its thread alive', async () => {
  const fd = ok(native.eventfd());
  const [code] = await once(start({ role: 'unref', n: fd }), 'exit');
  assert.equal(code, 0);
  native.close(fd);
});

test('a handle keeps its thread alive until it is stopped', async () => {
  const fd = ok(native.eventfd());
  const worker = start({ role: 'ref', n: fd });
  let exited = false;
  worker.once('exit', () => (exited = true));
  await once(worker, 'online');
  // As long as it took to come up, and more.
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(exited, false);
  worker.postMessage('stop');
  await until(() => exited);
  native.close(fd);
});

test("a loop's idle time grows while it waits, its thread's CPU time while it spins", async () => {
  const words = new Int32Array(new SharedArrayBuffer(8));
  const slot = 17;
  assert.equal(native.loopIdle(slot), ENOENT);
  const worker = start({ role: 'loop', n: slot, words });
  assert.deepEqual(await once(worker, 'message'), [0]);
  const waited = native.loopIdle(slot);
  await until(() => native.loopIdle(slot) > waited + 20_000, { what: 'idle time to grow', everyMs: 1 });
  Atomics.store(words, 0, 1);
  worker.postMessage('spin');
  await until(() => Atomics.load(words, 1) === 1, { everyMs: 1 });
  const before = native.loopIdle(slot);
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(native.loopIdle(slot), before);
  const used = native.loopCpu(slot);
  await until(() => native.loopCpu(slot) > used + 20_000, { what: 'CPU time to grow', everyMs: 1 });
  Atomics.store(words, 0, 0);
  await until(() => native.loopIdle(slot) > before);
  await worker.terminate();
  assert.equal(native.loopIdle(slot), ENOENT, 'forgotten with its thread');
  assert.equal(native.loopCpu(slot), ENOENT);
});

test('a loop has one slot, a slot its latest loop', () => {
  for (const bad of [-1, 1024, 2 ** 31]) {
    assert.equal(native.loopRegister(bad), EINVAL);
    assert.equal(native.loopIdle(bad), EINVAL);
    assert.equal(native.loopCpu(bad), EINVAL);
  }
  assert.equal(native.loopRegister(20), 0);
  assert.ok(native.loopIdle(20) >= 0);
  assert.equal(native.loopRegister(21), 0);
  assert.equal(native.loopIdle(20), ENOENT);
  assert.ok(native.loopIdle(21) >= 0);
});

test("a head that one thread put is another thread's to take", async () => {
  const fd = ok(native.eventfd());
  const code = `
    const { parentPort, workerData } = require('node:worker_threads');
    import(workerData.binding).then(({ native }) => {
      native.headPut(workerData.fd, Buffer.from('GET /'), 0, 5);
      parentPort.postMessage(native.headLength(workerData.fd));
    });`;
  const binding = new URL('../../../src/native/binding.js', import.meta.url).href;
  const worker = new Worker(code, { eval: true, workerData: { binding, fd } });
  // Both may come in one go.
  const exited = once(worker, 'exit');
  assert.deepEqual(await once(worker, 'message'), [5]);
  await exited;
  const into = Buffer.alloc(5);
  assert.equal(native.headTake(fd, into, 0, 5), 5);
  assert.equal(into.toString(), 'GET /');
  native.close(fd);
});
