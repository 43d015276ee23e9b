/** stackOf: every kind of being stuck, with real threads; what must not happen to the others and to the process. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker, type WorkerOptions } from 'node:worker_threads';
import { openInspector, stackOf } from '../../../src/pool/inspect.js';
import { openFds, threadCount } from '../../support/native.js';
import { until } from '../../support/poll.js';
import type { Note } from './stuck-fixture.js';

const FIXTURE = new URL('./stuck-fixture.js', import.meta.url);
/** Generous: the machine may be busy. */
const MS = 10_000;

async function start(options: WorkerOptions = {}): Promise<Worker> {
  const worker = new Worker(FIXTURE, { stdout: true, ...options });
  await once(worker, 'message');
  return worker;
}

/** A thread that is stuck, or about to be within a few instructions. */
async function startStuck(what: string, options?: WorkerOptions): Promise<Worker> {
  const worker = await start(options);
  const begun = new Int32Array(new SharedArrayBuffer(4));
  worker.postMessage({ what, begun } satisfies Note);
  await until(() => Atomics.load(begun, 0) === 1, { everyMs: 1, what: `${what} to begin` });
  return worker;
}

/** Ends a thread as the pool does; fails if that takes as long as being paused would. */
async function end(worker: Worker): Promise<void> {
  const exit = once(worker, 'exit');
  await worker.terminate();
  await exit;
}

/** Answers of a thread that serves: one for each question. */
async function echo(worker: Worker): Promise<void> {
  worker.postMessage({ what: 'nothing', begun: new Int32Array(1) } satisfies Note);
  assert.deepEqual(await once(worker, 'message'), ['over']);
}

/** `file:line:` of what stands in the fixture as it is run, after `from`. */
function place(from: string, text: string): string {
  const lines = readFileSync(fileURLToPath(FIXTURE), 'utf8').split('\n');
  const first = lines.findIndex((line) => line.includes(from));
  const line = lines.findIndex((l, i) => i >= first && l.includes(text)) + 1;
  assert.ok(first >= 0 && line > 0, `${from} ${text}`);
  return `${FIXTURE.href}:${line}:`;
}

openInspector();

describe('stackOf', { timeout: 120_000 }, () => {
  const kinds: Array<[what: string, text: string, options?: WorkerOptions]> = [
    ['inLoop', 'while (true)'],
    ['inLoop', 'while (true)', { execArgv: ['--enable-source-maps'], name: '[worker 1] of another name' }],
    ['withHooks', 'while (true)'],
    ['inRegExp', '.test('],
    ['inJson', '[text].map'],
    ['inSort', '.sort('],
    ['inWait', 'Atomics.wait'],
    ['inTicks', 'inTicks'],
    ['inConsole', 'console.log'],
  ];
  for (const [what, text, options] of kinds) {
    test(`names the line: ${what} ${options?.execArgv ?? ''}`, async () => {
      const worker = await startStuck(what, options);
      const line = place(what, text);
      let stack: string | null = null;
      await until(async () => (stack = await stackOf(worker.threadId, MS))?.includes(line), { what: line }).catch(
        (cause) => assert.fail(`${cause}: ${stack}`),
      );
      for (const frame of stack!.split('\n')) assert.match(frame, /^ {4}at (\S.* \(\S.*:\d+:\d+\)|\S.*:\d+:\d+)$/);
      assert.match(stack!, new RegExp(`^ {4}at ${what} \\(${line}\\d+\\)$`, 'm'));
      await end(worker);
    });
  }

  test('at most 20 frames of a deep recursion', async () => {
    const worker = await startStuck('inRecursion');
    await until(async () => (await stackOf(worker.threadId, MS))?.split('\n').length === 20);
    await end(worker);
  });

  test('null, and in time, for a thread in native code; it can be ended', async () => {
    const worker = await startStuck('inNative');
    let over = false;
    worker.once('message', () => {
      over = true;
    });
    // Its way there may still be seen.
    await until(async () => (await stackOf(worker.threadId, 50)) === null);
    assert.equal(over, false);
    await end(worker);
  });

  test('null for a thread that waits in its event loop, has ended, or never was; it goes on', async () => {
    const worker = await start();
    const { threadId } = worker;
    // Its way there may still be seen.
    await until(async () => (await stackOf(threadId, MS)) === null);
    await echo(worker);
    await end(worker);
    assert.equal(await stackOf(threadId, MS), null);
    assert.equal(await stackOf(1e9, MS), null);
  });

  test('several at once, each its own; the others go on serving', async () => {
    const whats = ['inLoop', 'inRegExp', 'inSort', 'inWait'];
    const others = await Promise.all([start(), start()]);
    const workers = await Promise.all(whats.map((what) => startStuck(what)));
    for (let round = 0; round < 5; round++) {
      const stacks = workers.map(({ threadId }) => stackOf(threadId, MS));
      await Promise.all(others.map(echo));
      for (const [i, stack] of (await Promise.all(stacks)).entries()) {
        // A thread that has only just begun may be seen on its way.
        if (round > 0) assert.match(stack ?? 'none', new RegExp(`at ${whats[i]} `));
      }
    }
    await Promise.all(others.map(echo));
    await Promise.all([...workers, ...others].map(end));
  });

  test('time after time: no file, no thread is left; a thread in console.log can be ended', async () => {
    await end(await startStuck('inLoop'));
    const fds = openFds().length;
    const threads = threadCount();
    for (let i = 0; i < 20; i++) {
      const worker = await startStuck(i % 2 === 0 ? 'inLoop' : 'inConsole');
      assert.ok(await stackOf(worker.threadId, MS));
      await end(worker);
    }
    await until(() => threadCount() <= threads, { what: 'the threads to end' });
    assert.ok(openFds().length <= fds, `fds: ${openFds()}`);
  });

  test('a thread that ends meanwhile', async () => {
    for (let i = 0; i < 20; i++) {
      const worker = await startStuck('inLoop');
      const { threadId } = worker;
      const before = i % 2 === 0 ? stackOf(threadId, MS) : null;
      for (let turn = 0; turn < i; turn++) await new Promise(setImmediate);
      const gone = end(worker);
      // V8 forgets to end it if it was just answering; the hosts insist.
      const insist = setInterval(() => void worker.terminate(), 100);
      const stack = await (before ?? stackOf(threadId, MS));
      assert.ok(stack === null || stack.startsWith('    at '), String(stack));
      await gone;
      clearInterval(insist);
    }
  });

  test('writes nothing to stderr', () => {
    const script = `
      import { openInspector, stackOf } from '${new URL('../../../src/pool/inspect.js', import.meta.url).href}';
      import { Worker } from 'node:worker_threads';
      openInspector();
      const worker = new Worker('while (true);', { eval: true });
      worker.once('online', async () => {
        while ((await stackOf(worker.threadId, ${MS})) === null);
        await worker.terminate();
        console.log('done');
      });`;
    const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
    });
    assert.deepEqual({ stdout, stderr, status }, { stdout: 'done\n', stderr: '', status: 0 });
  });
});
