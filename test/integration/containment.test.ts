/** What must go on while no thread can take a request, and what is learned of handlers that are heavy where nobody looks. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { type Answer, ask, askJson } from '../support/ask.js';
import { HttpServer } from '../support/http-server.js';
import { until } from '../support/poll.js';

const servers: HttpServer[] = [];
const dir = mkdtempSync(join(tmpdir(), 'tunicorn-containment-'));

after(async () => {
  for (const server of servers) await server.cleanup();
  rmSync(dir, { recursive: true, force: true });
});

async function start(args: readonly string[], env: Record<string, string> = {}): Promise<HttpServer> {
  const server = await HttpServer.start('contain.mjs', [...args, '--status-bind', '127.0.0.1:0'], env);
  servers.push(server);
  await server.stillServes('/');
  return server;
}

/** What the status address says. */
async function status(server: HttpServer) {
  return askJson(Number(/Status at: http:\/\/127\.0\.0\.1:(\d+)/.exec(server.log)![1]));
}

/** Health and --queue-timeout 0.5 while nobody can take a request. */
async function refusedAndHealthy(server: HttpServer): Promise<Answer> {
  const waiting = ask(server.port, '/');
  const health = await ask(server.port, '/healthz/live');
  assert.deepEqual([health.status, health.body], [200, 'live\n']);
  assert.ok(health.ms < 1000, `health after ${health.ms} ms`);
  const refused = await waiting;
  assert.equal(refused.status, 503);
  assert.ok(refused.ms > 450 && refused.ms < 2000, `refused after ${refused.ms} ms`);
  return refused;
}

const QUEUE = ['--health-path', '/healthz', '--queue-timeout', '0.5'];

describe('no thread can take a request', { timeout: 120_000 }, () => {
  it('the only one has died and its successor loads for long: health is answered, --queue-timeout counts', async () => {
    const env = { LOADED: join(dir, 'slow'), SLOW: '4000' };
    const server = await start(['--threads', '1', ...QUEUE], env);
    assert.equal((await ask(server.port, '/exit')).status, 500);
    await refusedAndHealthy(server);
    // It may rest before the next comes.
    await refusedAndHealthy(server);
    await until(async () => (await ask(server.port, '/')).status === 200, { what: 'the next thread' });
    await server.stop();
  });

  it('who comes then and sends nothing has --header-timeout, as ever', async () => {
    const server = await start(['--threads', '1', '--thread-concurrency', '1', '--header-timeout', '1']);
    const held = ask(server.port, '/await?ms=2000');
    await until(async () => (await status(server)).inflight === 1, { what: 'the request in hand' });
    const waiting = ask(server.port, '/');
    await until(async () => (await status(server)).queued === 1, { what: 'main to know that none is free' });
    const silent = await server.connect();
    assert.equal(await silent.end(), '');
    assert.deepEqual([(await held).status, (await waiting).status], [200, 200]);
    await server.stop();
  });

  it('all have --thread-concurrency in hand and only await: the same', async () => {
    const server = await start(['--threads', '2', '--thread-concurrency', '1', ...QUEUE]);
    const held = [1, 2].map(() => ask(server.port, '/await?ms=3000'));
    await until(async () => (await status(server)).inflight === 2, { what: 'two requests in hand' });
    await refusedAndHealthy(server);
    await refusedAndHealthy(server);
    assert.deepEqual(
      (await Promise.all(held)).map((answer) => answer.status),
      [200, 200],
    );
    assert.equal((await ask(server.port, '/')).status, 200);
    await server.stop();
  });
});

describe('a stuck thread', { timeout: 120_000 }, () => {
  it('is ended also where main is woken all the time', async () => {
    const server = await start(['--threads', '3', '--thread-concurrency', '1', '--timeout', '1']);
    const agent = new Agent({ keepAlive: true });
    let over = false;
    const load = Array.from({ length: 8 }, async () => {
      while (!over) assert.equal((await ask(server.port, '/await?ms=2', { agent })).status, 200);
    });
    const stuck = await ask(server.port, '/loop');
    over = true;
    await Promise.all(load);
    agent.destroy();
    assert.equal(stuck.status, 504);
    assert.ok(stuck.ms < 3000, `ended after ${stuck.ms} ms`);
    await server.stop();
  });

  it('is at work for one request: the short deadline of another one that awaits there does not end it', async () => {
    const server = await start(['--threads', '1', '--timeout', '30']);
    const working = ask(server.port, '/stages?times=15');
    const short = await ask(server.port, '/await?ms=5000', { headers: { 'x-envoy-expected-rq-timeout-ms': '50' } });
    assert.equal(short.status, 504);
    const { status: code, ms } = await working;
    assert.equal(code, 200);
    assert.ok(ms > 400, `no stretch that would have ended it: ${ms} ms`);
    assert.doesNotMatch(server.log, /ended/);
    await server.stop();
  });

  it('in native code holds up neither the others nor the end of the worker', async () => {
    const server = await start(['--threads', '2', '--timeout', '0.5']);
    assert.equal((await ask(server.port, '/exec')).status, 504);
    await until(async () => (await ask(server.port, '/')).status === 200);
    const begun = performance.now();
    server.kill('SIGTERM');
    assert.deepEqual(await server.ended, { code: 0, signal: null });
    assert.ok(performance.now() - begun < 8000, `the end took ${performance.now() - begun} ms`);
    assert.doesNotMatch(server.log, /Warning|sent SIG/);
  });

  it('a response that has only begun with hints has its deadline', async () => {
    const server = await start(['--threads', '2', '--timeout', '0.5']);
    const { status: code, ms } = await ask(server.port, '/hints');
    assert.equal(code, 504);
    assert.ok(ms < 3000, String(ms));
    await server.stop();
  });
});

describe('what routes cost', { timeout: 120_000 }, () => {
  it('a handler that is heavy between two waits is known as heavy, one that only waits as light', async () => {
    const server = await start(['--threads', '3']);
    const route = async (name: string) =>
      (await status(server)).routes.find((r: { route: string }) => r.route === name);
    for (let i = 0; i < 4; i++) {
      await ask(server.port, '/stages');
      await ask(server.port, '/await?ms=40');
    }
    const stages = await route('GET /stages');
    assert.equal(stages.heavy, true);
    assert.ok(stages.costMs > 10, `${stages.costMs} ms`);
    assert.equal((await route('GET /await')).heavy, false);
    // Many at a time on the same threads tell little each, and nothing against that.
    await Promise.all(Array.from({ length: 24 }, () => ask(server.port, '/stages')));
    assert.equal((await route('GET /stages')).heavy, true);
    await until(async () => (await route('GET /stages')).requests === 28, { what: 'all of them in the totals' });
    assert.ok((await route('GET /stages')).cpuSeconds > 0.3);
    await server.stop();
  });

  it('is learned also from many at a time', async () => {
    const server = await start(['--threads', '3']);
    await Promise.all(Array.from({ length: 24 }, () => ask(server.port, '/stages')));
    await Promise.all(Array.from({ length: 200 }, () => ask(server.port, '/await?ms=20')));
    const { routes } = await status(server);
    const heavy = (name: string) => routes.find((r: { route: string }) => r.route === name).heavy;
    assert.equal(heavy('GET /stages'), true);
    assert.equal(heavy('GET /await'), false);
    await server.stop();
  });
});
