/**
 * Hand-over without a supervisor to repair anything: main submits connections on which nothing arrives, threads take them
 * and give them back, each Future must be set. A missed wake-up or a notice that belongs to another visit hangs here.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const DISPATCH = fileURLToPath(new URL('../../bench/dispatch.js', import.meta.url));
const SECONDS = process.env.STRESS === 'full' ? 20 : 1;

for (const threads of [1, 2, 8]) {
  for (const how of ['tunicorn', 'tunicorn-future']) {
    test(`every submitted connection comes back: ${how}, ${threads} threads`, () => {
      const args = [DISPATCH, how, String(threads), String(SECONDS)];
      // Far more than it takes: a lost connection never ends.
      const run = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: (2 * SECONDS + 20) * 1000 });
      assert.equal(run.status, 0, `ended by ${run.signal ?? run.status}: ${run.stderr}`);
      const { loaded, sequential } = JSON.parse(run.stdout);
      assert.ok(loaded.tasks > 1000, `only ${loaded.tasks} hand-overs`);
      assert.ok(sequential.tasks > 100, `only ${sequential.tasks} hand-overs`);
    });
  }
}
