/** heapGuard: what would abort the process ends one thread. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { native } from '../../../src/native/binding.js';
import { ok } from '../../support/native.js';

describe('heapGuard', { timeout: 120_000 }, () => {
  for (const how of ['array', 'map', 'json']) {
    test(`a thread that outgrows its heap: ${how}`, async () => {
      const fd = ok(native.eventfd());
      for (let i = 0; i < 3; i++) {
        const words = new Int32Array(new SharedArrayBuffer(8));
        const worker = new Worker(new URL('./heap-fixture.js', import.meta.url), {
          workerData: { how, words, fd },
          resourceLimits: { maxOldGenerationSizeMb: 64 },
        });
        const exit = once(worker, 'exit');
        const poll = native.pollStart(fd, () => void worker.terminate(), 1, 1);
        await exit;
        assert.deepEqual([...words], [1, 0]);
        native.pollStop(poll);
      }
      native.close(fd);
    });
  }

  test('wrong arguments', () => {
    assert.equal(native.heapGuard(new Int32Array(1), 1, 0), -22);
    assert.equal(native.heapGuard(new Int32Array(1), 0, -1), -22);
    assert.equal(native.heapGuard(new Uint8Array(4) as unknown as Int32Array, 0, 0), -22);
  });
});
