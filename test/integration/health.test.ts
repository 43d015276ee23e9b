/**
 * Health and status with the real command: the status address while threads spin, drain, and are replaced; the health path
 * while threads are free.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { ThreadReport } from '../../src/worker/status-report.js';
import { ArbiterProcess, isAlive } from '../support/arbiter-process.js';
import { HttpServer } from '../support/http-server.js';
import { until } from '../support/poll.js';
import { fdCount } from '../support/proc.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
const servers: HttpServer[] = [];
const dir = mkdtempSync(join(tmpdir(), 'tunicorn-health-'));

after(async () => {
  for (const server of servers) await server.cleanup();
  rmSync(dir, { recursive: true, force: true });
});

async function start(app: string, args: readonly string[]): Promise<HttpServer> {
  const server = await HttpServer.start(app, args);
  servers.push(server);
  return server;
}

interface Answer {
  status: number;
  body: string;
  ms: number;
}

/** One request on a connection of its own, at an address as it is logged. */
function probe(address: string, path: string, method = 'GET'): Promise<Answer> {
  const where = address.startsWith('unix:')
    ? { socketPath: address.slice(5) }
    : { host: '127.0.0.1', port: new URL(address).port };
  const from = performance.now();
  return new Promise((resolve, reject) => {
    const req = request({ ...where, path, method, agent: false, timeout: 10_000 }, async (res) => {
      let body = '';
      for await (const piece of res.setEncoding('utf8')) body += piece;
      resolve({ status: res.statusCode!, body, ms: performance.now() - from });
    });
    req.on('timeout', () => req.destroy(new Error(`no answer to ${path}`)));
    req.on('error', reject).end();
  });
}

/** The first status address in the log. */
async function statusOf(server: HttpServer): Promise<string> {
  await server.waitFor(/Status at: .*\n/);
  const [address] = /Status at: (.*)\n/.exec(server.log)![1].split(',');
  await until(async () => (await probe(address, '/ready')).status === 200, { what: 'readiness' });
  return address;
}

async function pidAt(address: string): Promise<number> {
  return JSON.parse((await probe(address, '/')).body).pid;
}

describe('the status address', { concurrency: 1, timeout: 120_000 }, () => {
  it('answers while every thread spins; not ready after a second of it, ready again afterwards', async () => {
    const server = await start('health-spin.mjs', [
      '--threads',
      '2',
      '--reserve-threads',
      '0',
      '--status-bind',
      '127.0.0.1:0',
    ]);
    const address = await statusOf(server);
    const spinners = [await server.connect(), await server.connect()];
    for (const client of spinners) client.write('GET /?ms=3000 HTTP/1.1\r\nHost: x\r\n\r\n');
    const state = async () => JSON.parse((await probe(address, '/status')).body);
    await until(
      async () => {
        const { threads } = await state();
        return threads.filter((t: ThreadReport) => t.state === 'stuck' && t.inflight === 1).length === 2;
      },
      { what: 'both threads to spin' },
    );
    const answers: Answer[] = [];
    const refused = await until<Answer | undefined>(async () => {
      answers.push(await probe(address, '/live'));
      assert.equal(answers.at(-1)!.status, 200);
      answers.push(await probe(address, '/ready'));
      return answers.find(({ status }) => status === 503);
    });
    assert.equal(refused?.body, 'all threads stuck\n');
    assert.equal((await state()).ready, false);
    assert.equal((await probe(address, '/live')).body, 'live\n');
    const slowest = Math.max(...answers.map(({ ms }) => ms));
    assert.ok(slowest < 1000, `the slowest of ${answers.length} answers took ${slowest} ms`);
    for (const client of spinners) {
      assert.equal((await client.response()).body, 'done');
      client.destroy();
    }
    await until(async () => (await probe(address, '/ready')).status === 200, { what: 'readiness' });
    await until(async () => (await state()).connections === 0);
    const { served, inflight, ready, reason, version } = await state();
    assert.deepEqual({ served, inflight, ready, reason }, { served: 2, inflight: 0, ready: true, reason: '' });
    assert.ok(server.log.includes(`Starting tunicorn ${version}\n`));
    const before = fdCount(server.worker);
    for (let i = 0; i < 50; i++) assert.equal((await probe(address, '/live')).status, 200);
    await until(() => fdCount(server.worker) <= before, { what: 'the descriptors to be closed' });
    await server.stop();
  });

  it('TERM with a request in hand: alive but not ready to the end, which is peaceful', async () => {
    const path = join(dir, 'term.sock');
    const args = ['--threads', '2', '--status-bind', '127.0.0.1:0', '--status-bind', `unix:${path}`];
    const server = await start('http-node.mjs', args);
    const address = await statusOf(server);
    const client = await server.connect();
    client.write('POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab');
    await until(async () => JSON.parse((await probe(address, '/')).body).inflight === 1, { what: 'the request' });
    server.kill('SIGTERM');
    for (const at of [address, `unix:${path}`]) {
      await until(async () => (await probe(at, '/ready')).status === 503, { what: 'the stop to begin' });
      assert.equal((await probe(at, '/ready')).body, 'draining\n');
      assert.deepEqual([(await probe(at, '/live')).status, (await probe(at, '/live')).body], [200, 'live\n']);
    }
    await assert.rejects(server.connect(), /ECONNREFUSED/);
    client.write('cd');
    assert.equal((await client.response()).body, 'abcd');
    client.destroy();
    assert.equal((await server.ended).code, 0);
    assert.equal(existsSync(path), false);
    await assert.rejects(probe(address, '/live'), /ECONNREFUSED/);
    assert.doesNotMatch(server.log, /ERROR|WARNING|CRITICAL/);
  });

  it('works at a unix socket, and for a sync worker', async () => {
    const path = join(dir, 'sync.sock');
    const server = await start('http-fetch.mjs', ['-k', 'sync', '--status-bind', `unix:${path}`]);
    assert.equal(await statusOf(server), `unix:${path}`);
    assert.equal(await pidAt(`unix:${path}`), server.worker);
    await server.stillServes();
    await server.stop();
    assert.equal(existsSync(path), false);
  });

  it('is any of several workers; one that is killed is missed by nobody', async () => {
    const server = await start('http-node.mjs', ['--threads', '1', '--status-bind', '127.0.0.1:0']);
    const address = await statusOf(server);
    server.kill('SIGTTIN');
    await server.waitForWorkers(2);
    const pid = await pidAt(address);
    assert.ok(server.workers.includes(pid));
    process.kill(pid, 'SIGKILL');
    await until(() => !isAlive(pid), { what: 'its end' });
    const next = await pidAt(address);
    assert.ok(next !== pid && server.workers.includes(next));
    await until(() => server.spawned.length === 3, { what: 'a third worker' });
    await server.stop();
  });

  it('is never unready for its workers coming and going (TTIN, TTOU, HUP)', async () => {
    const path = join(dir, 'several.sock');
    const server = await start('http-node.mjs', ['--threads', '1', '--status-bind', `unix:${path}`]);
    const address = await statusOf(server);
    const first = server.worker;
    // The first worker has to drain for as long as this lasts.
    const client = await server.connect();
    client.write('POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab');
    await until(async () => JSON.parse((await probe(address, '/')).body).inflight === 1, { what: 'the request' });
    const stop = new AbortController();
    const seen = new Set<number>();
    const wrong: string[] = [];
    const watching = (async () => {
      while (!stop.signal.aborted) {
        await probe(address, '/').then(
          ({ body }) => {
            const { pid, ready, reason } = JSON.parse(body);
            seen.add(pid);
            if (!ready) wrong.push(`${pid} is not ready: ${reason}`);
          },
          (error: Error) => wrong.push(error.message),
        );
      }
    })();
    const others = () => [...seen].filter((pid) => pid !== first);
    try {
      server.kill('SIGTTIN');
      await server.waitForWorkers(2);
      server.kill('SIGTTOU');
      await until(() => others().length === 1, { what: 'the second worker to answer' });
      server.kill('SIGHUP');
      // The second worker stays: its threads are swapped.
      await server.waitFor(/Reloaded 1 threads/);
      assert.equal(others().length, 1);
      assert.ok(isAlive(first));
    } finally {
      stop.abort();
      await watching;
    }
    assert.deepEqual(wrong, []);
    client.write('cd');
    assert.equal((await client.response()).body, 'abcd');
    client.destroy();
    await server.waitForWorkers(1);
    await server.stop();
  });

  it('is opened together with the others or not at all', async () => {
    const path = join(dir, 'first.sock');
    const args = ['-b', `unix:${path}`, '--status-bind', `unix:${dir}/missing/status.sock`];
    const one = new ArbiterProcess([CLI, ...args, 'app.js']);
    assert.equal((await one.ended).code, 1);
    assert.match(one.log, /cannot listen at unix:\S+status.sock: its folder does not exist/);
    assert.equal(existsSync(path), false);
  });
});

for (const kind of [
  { name: '(req, res), 2 threads', app: 'http-node.mjs', args: ['--threads', '2'], keeps: true },
  { name: 'fetch, 2 threads', app: 'http-fetch.mjs', args: ['--threads', '2'], keeps: true },
  { name: '(req, res), sync', app: 'http-node.mjs', args: ['-k', 'sync'], keeps: false },
]) {
  it(`the health path: ${kind.name}`, { timeout: 60_000 }, async () => {
    const server = await start(kind.app, [...kind.args, '--health-path', '/healthz', '--access-logfile', '-']);
    const lines = () => server.stdout.split('\n').filter((line) => line.includes('"GET /healthz?one HTTP/1.1" 200 3 '));
    // While no thread is up yet, main answers, and closes.
    await server.stillServes();

    const client = await server.connect();
    client.write('GET /healthz?one HTTP/1.1\r\nHost: x\r\n\r\n');
    const first = await client.response();
    assert.deepEqual([first.status, first.body], [200, 'ok\n']);
    assert.equal(first.headers['cache-control'], 'no-store');
    assert.equal(first.headers['content-length'], '3');
    assert.equal(first.headers.connection, kind.keeps ? 'keep-alive' : 'close');
    await until(() => lines().length === 1, { what: 'its line in the access log' });

    if (kind.keeps) {
      client.write('HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
      const head = await client.response({ head: true });
      assert.deepEqual([head.status, head.headers['content-length']], [200, '3']);
      // What belongs to the app still reaches it, on the same connection.
      client.write('POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi');
      assert.deepEqual([(await client.response()).status, client.data.length], [404, 0]);
      client.write('GET /hello HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.equal((await client.response()).body, 'hello');
      // A body that nobody asked for is read and thrown away.
      client.write('GET /healthz/live HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab');
      assert.equal((await client.response()).body, 'live\n');
      client.write('cdGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.equal((await client.response()).body, 'ok\n');
      const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
      client.write(get('/healthz') + get('/hello') + get('/healthz/live') + get('http://x/healthz') + get('/healthzz'));
      for (const body of ['ok\n', 'hello', 'live\n', 'ok\n', 'no /healthzz']) {
        assert.equal((await client.response()).body, body);
      }
    } else assert.equal(await client.end(), '');
    client.destroy();
    assert.match(await server.talk('GET /healthz HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nok\n$/s);
    assert.match(await server.talk('HEAD /healthz HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 OK\r\n.*: 3\r\n.*\r\n\r\n$/s);
    await server.stop();
  });
}

it('the health path tells those who ask on a connection from before that the worker drains', async () => {
  const status = ['--status-bind', '127.0.0.1:0'];
  const args = ['--threads', '1', '--health-path', '/healthz', '--keep-alive', '30', ...status];
  const server = await start('http-node.mjs', args);
  const address = await statusOf(server);
  const client = await server.connect();
  // The second request waits behind the first, whose body holds the worker's end up.
  client.write('POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab');
  await until(async () => JSON.parse((await probe(address, '/')).body).inflight === 1, { what: 'the first request' });
  server.kill('SIGTERM');
  await until(
    () =>
      server.connect().then(
        (c) => c.destroy(),
        () => true,
      ),
    { what: 'the listener to close' },
  );
  client.write('cdGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.equal((await client.response()).body, 'abcd');
  const answer = await client.response();
  assert.deepEqual([answer.status, answer.body, answer.headers.connection], [503, 'draining\n', 'close']);
  client.destroy();
  assert.equal((await server.ended).code, 0);
});

it("without --health-path every path is the app's", async () => {
  const server = await start('http-node.mjs', ['--threads', '1']);
  assert.match(await server.talk('GET /healthz HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 404 .*no \/healthz$/s);
  assert.doesNotMatch(server.log, /Status at/);
  await server.stop();
});
