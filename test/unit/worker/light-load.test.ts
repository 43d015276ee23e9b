import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LightLoad } from '../../../src/worker/light-load.js';

/** Looks of 4 ms for so many ms, in which requests of so many us took that share of a CPU; what the last one said. */
function after(load: LightLoad, ms: number, share: number, us = 50): number {
  let threads = 0;
  for (let at = 0; at < ms; at += 4) threads = load.threads(4000, share * 4000, (share * 4000) / us);
  return threads;
}

test('one thread, until it is full for a while; then one more for each CPU that is full', () => {
  const load = new LightLoad(4);
  assert.equal(load.threads(0, 0, 0), 1);
  assert.equal(after(load, 2000, 0.8), 1);
  assert.equal(after(load, 40, 1), 1);
  assert.equal(after(load, 2000, 1), 2);
  assert.equal(after(load, 2000, 1.6), 2);
  assert.equal(after(load, 2000, 2), 3);
  assert.equal(after(load, 2000, 8), 4);
  // Two that share what one would be full of stay two.
  assert.equal(after(load, 2000, 1.1), 2);
  assert.equal(after(load, 2000, 0.5), 1);
});

test('never more threads than CPUs; a look without time changes nothing', () => {
  const one = new LightLoad(1);
  assert.equal(after(one, 2000, 1), 1);
  const load = new LightLoad(8);
  assert.equal(load.threads(500_000, 1_000_000, 10_000), 3);
  assert.equal(load.threads(0, 0, 0), 3);
  assert.equal(load.threads(500_000, 0, 0), 1);
});

test('the cheapest requests stay on one thread, however full it is', () => {
  const load = new LightLoad(4);
  assert.equal(after(load, 2000, 1, 11), 1);
  assert.equal(after(load, 2000, 1, 40), 2);
  assert.equal(after(load, 2000, 1.2, 21), 1);
});
