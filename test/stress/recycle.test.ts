/**
 * Threads are recycled under load (--max-requests, --thread-max-memory) and nobody notices. STRESS=full: 20,000 requests
 * instead of 4,000.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describe, LoadClient, type LoadResult, type Mode, percentile } from '../support/load-client.js';
import { settled, until } from '../support/poll.js';
import { fdCount } from '../support/proc.js';
import { seedOf } from '../support/random.js';
import { complaints, FULL, nothingWrong, type StressServer, serverStarter } from '../support/stress-server.js';

const TOTAL = Number(process.env.TOTAL ?? (FULL ? 20_000 : 1200));
const MODES: Mode[] = ['echo', 'sync', 'brisk', 'timer', 'chunks'];

const start = serverStarter();

async function stops(server: StressServer): Promise<void> {
  const begun = performance.now();
  server.kill('SIGTERM');
  assert.deepEqual(await server.ended, { code: 0, signal: null });
  assert.ok(performance.now() - begun < 3000, `the end took ${performance.now() - begun} ms`);
}

/** Every request answered, on the connections opened at first. */
async function load(server: StressServer, seed: number, total: number, modes = MODES): Promise<LoadResult> {
  const connections = 32;
  const options = { target: server.target, seed, total, modes, connections, depth: 2, maxBody: 5000 };
  const result = await new LoadClient(options).run();
  nothingWrong(result, server);
  assert.equal(result.ok, total);
  assert.equal(result.connects, connections);
  return result;
}

const recycled = (server: StressServer, why: string) =>
  [...server.log.matchAll(new RegExp(`Thread \\d+ replaced by \\d+: \\d+ ${why}`, 'g'))].length;

for (const pool of ['piscina', 'tinypool']) {
  test(`50 requests for each thread, ${TOTAL} requests, ${pool}`, async (t) => {
    const seed = seedOf();
    t.diagnostic(`SEED=${seed}`);
    const args = ['--threads', '2', '--thread-pool', pool, '--keep-alive', '60'];
    const plain = await start('echo.js', args);
    await load(plain, seed, 500);
    const without = await load(plain, seed, TOTAL);
    await stops(plain);

    const server = await start('echo.js', [...args, '--max-requests', '50', '--max-requests-jitter', '10']);
    const [worker] = server.workers;
    await load(server, seed, 500);
    await until(() => recycled(server, 'requests') > 0, { what: 'a recycled thread' });
    const fds = await settled(() => fdCount(worker));
    const result = await load(server, seed, TOTAL);
    // Rounds until it has happened often enough: how many there are in one depends on the machine.
    const end = performance.now() + 60_000;
    while (recycled(server, 'requests') < 3 && performance.now() < end) await load(server, seed, TOTAL / 4);
    t.diagnostic(`without: ${describe(without)}`);
    t.diagnostic(`with: ${describe(result)}; ${recycled(server, 'requests')} recycled`);
    t.diagnostic(`p99 ${(percentile(result.latencies, 99) / percentile(without.latencies, 99)).toFixed(2)} times`);
    assert.ok(recycled(server, 'requests') >= 3, `only ${recycled(server, 'requests')} recycled`);
    assert.deepEqual(server.spawned, [worker]);
    assert.deepEqual(complaints(server.log), []);
    await until(() => fdCount(worker) === fds, { what: `${fds} fds` });
    await stops(server);
  });
}

test('a thread that has grown beyond --thread-max-memory is replaced', async (t) => {
  const seed = seedOf();
  t.diagnostic(`SEED=${seed}`);
  const server = await start('leak.js', ['--threads', '2', '--keep-alive', '60', '--thread-max-memory', '40']);
  const [worker] = server.workers;
  await until(
    async () => {
      await load(server, seed, 300, ['sync']);
      return recycled(server, 'MiB of memory') >= 2;
    },
    { what: 'recycled threads', timeoutMs: 120_000 },
  );
  assert.deepEqual(server.spawned, [worker]);
  assert.deepEqual(complaints(server.log), []);
  await stops(server);
});

test('a sync worker that has served --max-requests is replaced as a process', async () => {
  const server = await start('echo.js', ['--worker-class', 'sync', '--max-requests', '20']);
  const ask = () => fetch(`http://127.0.0.1:${server.port}/pid`).then((response) => response.text());
  const first = await ask();
  await until(async () => (await ask()) !== first, { what: 'another worker', everyMs: 20 });
  assert.match(server.log, /Autorestarting worker after current request/);
  await stops(server);
});
