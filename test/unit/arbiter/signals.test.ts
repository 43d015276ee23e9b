import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SignalQueue, shortName } from '../../../src/arbiter/signals.js';
import { until } from '../../support/poll.js';

describe('SignalQueue', () => {
  it('keeps signals in order, wakes, and stops listening', async () => {
    let woken = 0;
    const queue = new SignalQueue(() => woken++);
    queue.install();
    try {
      assert.equal(queue.empty, true);
      process.kill(process.pid, 'SIGTTIN');
      await until(() => woken === 1);
      assert.equal(queue.ending, false);
      process.kill(process.pid, 'SIGTERM');
      await until(() => woken === 2);
      assert.equal(queue.ending, true);
      assert.equal(queue.shift(), 'SIGTTIN');
      assert.equal(queue.shift(), 'SIGTERM');
      assert.equal(queue.shift(), undefined);
    } finally {
      queue.uninstall();
    }
    assert.equal(process.listenerCount('SIGTERM'), 0);
  });

  it('drops a flood, but never what ends the arbiter', () => {
    const queue = new SignalQueue(() => {});
    queue.install();
    try {
      for (let n = 0; n < 1000; n++) process.emit('SIGTTIN', 'SIGTTIN');
      process.emit('SIGTERM', 'SIGTERM');
      let count = 0;
      let last: string | undefined;
      for (let s = queue.shift(); s !== undefined; s = queue.shift()) [last, count] = [s, count + 1];
      assert.equal(last, 'SIGTERM');
      assert.ok(count < 100);
    } finally {
      queue.uninstall();
    }
  });

  it('shortName', () => assert.equal(shortName('SIGTERM'), 'term'));
});
