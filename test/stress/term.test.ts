/**
 * The end under load: what the server has begun to answer comes whole, what a handler has seen is answered, connections
 * end between responses only, and nothing is left. STRESS=full: 20 times.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive } from '../support/arbiter-process.js';
import { describe, LoadClient, type Mode } from '../support/load-client.js';
import { until } from '../support/poll.js';
import { Random, seedOf } from '../support/random.js';
import { complaints, FULL, nothingWrong, StressServer } from '../support/stress-server.js';

const TIMES = Number(process.env.TIMES ?? (FULL ? 20 : 4));
const GRACEFUL_S = 10;
const MODES: Mode[] = ['echo', 'echo', 'chunks', 'stream', 'sync', 'timer'];

const folder = mkdtempSync(join(tmpdir(), 'tunicorn-term-'));
const servers: StressServer[] = [];
after(async () => {
  for (const server of servers) await server.cleanup();
  rmSync(folder, { recursive: true });
});

async function start(app: string, args: string[], env: Record<string, string> = {}): Promise<StressServer> {
  const server = await StressServer.start(app, args, env);
  servers.push(server);
  return server;
}

for (let i = 0; i < TIMES; i++) {
  const app = i % 2 === 0 ? 'echo.js' : 'echo-fetch.js';
  test(`TERM under load, ${i + 1} of ${TIMES}, ${app}`, async (t) => {
    const seed = (seedOf() + i) >>> 0;
    t.diagnostic(`SEED=${seed}`);
    const random = new Random(seed);
    const handledFile = join(folder, `handled-${i}`);
    const path = join(folder, `${i}.sock`);
    const unix = i % 4 >= 2;
    const server = await start(
      app,
      [
        '--workers',
        '2',
        '--threads',
        '2',
        '--graceful-timeout',
        `${GRACEFUL_S}`,
        '-b',
        unix ? `unix:${path}` : '127.0.0.1:0',
      ],
      { [app === 'echo.js' ? 'HANDLED' : 'HANDLED_FETCH']: handledFile },
    );
    const client = new LoadClient({
      target: unix ? { path } : server.target,
      seed,
      modes: MODES,
      faults: true,
      once: true,
      closeChance: 0.001,
    });
    const load = client.run();
    await until(() => client.result.ok > 200, { what: '200 responses' });
    await sleep(random.int(0, 500));
    const begun = performance.now();
    server.kill('SIGTERM');
    const ended = await server.ended;
    const took = performance.now() - begun;
    client.stop();
    const result = await load;
    t.diagnostic(`${describe(result)}, the end took ${took.toFixed(0)} ms`);
    assert.deepEqual(ended, { code: 0, signal: null });
    assert.ok(took < GRACEFUL_S * 1000, `the end took ${took} ms`);
    nothingWrong(result, server);
    assert.deepEqual(result.cutIds, [], 'responses that were cut');
    const handled = readFileSync(handledFile, 'utf8').split('\n').slice(0, -1);
    assert.equal(new Set(handled).size, handled.length, 'handled twice');
    assert.deepEqual(
      handled.filter((id) => !result.answered.has(id)),
      [],
      'handled, but not answered',
    );
    assert.deepEqual(complaints(server.log), []);
    assert.deepEqual(server.spawned.filter(isAlive), []);
    if (unix) assert.equal(existsSync(path), false);
  });
}

for (const signal of ['SIGINT', 'SIGQUIT'] as const) {
  test(`${signal} ends at once, whatever handlers do`, async () => {
    const server = await start('echo.js', ['--threads', '2']);
    const requests = [1, 2, 3].map(() => fetch(`http://127.0.0.1:${server.port}/heavy/8000`).catch(() => null));
    await sleep(200);
    const begun = performance.now();
    server.kill(signal);
    assert.deepEqual(await server.ended, { code: 0, signal: null });
    assert.ok(performance.now() - begun < 2000, `the end took ${performance.now() - begun} ms`);
    assert.deepEqual(await Promise.all(requests), [null, null, null]);
    assert.deepEqual(server.spawned.filter(isAlive), []);
  });
}
