/** Supervisor: what it knows of a thread that is stuck, with a real thread and a pool that is made up. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { ACTIVE, allocate, C, Shared, T } from '../../../src/shared/memory.js';
import { type Seen, Supervisor } from '../../../src/worker/supervisor.js';
import { until } from '../../support/poll.js';

/** Light requests stay on one thread. */
const ONE = { threads: () => 1 };
const BINDING = new URL('../../../src/native/binding.js', import.meta.url).href;

/** A thread whose loop is slot 1's, and which spins (or does something else) from then on. */
async function spinning(code = 'while (true);', workerData: unknown = null): Promise<Worker> {
  const worker = new Worker(
    `import(${JSON.stringify(BINDING)}).then(({ native }) => {
      native.loopRegister(1);
      require('node:worker_threads').parentPort.postMessage('up');
      setTimeout(() => { ${code} }, 50);
    });`,
    { eval: true, workerData },
  );
  await once(worker, 'message');
  return worker;
}

test('wake-ups of main do not make it forget for how long a thread has been stuck', async () => {
  const shared = new Shared(allocate(2, 16, { epfd: -1, mainWake: -1, threadWake: [] }));
  const seen: Seen[] = [];
  const pool = { stuck: [], inflight: 1, upgraded: 0, wakeParked: () => false, wakeLeader() {} };
  const supervisor = new Supervisor({
    shared,
    pool: pool as never,
    light: ONE,
    onTick: (now) => seen.push(now),
    onHeavy() {},
  });
  const worker = await spinning();
  try {
    shared.control[shared.threadWord(1, T.STATE)] = ACTIVE;
    // Another one watches, so that it looks less often.
    shared.control[C.LEADER] = 2;
    supervisor.start();
    const begun = performance.now();
    let longest = 0;
    while (performance.now() - begun < 1500) {
      await sleep(20);
      supervisor.start();
      longest = Math.max(longest, supervisor.stuckMs(1));
    }
    assert.ok(longest > 700, `${longest} ms of 1500`);
    assert.equal(seen.at(-1)?.allStuck, true);
    // No thread at all: it goes on looking, for those who wait.
    shared.control[shared.threadWord(1, T.STATE)] = 0;
    pool.inflight = 0;
    seen.length = 0;
    await until(() => seen.length > 50, { what: 'looks' });
    assert.equal(seen.at(-1)?.allBusy, true);
  } finally {
    supervisor.stop();
    await worker.terminate();
  }
});

for (const [what, code, expected] of [
  ['waits', 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);', []],
  ['computes', 'while (true);', [1]],
] as const) {
  test(`a request that only ${what} is ${expected.length > 0 ? '' : 'not '}heavy`, async () => {
    const shared = new Shared(allocate(2, 16, { epfd: -1, mainWake: -1, threadWake: [] }));
    const heavy: number[] = [];
    const pool = { stuck: [], inflight: 1, upgraded: 0, wakeParked: () => false, wakeLeader() {} };
    const supervisor = new Supervisor({
      shared,
      pool: pool as never,
      light: ONE,
      onTick() {},
      onHeavy: (slot) => heavy.push(slot),
    });
    const worker = await spinning(code);
    try {
      shared.control[shared.threadWord(1, T.STATE)] = ACTIVE;
      supervisor.start();
      // As long as it takes where other work has the CPUs.
      await until(() => supervisor.stuckMs(1) > 300 && heavy.length >= expected.length, { what: 'a stuck thread' });
      assert.deepEqual(heavy, expected);
    } finally {
      supervisor.stop();
      await worker.terminate();
    }
  });
}

test('light requests get as many threads as they are worth, beside those that are held up', async () => {
  const shared = new Shared(allocate(4, 16, { epfd: -1, mainWake: -1, threadWake: [] }));
  // A thread that the machine keeps from its CPU counts as held up, and then others are woken for it: only looks at a light one count.
  let isLight = false;
  let woken = 0;
  let lights = 1;
  let light: number[] = [];
  const pool = { stuck: [], inflight: 1, upgraded: 0, wakeParked: () => isLight && ++woken > 0, wakeLeader() {} };
  const supervisor = new Supervisor({
    shared,
    pool: pool as never,
    light: {
      threads(elapsedUs, cpuUs, requests) {
        light = [elapsedUs, cpuUs, requests];
        isLight = requests > 0;
        return lights;
      },
    },
    onTick() {},
    onHeavy() {},
  });
  const { control } = shared;
  // A thread that begins a request every 50 us: never held up.
  const worker = await spinning(
    `const { control, begun } = require('node:worker_threads').workerData;
    for (const words = new Int32Array(control); ; words[begun]++) {
      for (const until = performance.now() + 0.05; performance.now() < until; );
    }`,
    { control: shared.memory.control, begun: shared.threadWord(1, T.BEGUN) },
  );
  try {
    control[shared.threadWord(1, T.STATE)] = ACTIVE;
    control[C.LEADER] = 1;
    supervisor.start();
    await until(() => light[1] > 0 && light[2] > 0, { what: 'CPU time of light requests' });
    assert.deepEqual([control[C.WANTED], woken], [1, 0]);
    lights = 3;
    await until(() => control[C.WANTED] === 3 && woken > 2, { what: 'others to be woken' });
    lights = 1;
    await until(() => control[C.WANTED] === 1, { what: 'one thread to be enough' });
    const before = woken;
    const looks = light;
    await until(() => light !== looks, { what: 'another look' });
    assert.equal(woken, before);
  } finally {
    supervisor.stop();
    await worker.terminate();
  }
});
