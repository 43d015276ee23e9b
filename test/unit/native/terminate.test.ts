/**
 * Threads that die at any instant while they use every kind of call: the process goes on, and nothing of them is left.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { EINVAL, ENOENT, EPOLL_CTL_ADD, EPOLLIN, EPOLLOUT, native } from '../../../src/native/binding.js';
import { ok, openHandles, threadCount, unixPair } from '../../support/native.js';
import { until } from '../../support/poll.js';
import type { Fixture } from './thread-fixture.js';

const DEATHS = 200;
const MAX_MS = 8000;
const AT_A_TIME = 3;

/** What the kernel says of an fd: for an eventfd, whose it is a duplicate of. */
function describe(fd: string): string {
  return readFileSync(`/proc/self/fdinfo/${fd.split(' ')[0]}`, 'utf8').replace(/\s+/g, ' ');
}

test('threads are terminated at any instant, hundreds of times', async () => {
  const sockets = [...unixPair(), ...unixPair()];
  const epfd = ok(native.epollCreate());
  for (const fd of sockets) ok(native.epollCtl(epfd, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLOUT, 1));
  const wakes = [ok(native.eventfd()), ok(native.eventfd())];
  const ends: Array<Fixture['end']> = ['never', 'never', 'never', 'exit', 'throw', 'return', 'never'];
  let deaths = 0;

  /** One life; terminated when it has come up, a random moment later, or while it still starts. */
  async function life(n: number): Promise<void> {
    const words = new Int32Array(new SharedArrayBuffer(8));
    const end = ends[n % ends.length];
    const workerData = { role: 'busy', n: 0, words, epfd, wakes, sockets, end };
    const worker = new Worker(new URL('./thread-fixture.js', import.meta.url), { workerData });
    const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
    let error: unknown = null;
    worker.on('error', (e) => (error = e));
    if (end === 'never') {
      if (n % 10 !== 0) await Promise.race([once(worker, 'message'), exited]);
      await new Promise((resolve) => setTimeout(resolve, Math.random() * (n % 10 === 0 ? 40 : 6)));
      await worker.terminate();
    }
    await exited;
    if (end === 'throw') assert.match(String(error), /as told/);
    else assert.equal(error, null);
    deaths++;
  }

  await life(0);
  const fds = openHandles();
  const threads = threadCount();
  const resources = process.getActiveResourcesInfo().length;
  const started = performance.now();
  let next = 1;
  const lane = async () => {
    while (next < DEATHS && performance.now() - started < MAX_MS) await life(next++);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, lane));
  assert.ok(deaths >= 20, `only ${deaths} threads in ${MAX_MS} ms`);

  await until(() => threadCount() <= threads, { what: 'the threads to end' });
  await until(() => openHandles().length <= fds.length, { what: 'their file descriptors to be closed' }).catch(
    (cause) => {
      const left = openHandles().filter((fd) => !fds.includes(fd));
      throw new Error(`left: ${left.map((fd) => `${fd} ${describe(fd)}`)}; ours: ${wakes.map(String).map(describe)}`, {
        cause,
      });
    },
  );
  await until(() => process.getActiveResourcesInfo().length <= resources, { what: 'their handles to be closed' });
  assert.equal(native.loopIdle(1000), ENOENT);
  for (const fd of [...sockets, ...wakes, epfd]) assert.equal(native.close(fd), 0, 'still open, and ours');
});

test('exitWithin ends a process whose end waits for a thread in a system call', () => {
  const binding = new URL('../../../src/native/binding.js', import.meta.url).href;
  const program = `import { Worker } from 'node:worker_threads';
    import { native } from ${JSON.stringify(binding)};
    const inCall = new Int32Array(new SharedArrayBuffer(4));
    const code = \`import { execSync } from 'node:child_process';
      import { workerData } from 'node:worker_threads';
      Atomics.store(workerData, 0, 1);
      execSync('sleep 3');\`;
    new Worker(code, { eval: true, workerData: inCall });
    setInterval(() => {
      if (Atomics.load(inCall, 0) === 0) return;
      native.exitWithin(7, 200);
      process.exit(3);
    }, 100);`;
  const begun = performance.now();
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' });
  assert.equal(status, 7, stderr);
  assert.ok(performance.now() - begun < 15_000);
  assert.equal(native.exitWithin(0, -1), EINVAL);
});

test('uncaught gives an error to whoever listens for those, and the caller goes on', () => {
  const binding = new URL('../../../src/native/binding.js', import.meta.url).href;
  const program = `import { executionAsyncId } from 'node:async_hooks';
    import { native } from ${JSON.stringify(binding)};
    process.on('uncaughtException', (error) => console.log('heard', error.message));
    process.nextTick(() => {
      console.log(native.uncaught(new Error('one')), executionAsyncId());
      process.nextTick(() => console.log('tick'));
    });
    setTimeout(() => console.log(native.uncaught(new Error('two'))), 1);`;
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', program]);
  assert.deepEqual(
    [String(stdout).split('\n'), String(stderr), status],
    [['heard one', '0 0', 'tick', 'heard two', '0', ''], '', 0],
  );
});
