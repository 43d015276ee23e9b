/** A test file that does not end is ended with all that it started; others are left alone. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { isAlive } from '../../support/arbiter-process.js';
import { endHungFiles } from '../../support/hung-files.js';
import { until } from '../../support/poll.js';
import { children } from '../../support/proc.js';

/** Catches what asks it to end, waits for ever, and has a child of the same kind while depth lasts. */
const STUBBORN = `
  process.on('SIGTERM', () => {});
  setInterval(() => {}, 1000);
  const depth = Number(process.argv[1]);
  if (depth > 0) {
    const { spawn } = require('node:child_process');
    spawn(process.execPath, ['-e', process.env.STUBBORN, String(depth - 1)]);
  }
`;

test('a file that does not end is killed with its children; a file that ends and the runner are not', async () => {
  const env = { ...process.env, STUBBORN };
  const runner = spawn(process.execPath, ['-e', STUBBORN, '2'], { env });
  const told: string[] = [];
  let stop = (): void => {};
  try {
    const file = await until(() => children(runner.pid!)[0], { what: 'the file' });
    const server = await until(() => children(file.pid)[0], { what: 'what the file started' });
    stop = endHungFiles(runner.pid!, 200, (line) => told.push(line));
    await until(() => !isAlive(file.pid) && !isAlive(server.pid), { what: 'both to be gone' });
    assert.equal(told.length, 1, told.join());
    assert.match(told[0], / 1$/);
    assert.ok(isAlive(runner.pid!));
  } finally {
    stop();
    runner.kill('SIGKILL');
    await once(runner, 'exit');
  }
});

test('within its time it is left alone, and the watch ends', async () => {
  const env = { ...process.env, STUBBORN };
  const runner = spawn(process.execPath, ['-e', STUBBORN, '1'], { env });
  try {
    const file = await until(() => children(runner.pid!)[0], { what: 'the file' });
    let polls = 0;
    const stop = endHungFiles(runner.pid!, 60_000, () => assert.fail('told'));
    const stopped = endHungFiles(runner.pid!, 50, () => assert.fail('told after its end'));
    stopped();
    await until(() => ++polls > 100, { what: 'ten times the limit' });
    assert.ok(isAlive(file.pid));
    stop();
    process.kill(file.pid, 'SIGKILL');
  } finally {
    runner.kill('SIGKILL');
    await once(runner, 'exit');
  }
});
