import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { it } from 'node:test';
import { Strays } from '../../../src/arbiter/strays.js';
import { native } from '../../../src/native/binding.js';
import { until } from '../../support/poll.js';

it('strays: Node keeps the end of its own children to itself, and reap() takes only what has ended', async () => {
  const strays = new Strays();
  strays.install();
  try {
    const child = spawn('sleep', ['0.05']);
    const exited = new Promise((resolve) => child.once('exit', resolve));
    assert.equal(native.reap(child.pid!), 0);
    const found: number[] = [];
    await until(() => {
      found.push(...strays.reap());
      return child.exitCode !== null;
    });
    assert.equal(await exited, 0);
    assert.deepEqual(found, []);
    assert.ok(!existsSync(`/proc/${child.pid}`));
    assert.ok(native.reap(child.pid!) < 0);
    assert.equal(native.reap(0), -22);
  } finally {
    strays.uninstall();
  }
  assert.equal(process.listenerCount('SIGCHLD'), 0);
});
