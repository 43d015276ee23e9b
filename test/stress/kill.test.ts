/**
 * Workers and threads that die under load: only the requests in their hands suffer, nothing is mixed up, all is replaced,
 * nothing leaks. STRESS=full: 60 s each.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, LoadClient, type Mode } from '../support/load-client.js';
import { until } from '../support/poll.js';
import { assertIdle, fdCount, fdKinds } from '../support/proc.js';
import { Random, seedOf } from '../support/random.js';
import { complaints, FULL, nothingWrong, type StressServer, serverStarter } from '../support/stress-server.js';

const SECONDS = Number(process.env.SECONDS ?? (FULL ? 60 : 4));
const KILL_EVERY_MS = 2000;
const MODES: Mode[] = ['echo', 'echo', 'chunks', 'stream', 'sync', 'sync', 'brisk', 'timer'];

const start = serverStarter();

/** A little load, so that all is set up; then the fd count of a worker that has no connection. */
async function settledFds(server: StressServer, seed: number): Promise<number> {
  const warm = await new LoadClient({ target: server.target, seed, total: 500, modes: MODES, connections: 32 }).run();
  nothingWrong(warm, server);
  let before = -1;
  return await until(
    async () => {
      const counts = server.workers.map(fdCount);
      const same = counts.every((n) => n === counts[0]) && counts[0] === before;
      before = counts[0];
      return same ? counts[0] : 0;
    },
    { everyMs: 300, what: 'equal fd counts' },
  );
}

async function fdsAreBack(server: StressServer, fds: number): Promise<void> {
  await until(() => server.workers.every((pid) => fdCount(pid) === fds), { what: 'the fd counts' }).catch((error) => {
    const now = server.workers.map((pid) => JSON.stringify(fdKinds(pid))).join('\n');
    throw new Error(`${error.message}: at first ${fds}, now\n${now}`);
  });
}

async function stops(server: StressServer): Promise<void> {
  const begun = performance.now();
  server.kill('SIGTERM');
  assert.deepEqual(await server.ended, { code: 0, signal: null });
  // All connections are closed: a count of them that has drifted would make it wait for the graceful timeout.
  assert.ok(performance.now() - begun < 3000, `the end took ${performance.now() - begun} ms`);
}

for (const app of ['echo.js', 'echo-fetch.js']) {
  test(`${SECONDS} s of load, a worker killed every ${KILL_EVERY_MS} ms, ${app}`, async (t) => {
    const seed = seedOf();
    t.diagnostic(`SEED=${seed}`);
    const random = new Random(seed);
    const server = await start(app, ['--workers', '2', '--threads', '2']);
    const fds = await settledFds(server, seed);
    const client = new LoadClient({ target: server.target, seed, modes: MODES, faults: true, closeChance: 0.01 });
    const load = client.run();
    let kills = 0;
    for (const end = performance.now() + SECONDS * 1000 - KILL_EVERY_MS / 2; performance.now() < end; ) {
      await sleep(KILL_EVERY_MS);
      const victims = server.workers;
      if (victims.length > 0) process.kill(random.pick(victims), 'SIGKILL');
      kills++;
    }
    client.stop();
    const result = await load;
    t.diagnostic(`${describe(result)}, ${kills} kills`);
    nothingWrong(result, server);
    assert.ok(result.ok > 100 * SECONDS, `only ${result.ok} answered`);
    await server.waitForWorkers(2);
    await fdsAreBack(server, fds);
    assert.deepEqual(
      server.children.map((c) => c.state).filter((s) => s === 'Z'),
      [],
    );
    assert.equal(server.children.length, 2);
    assert.deepEqual(complaints(server.log, /was sent SIGKILL/), []);
    await stops(server);
  });
}

for (const [app, pool] of [
  ['echo.js', 'piscina'],
  ['echo-fetch.js', 'tinypool'],
]) {
  test(`${SECONDS} s of load with handlers that end their thread, ${app}, ${pool}`, async (t) => {
    const seed = seedOf();
    t.diagnostic(`SEED=${seed}`);
    const server = await start(app, ['--threads', '4', '--thread-pool', pool]);
    const fds = await settledFds(server, seed);
    const [worker] = server.workers;
    const modes: Mode[] = [...Array.from({ length: 40 }, () => MODES).flat(), 'exit', 'bomb', 'throw'];
    const client = new LoadClient({
      target: server.target,
      seed,
      modes,
      faults: true,
      allowStatus: [500, 503],
      depth: 4,
      maxBody: 20_000,
    });
    const load = client.run();
    await sleep(SECONDS * 1000);
    client.stop();
    const result = await load;
    const deaths = [...server.log.matchAll(/thread \d+ has ended/g)].length;
    t.diagnostic(`${describe(result)}, ${deaths} threads ended`);
    nothingWrong(result, server);
    assert.ok(deaths > SECONDS / 4, `only ${deaths} threads ended`);
    assert.ok(result.ok > 50 * SECONDS, `only ${result.ok} answered`);
    // The process lived on, and all is as before.
    assert.deepEqual(server.spawned, [worker]);
    await fdsAreBack(server, fds);
    const again = await new LoadClient({ target: server.target, seed: seed + 1, total: 500, modes: MODES }).run();
    nothingWrong(again, server);
    assert.equal(again.ok, again.sent);
    await fdsAreBack(server, fds);
    await assertIdle(worker);
    await stops(server);
  });
}
