/**
 * Races between threads show as requests that wait although a thread is idle, as connections that are forgotten, or as work
 * in an idle server. Sparse loads find them: under full load the next event covers up for a lost one. LOOP: how often.
 */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test } from 'node:test';
import { describe, LoadClient, type LoadOptions, type Mode } from '../support/load-client.js';
import { settled, until } from '../support/poll.js';
import { assertIdle, fdCount, threadCpu, watchCpuWait } from '../support/proc.js';
import { seedOf } from '../support/random.js';
import { ResponseParser } from '../support/response-parser.js';
import { complaints, LOOP, nothingWrong, serverStarter } from '../support/stress-server.js';

/** A request that takes longer, not counting what the machine made it wait, has waited for nothing, ms. */
const SLOW_MS = 500;
const start = serverStarter();

const LIGHT: Mode[] = ['sync', 'echo', 'timer', 'stream'];

/** Loads that leave the server idle again and again, in different rhythms. */
const RHYTHMS: Array<[string, Partial<LoadOptions>]> = [
  ['one connection', { connections: 1, depth: 1, pauseMs: 3, total: 150 }],
  ['a few connections', { connections: 5, depth: 2, pauseMs: 8, total: 300 }],
  ['many connections', { connections: 40, depth: 1, pauseMs: 60, total: 500 }],
  ['short connections', { connections: 8, depth: 1, pauseMs: 5, closeChance: 1, total: 300 }],
  ['some requests of 3 ms', { connections: 12, depth: 2, pauseMs: 10, modes: [...LIGHT, 'spin'], total: 300 }],
];

for (const [threads, app] of [
  [8, 'echo.js'],
  [2, 'echo-fetch.js'],
  [1, 'echo.js'],
] as const) {
  test(`sparse load on ${threads} threads, ${app}: no request waits for an idle thread`, async (t) => {
    const seed = seedOf();
    t.diagnostic(`SEED=${seed}`);
    const server = await start(app, ['--threads', `${threads}`]);
    const [worker] = server.workers;
    await new LoadClient({ target: server.target, seed, total: 300, modes: LIGHT, connections: 8 }).run();
    const fds = await settled(() => fdCount(worker));
    let worst = '';
    let max = 0;
    for (let i = 0; i < LOOP; i++) {
      for (const [name, rhythm] of RHYTHMS) {
        const options = { modes: LIGHT, maxBody: 3000, pauseChance: 0.7, ...rhythm };
        const waited = watchCpuWait(worker, process.pid);
        const result = await new LoadClient({ target: server.target, seed: seed + i, ...options }).run();
        nothingWrong(result, server);
        assert.equal(result.ok, result.sent);
        const slowest = Math.max(...result.latencies);
        const limit = SLOW_MS + waited();
        assert.ok(
          slowest < limit,
          `${name}, round ${i}, seed ${seed + i}: ${slowest} ms, at most ${limit} were allowed`,
        );
        if (slowest > max) worst = `slowest: ${name}, round ${i}: ${describe(result)}`;
        max = Math.max(max, slowest);
      }
    }
    t.diagnostic(worst);
    await until(() => fdCount(worker) <= fds, { what: 'the fd count' });
    t.diagnostic(`idle: ${await assertIdle(worker)}`);
    assert.deepEqual(complaints(server.log), []);
    const begun = performance.now();
    server.kill('SIGTERM');
    assert.deepEqual(await server.ended, { code: 0, signal: null });
    assert.ok(performance.now() - begun < 2000, `the end took ${performance.now() - begun} ms`);
  });
}

for (const [app, threads] of [
  ['echo.js', 3],
  ['echo-fetch.js', 8],
] as const) {
  test(`light requests that fill a thread are spread over ${threads}, ${app}: each answer is its own`, async (t) => {
    const seed = seedOf();
    t.diagnostic(`SEED=${seed}`);
    const server = await start(app, ['--threads', `${threads}`]);
    const modes: Mode[] = ['brisk', 'brisk', 'brisk', 'sync', 'echo'];
    for (let i = 0; i < LOOP; i++) {
      const options = { target: server.target, modes, maxBody: 300, depth: 3, connections: 24, closeChance: 0.002 };
      const result = await new LoadClient({ ...options, seed: seed + i, total: 8000 }).run();
      nothingWrong(result, server);
      assert.equal(result.ok, result.sent, describe(result));
    }
    const cpu = [...threadCpu(server.workers[0])].filter(([name]) => name.startsWith('tunicorn-t'));
    t.diagnostic(`CPU time of the threads: ${cpu.map(([, s]) => s.toFixed(2))} s`);
    assert.deepEqual(complaints(server.log), []);
  });
}

test('long connections beside short ones: the count of open connections does not drift', async (t) => {
  const seed = seedOf();
  t.diagnostic(`SEED=${seed}`);
  const server = await start('echo.js', ['--threads', '8', '--worker-connections', '30']);
  for (let i = 0; i < LOOP; i++) {
    const options = { target: server.target, modes: LIGHT, maxBody: 500, depth: 2 };
    const long = new LoadClient({ ...options, seed: seed + i, connections: 10, total: 1000 }).run();
    const short = new LoadClient({ ...options, seed: seed - i, connections: 40, total: 1000, closeChance: 1 }).run();
    for (const result of await Promise.all([long, short])) {
      nothingWrong(result, server);
      assert.equal(result.ok, result.sent, describe(result));
    }
  }
  const begun = performance.now();
  server.kill('SIGTERM');
  assert.deepEqual(await server.ended, { code: 0, signal: null });
  assert.ok(performance.now() - begun < 2000, `the end took ${performance.now() - begun} ms`);
});

test('a request that only waits costs next to nothing, and is no reason to hold up others', async (t) => {
  const server = await start('echo.js', ['--threads', '8']);
  const waiting = fetch(`http://127.0.0.1:${server.port}/wait/8000`).then((response) => response.text());
  waiting.catch(() => {});
  // Something is in hand, so the supervisor looks, but at long intervals.
  t.diagnostic(await assertIdle(server.workers[0], 200));
  const client = new LoadClient({
    ...{ target: server.target, seed: seedOf(), modes: ['sync', 'spin'], connections: 3, depth: 1 },
    ...{ total: 100, pauseChance: 1, pauseMs: 50 },
  });
  const waited = watchCpuWait(server.workers[0], process.pid);
  const result = await client.run();
  nothingWrong(result, server);
  const slowest = Math.max(...result.latencies);
  assert.ok(slowest < 300 + waited(), `${slowest} ms`);
  assert.equal(await waiting, 'waited');
});

/** Sends everything at once, while the server's only thread is at something else; resolves when n responses have come. */
function burst(port: number, text: string | Buffer, n: number): Promise<number> {
  return new Promise((resolve, reject) => {
    let count = 0;
    let from = 0;
    const parser = new ResponseParser(() => count < n);
    const busy = connect(port, '127.0.0.1', () => {
      busy.write('GET /heavy/30 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      const socket = connect(port, '127.0.0.1', () => {
        from = performance.now();
        socket.write(text);
      });
      socket.on('error', reject);
      socket.on('close', () => reject(new Error(`closed after ${count} of ${n} responses`)));
      socket.on('data', (data) => {
        try {
          parser.push(data, (response) => {
            assert.equal(response.status, 200);
            count++;
          });
        } catch (error) {
          socket.destroy(error as Error);
        }
        if (count < n) return;
        socket.removeAllListeners('close').destroy();
        resolve(performance.now() - from);
      });
    });
    busy.on('error', reject).resume();
  });
}

test('what a client sends in one go is read to its end, wherever the buffer ends', async (t) => {
  const server = await start('echo.js', ['--threads', '1', '--keep-alive', '5']);
  const get = 'GET /sync/1 HTTP/1.1\r\nHost: x\r\nX-Id: 1\r\n\r\n';
  let max = await burst(server.port, get.repeat(6000), 6000);
  for (const power of [13, 14, 15, 16, 17, 18]) {
    for (const off of [-1, 0, 1]) {
      // A message that ends where a buffer ends, or next to it, and another one behind it.
      const size = 2 ** power + off;
      const head = (length: number) =>
        `POST /echo/1 HTTP/1.1\r\nHost: x\r\nX-Id: 1\r\nContent-Length: ${length}\r\n\r\n`;
      const length = size - head(size).length + (head(size).length - head(size - head(size).length).length);
      const message = Buffer.concat([Buffer.from(head(length)), Buffer.alloc(length, 'x')]);
      const waited = watchCpuWait(server.workers[0], process.pid);
      const ms = await burst(server.port, Buffer.concat([message, Buffer.from(get)]), 2);
      assert.ok(ms < SLOW_MS + waited(), `${size} bytes: ${ms} ms`);
      max = Math.max(max, ms);
    }
  }
  t.diagnostic(`slowest ${max.toFixed(0)} ms`);
});
