/** Limits of a worker under load: --worker-connections, --max-requests, and handlers that keep threads busy. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, LoadClient, type Mode, percentile } from '../support/load-client.js';
import { settled, until } from '../support/poll.js';
import { fdCount } from '../support/proc.js';
import { seedOf } from '../support/random.js';
import { complaints, FULL, nothingWrong, StressServer } from '../support/stress-server.js';

const MODES: Mode[] = ['echo', 'sync', 'timer', 'chunks'];

const servers: StressServer[] = [];
after(async () => {
  for (const server of servers) await server.cleanup();
});

async function start(app: string, args: string[], env: Record<string, string> = {}): Promise<StressServer> {
  const server = await StressServer.start(app, args, env);
  servers.push(server);
  return server;
}

async function stops(server: StressServer): Promise<void> {
  const begun = performance.now();
  server.kill('SIGTERM');
  assert.deepEqual(await server.ended, { code: 0, signal: null });
  assert.ok(performance.now() - begun < 3000, `the end took ${performance.now() - begun} ms`);
}

test('accepting stops at --worker-connections and resumes', async (t) => {
  const seed = seedOf();
  t.diagnostic(`SEED=${seed}`);
  const server = await start('echo.js', ['--threads', '2', '--worker-connections', '50']);
  const [worker] = server.workers;
  await new LoadClient({ target: server.target, seed, total: 200, modes: MODES, connections: 4 }).run();
  const fds = await settled(() => fdCount(worker));
  const total = FULL ? 20_000 : 2000;
  const client = new LoadClient({
    target: server.target,
    seed,
    connections: 200,
    total,
    modes: MODES,
    closeChance: 0.3,
    depth: 4,
    maxBody: 2000,
  });
  const load = client.run();
  let most = 0;
  const watch = setInterval(() => (most = Math.max(most, fdCount(worker))), 20);
  const result = await load;
  clearInterval(watch);
  t.diagnostic(`${describe(result)}, at most ${most - fds} connections`);
  nothingWrong(result, server);
  assert.equal(result.ok, total);
  assert.ok(most - fds <= 50, `${most - fds} more fds than at first`);
  await until(() => fdCount(worker) === fds, { what: 'the fd count' });
  await stops(server);
});

test('at --worker-connections unused connections make room for new clients, those in use stay', async (t) => {
  const server = await start('echo.js', [
    ...['--threads', '2', '--worker-connections', '20', '--keep-alive', '60', '--header-timeout', '60'],
  ]);
  const closed: string[] = [];
  const open = (name: string, text: string) => {
    const socket = connect(server.port, '127.0.0.1', () => socket.write(text));
    socket.on('error', () => {}).on('close', () => closed.push(name));
    socket.resume();
    t.after(() => socket.destroy());
    return socket;
  };
  const ask = 'GET /sync/a HTTP/1.1\r\nHost: x\r\nX-Id: a\r\n\r\n';
  const busy = open('busy', ask);
  const asking = setInterval(() => busy.write(ask), 200);
  t.after(() => clearInterval(asking));
  for (let i = 0; i < 9; i++) open('half', 'GET / HTTP/1.1\r\nHost: ');
  for (let i = 0; i < 10; i++) open('idle', ask);
  // One after the other, each on a connection of its own.
  for (let i = 0; i < 10; i++) {
    const answer = await fetch(`http://127.0.0.1:${server.port}/sync/b${i}`, {
      headers: { 'x-id': `b${i}`, connection: 'close' },
    });
    assert.equal(answer.status, 200);
    await answer.arrayBuffer();
  }
  assert.ok(closed.length >= 1 && !closed.includes('busy'), `closed: ${closed}`);
});

test('--max-requests under keep-alive load: threads are recycled, processes and connections stay', async (t) => {
  const seed = seedOf();
  t.diagnostic(`SEED=${seed}`);
  const folder = mkdtempSync(join(tmpdir(), 'tunicorn-limits-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const handledFile = join(folder, 'handled');
  const server = await start(
    'echo.js',
    ['--workers', '2', '--threads', '2', '--keep-alive', '60', '--max-requests', '200', '--max-requests-jitter', '100'],
    { HANDLED: handledFile },
  );
  const client = new LoadClient({
    ...{ target: server.target, seed, connections: 16, modes: MODES, depth: 4, maxBody: 10_000 },
  });
  const { workers } = server;
  const load = client.run();
  t.after(() => client.stop());
  const recycled = () => [...server.log.matchAll(/Thread \d+ replaced by \d+: \d+ requests/g)].length;
  await until(() => recycled() >= (FULL ? 20 : 2), { what: 'recycled threads', timeoutMs: 120_000 });
  client.stop();
  const result = await load;
  t.diagnostic(`${describe(result)}, ${recycled()} threads recycled`);
  nothingWrong(result, server);
  assert.equal(result.ok, result.sent);
  assert.equal(result.connects, 16);
  const handled = readFileSync(handledFile, 'utf8').split('\n').slice(0, -1);
  assert.deepEqual(
    handled.filter((id) => !result.answered.has(id)),
    [],
    'handled, but not answered',
  );
  assert.deepEqual(complaints(server.log), []);
  assert.deepEqual(server.workers, workers);
  await stops(server);
});

/** Light requests, one at a time on each of 4 connections, while `heavy` runs; latencies in ms. */
async function lightBeside(server: StressServer, heavy: () => Promise<unknown>, total: number): Promise<number[]> {
  const light = new LoadClient({
    target: server.target,
    seed: seedOf(),
    modes: ['sync'],
    connections: 4,
    depth: 1,
    maxBody: 200,
    total,
    pauseChance: 1,
    pauseMs: 10,
  });
  const load = light.run();
  let over = false;
  const beside = (async () => {
    while (!over) await heavy();
  })();
  const result = await load;
  over = true;
  await beside;
  nothingWrong(result, server);
  return result.latencies;
}

for (const path of ['heavy/300', 'late/1']) {
  test(`a handler that spins holds up nobody else: /${path}`, async (t) => {
    const server = await start('echo.js', ['--threads', '2']);
    await lightBeside(server, () => sleep(1), 300);
    const latencies = await lightBeside(
      server,
      async () => {
        const response = await fetch(`http://127.0.0.1:${server.port}/${path}`);
        assert.equal(response.status, 200);
        await response.arrayBuffer();
      },
      FULL ? 4000 : 400,
    );
    t.diagnostic(
      `p50 ${percentile(latencies, 50).toFixed(1)}, p99 ${percentile(latencies, 99).toFixed(1)}, max ${percentile(latencies, 100).toFixed(0)} ms`,
    );
    assert.ok(percentile(latencies, 99) < 100, `p99 ${percentile(latencies, 99)} ms`);
    await stops(server);
  });
}

/** Asks on a connection of its own, which is kept. */
function asker(port: number): { ask(path: string): Promise<string>; close(): void } {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  return {
    ask: (path) =>
      new Promise((resolve, reject) => {
        const req = get({ port, host: '127.0.0.1', path: `/${path}`, agent }, (res) => {
          let text = '';
          res.setEncoding('utf8').on('data', (piece) => (text += piece));
          res.on('end', () => resolve(text));
        });
        req.on('error', reject);
      }),
    close: () => agent.destroy(),
  };
}

test('while all threads of a worker spin, its sibling takes the new connections', async (t) => {
  const server = await start('echo.js', [
    '--workers',
    '2',
    '--threads',
    '2',
    '--reserve-threads',
    '0',
    '--keep-alive',
    '30',
  ]);
  // As many connections to one worker as it has threads.
  const byWorker = new Map<string, ReturnType<typeof asker>[]>();
  await until(async () => {
    const connection = asker(server.port);
    const pid = await connection.ask('pid');
    byWorker.set(pid, [...(byWorker.get(pid) ?? []), connection]);
    return byWorker.size === 2 && [...byWorker.values()].some((list) => list.length >= 2);
  });
  const [full, connections] = [...byWorker].find(([, list]) => list.length >= 2)!;
  const heavy = connections.slice(0, 2).map((connection) => connection.ask('heavy/1500'));
  await sleep(100);
  const begun = performance.now();
  const latencies: number[] = [];
  while (performance.now() - begun < 1000) {
    const from = performance.now();
    const connection = asker(server.port);
    assert.notEqual(await connection.ask('pid'), full);
    connection.close();
    latencies.push(performance.now() - from);
    await sleep(2);
  }
  t.diagnostic(
    `${latencies.length} requests, p99 ${percentile(latencies, 99).toFixed(1)}, max ${percentile(latencies, 100).toFixed(0)} ms`,
  );
  assert.ok(percentile(latencies, 100) < 500, `max ${percentile(latencies, 100)} ms`);
  await Promise.all(heavy);
  // It takes its share again.
  await until(async () => {
    const connection = asker(server.port);
    const pid = await connection.ask('pid');
    connection.close();
    return pid === full;
  });
  for (const connection of [...byWorker.values()].flat()) connection.close();
  await stops(server);
});
