/**
 * Every request gets its own response, whole and in order: requests that can be told apart, over many connections,
 * pipelined and split at random, with every kind of handler and pool. STRESS=full: 100,000 requests for each case.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { describe, LoadClient } from '../support/load-client.js';
import { seedOf } from '../support/random.js';
import { complaints, FULL, nothingWrong, StressServer } from '../support/stress-server.js';

const MODES = ['echo', 'echo', 'chunks', 'stream', 'sync', 'sync', 'timer'] as const;
const TOTAL = Number(process.env.TOTAL ?? (FULL ? 100_000 : 6000));

const servers: StressServer[] = [];
after(async () => {
  for (const server of servers) await server.cleanup();
});

interface Case {
  app: string;
  threads: number;
  pool: string;
}

const ALL: Case[] = ['echo.js', 'echo-fetch.js'].flatMap((app) =>
  [1, 2, 8].flatMap((threads) => ['piscina', 'tinypool'].map((pool) => ({ app, threads, pool }))),
);
const SHORT: Case[] = [
  { app: 'echo.js', threads: 1, pool: 'tinypool' },
  { app: 'echo.js', threads: 8, pool: 'piscina' },
  { app: 'echo-fetch.js', threads: 2, pool: 'piscina' },
];

for (const { app, threads, pool } of FULL ? ALL : SHORT) {
  test(`${TOTAL} requests, ${app}, ${threads} threads, ${pool}`, async (t) => {
    const seed = seedOf();
    t.diagnostic(`SEED=${seed}`);
    const server = await StressServer.start(app, ['--threads', `${threads}`, '--thread-pool', pool]);
    servers.push(server);
    const client = new LoadClient({ target: server.target, seed, total: TOTAL, modes: MODES, closeChance: 0.005 });
    const begun = performance.now();
    const result = await client.run();
    const took = performance.now() - begun;
    t.diagnostic(`${describe(result)}, ${((result.ok / took) * 1000).toFixed(0)} requests/s`);
    nothingWrong(result, server);
    assert.equal(result.ok + result.lost, result.sent);
    assert.equal(result.cut, 0);
    assert.deepEqual(complaints(server.log), []);
    server.kill('SIGTERM');
    assert.deepEqual(await server.ended, { code: 0, signal: null });
  });
}
