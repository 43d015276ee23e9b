/**
 * A heavy, stuck or broken request hurts nobody else. Each test has light clients beside it that must see no error; their
 * latency is asserted as a generous bound, or as the issue has it with STRESS=full.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { Agent } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ask } from '../support/ask.js';
import { describe, LoadClient, percentile } from '../support/load-client.js';
import { settled, until } from '../support/poll.js';
import { fdCount, rss, threadCpu } from '../support/proc.js';
import { seedOf } from '../support/random.js';
import { FULL, nothingWrong, StressServer } from '../support/stress-server.js';

const TIMES = FULL ? 200 : 3;
/** Bound on the light clients' p99, ms. */
const P99 = FULL ? 50 : 400;

const folder = mkdtempSync(join(tmpdir(), 'tunicorn-contain-'));
const servers: StressServer[] = [];
after(async () => {
  for (const server of servers) await server.cleanup();
  rmSync(folder, { recursive: true });
});

let files = 0;
/** Starts the server; `noted` reads what its handlers noted. */
async function start(...args: string[]): Promise<StressServer & { noted(): string[] }> {
  const file = join(folder, `noted-${files++}`);
  const server = await StressServer.start('contain.js', args, { NOTED: file });
  servers.push(server);
  assert.equal((await ask(server.port, '/sync/x')).status, 200);
  const noted = () => {
    try {
      return readFileSync(file, 'utf8').trim().split('\n');
    } catch {
      return [];
    }
  };
  return Object.assign(server, { noted });
}

/** Light clients on keep-alive connections, one request at a time each, with pauses. */
function light(server: StressServer): { stop(): Promise<LoadClient> } {
  const client = new LoadClient({
    target: server.target,
    seed: seedOf(),
    connections: 32,
    depth: 1,
    maxBody: 0,
    modes: ['sync'],
    pauseChance: 1,
    pauseMs: 200,
  });
  const running = client.run();
  return {
    async stop() {
      client.stop();
      await running;
      return client;
    },
  };
}

/** No error, no reset, and nobody waited. */
function unhurt(client: LoadClient, server: StressServer): string {
  const { result } = client;
  nothingWrong(result, server);
  assert.deepEqual([result.lost, result.cut, result.connectFailures, result.connects], [0, 0, 0, 32]);
  assert.ok(result.ok > 30, `only ${result.ok} light requests`);
  const p99 = percentile(result.latencies, 99);
  assert.ok(p99 < P99, `p99 of the light requests is ${p99} ms`);
  return `${describe(result)}, p99 ${p99.toFixed(1)} ms, longest ${percentile(result.latencies, 100).toFixed(1)} ms`;
}

async function stops(server: StressServer): Promise<void> {
  server.kill('SIGTERM');
  assert.deepEqual(await server.ended, { code: 0, signal: null });
}

for (const pool of ['piscina', 'tinypool']) {
  test(`a handler that never returns gets 504, ${TIMES} times in a row, and only it (${pool})`, async (t) => {
    const server = await start('--threads', '4', '--timeout', '1', '--thread-pool', pool);
    const [worker] = server.workers;
    const clients = light(server);
    const once = async () => {
      const { status, ms, error } = await ask(server.port, '/loop');
      assert.equal(error, undefined);
      assert.equal(status, 504);
      assert.ok(ms > 900 && ms < (FULL ? 1500 : 3000), `answered after ${ms} ms`);
    };
    await once();
    await until(() => threadCpu(worker).size >= 4);
    const before = { fds: await settled(() => fdCount(worker)), threads: await settled(() => threadCpu(worker).size) };
    const memory = rss(worker);
    for (let i = 1; i < TIMES; i++) await once();
    t.diagnostic(unhurt(await clients.stop(), server));
    assert.match(server.log, /Request timed out: GET \/loop HTTP\/1\.1 \(id [\d.]+, after [\d.]+ s\); thread \d/);
    // The stack names the function, the file and the line of the loop.
    const line =
      readFileSync(new URL('./apps/contain.js', import.meta.url), 'utf8')
        .split('\n')
        .findIndex((text) => /while \(true\)/.test(text)) + 1;
    assert.match(server.log, new RegExp(`endlessLoop \\(.*contain\\.js:${line}:\\d+\\)`));
    const idle = await settled(() => fdCount(worker));
    // The light clients' 32 connections have gone meanwhile.
    assert.ok(idle <= before.fds, `${before.fds} fds before, ${idle} after`);
    assert.ok((await settled(() => threadCpu(worker).size)) <= before.threads + 1);
    const grown = (rss(worker) - memory) / (1 << 20);
    t.diagnostic(`memory grew by ${grown.toFixed(1)} MiB`);
    assert.ok(grown < 100, `memory grew by ${grown} MiB`);
    await stops(server);
  });
}

test('late loops: in a callback, and after the response has begun', async () => {
  const server = await start('--threads', '2', '--timeout', '1');
  const [late, begun] = await Promise.all([ask(server.port, '/late-loop'), ask(server.port, '/begun-loop')]);
  assert.equal(late.status, 504);
  // Nothing can be answered any more where bytes have gone out.
  assert.equal(begun.status, 200);
  assert.ok(begun.error !== undefined, 'cut');
  assert.equal((await ask(server.port, '/sync/x')).status, 200);
  await stops(server);
});

test('those that await on the thread of a stuck one get 503 with Retry-After', async () => {
  const server = await start('--threads', '1', '--timeout', '1');
  const waiting = ask(server.port, '/after/5000');
  await sleep(300);
  const stuck = await ask(server.port, '/loop');
  assert.equal(stuck.status, 504);
  const { status, headers } = await waiting;
  // Its own deadline comes first or the thread's end: both are an answer.
  assert.ok(status === 503 ? headers['retry-after'] === '1' : status === 504, String(status));
  assert.equal((await ask(server.port, '/sync/x')).status, 200);
  await stops(server);
});

test('a thread that turns its loop answers 504 itself and goes on; the handler is told', async () => {
  const server = await start('--threads', '1', '--timeout', '0.5');
  const { status, ms } = await ask(server.port, '/never');
  assert.equal(status, 504);
  assert.ok(ms >= 450 && ms < 2500, String(ms));
  await until(() => server.noted().length >= 2, { what: 'close and abort' });
  assert.deepEqual(server.noted().sort(), ['aborted: TimeoutError', 'close']);
  assert.match(server.log, /Request timed out after 0\.\d s: GET \/never/);
  assert.doesNotMatch(server.log, /is ended/);
  await stops(server);
});

test('a handler may give its request another deadline', async () => {
  const server = await start('--threads', '2', '--timeout', '0.5');
  const longer = await ask(server.port, '/long/5000', { headers: { 'x-ms': '1200' } });
  assert.equal(longer.body, 'done');
  const spun = await ask(server.port, '/long-spin/5000', { headers: { 'x-ms': '1500' } });
  assert.equal(spun.status, 504, 'a stretch longer than --timeout is ended whatever the request may take');
  const shorter = await ask(server.port, '/long/100', { headers: { 'x-ms': '4000' } });
  assert.equal(shorter.status, 504);
  assert.ok(shorter.ms < 2000, String(shorter.ms));
  const header = { 'x-envoy-expected-rq-timeout-ms': '100' };
  const clients = await ask(server.port, '/after/4000', { headers: header });
  assert.equal(clients.status, 504);
  assert.ok(clients.ms < 480, `the client's own deadline: ${clients.ms} ms`);
  await stops(server);
});

test(`a handler that outgrows --thread-memory gets 503, ${TIMES} times in a row, and only it`, async (t) => {
  const server = await start('--threads', '3', '--thread-memory', '64');
  const clients = light(server);
  for (let i = 0; i < TIMES; i++) {
    const { status, headers, error } = await ask(server.port, '/grow');
    assert.deepEqual({ status, error }, { status: 503, error: undefined });
    assert.equal(headers['retry-after'], '1');
  }
  t.diagnostic(unhurt(await clients.stop(), server));
  assert.equal(server.spawned.length, 1, 'the process stays');
  assert.match(server.log, /Out of memory \(--thread-memory 64 MiB\): GET \/grow HTTP\/1\.1/);
  await stops(server);
});

test('process.exit, a throw in a timer and an unhandled rejection hurt their own request only', async (t) => {
  const server = await start('--threads', '3', '--status-bind', '127.0.0.1:0');
  const status = Number(/Status at: http:\/\/127\.0\.0\.1:(\d+)/.exec(server.log)![1]);
  const full = async () => {
    const { threads } = JSON.parse((await ask(status, '/')).body) as { threads: Array<{ state: string }> };
    return threads.filter(({ state }) => state !== 'absent').length >= 3;
  };
  const clients = light(server);
  for (let i = 0; i < 5; i++) {
    // Faster than threads can start there is nobody left to serve.
    await until(full, { what: 'a full pool' });
    assert.equal((await ask(server.port, '/exit')).status, 500);
    assert.equal((await ask(server.port, '/timer-throw')).status, 500);
    assert.equal((await ask(server.port, '/reject')).status, 500);
  }
  t.diagnostic(unhurt(await clients.stop(), server));
  assert.equal(server.spawned.length, 1);
  await stops(server);
});

test('over --max-queue: 503 at once; who left while waiting is never handled', async (t) => {
  const server = await start('--threads', '2', '--reserve-threads', '0', '--timeout', '0', '--max-queue', '4');
  const busy = [0, 1].map(() => ask(server.port, '/heavy/3000'));
  await sleep(300);
  const agent = new Agent();
  const waiting = [1, 2].map(() => ask(server.port, '/note', { agent }));
  const left = [1, 2].map(() => {
    const socket = connect(server.port, '127.0.0.1');
    socket.write('GET /note HTTP/1.1\r\nHost: x\r\n\r\n');
    return socket;
  });
  await sleep(300);
  const refused = await Promise.all([1, 2, 3].map(() => ask(server.port, '/note')));
  for (const { status, headers, ms } of refused) {
    assert.equal(status, 503);
    assert.equal(headers['retry-after'], '1');
    assert.ok(ms < (FULL ? 100 : 1000), `refused after ${ms} ms`);
  }
  t.diagnostic(`refused after ${refused.map(({ ms }) => ms.toFixed(1)).join(', ')} ms`);
  for (const socket of left) socket.destroy();
  assert.deepEqual(
    (await Promise.all(busy)).map(({ status }) => status),
    [200, 200],
  );
  assert.deepEqual(
    (await Promise.all(waiting)).map(({ body }) => body),
    ['noted', 'noted'],
  );
  await ask(server.port, '/sync/x');
  assert.deepEqual(server.noted(), ['handled', 'handled']);
  agent.destroy();
  await stops(server);
});

test('--queue-timeout and the deadline of the client end the wait', async () => {
  const server = await start('--threads', '2', '--reserve-threads', '0', '--timeout', '0', '--queue-timeout', '0.5');
  const busy = [0, 1].map(() => ask(server.port, '/heavy/2500'));
  await sleep(300);
  const header = { 'x-envoy-expected-rq-timeout-ms': '100' };
  const [waited, short] = await Promise.all([
    ask(server.port, '/note'),
    ask(server.port, '/note', { headers: header }),
  ]);
  assert.equal(waited.status, 503);
  assert.ok(waited.ms > 450 && waited.ms < 1800, String(waited.ms));
  assert.equal(short.status, 503);
  assert.ok(short.ms > 80 && short.ms < 450, String(short.ms));
  await Promise.all(busy);
  assert.deepEqual(server.noted(), []);
  await stops(server);
});

test('heavy requests leave a thread to light ones, and none of them is lost', async (t) => {
  const server = await start('--threads', '3');
  for (let i = 0; i < 3; i++) await ask(server.port, '/heavy/60');
  const clients = light(server);
  const heavies = await Promise.all(Array.from({ length: 24 }, () => ask(server.port, '/heavy/60')));
  assert.ok(heavies.every(({ body }) => body === 'heavy'));
  t.diagnostic(unhurt(await clients.stop(), server));
  await stops(server);
});

test('a client that leaves cancels the work; one that only ended its side is served', async () => {
  const server = await start('--threads', '2');
  const leaver = connect(server.port, '127.0.0.1');
  leaver.write('GET /never HTTP/1.1\r\nHost: x\r\n\r\n');
  await sleep(100);
  leaver.destroy();
  await until(() => server.noted().length >= 2, { what: 'close and abort' });
  assert.deepEqual(server.noted().sort(), ['aborted: AbortError', 'close']);
  for (const version of ['1.1', '1.0']) {
    const half = connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true });
    half.end(`GET /after/900 HTTP/${version}\r\nHost: x\r\n\r\n`);
    let text = '';
    for await (const piece of half.setEncoding('latin1')) text += piece;
    assert.match(text, /HTTP\/1\.1 200 OK[\s\S]*after a while/);
  }
  await stops(server);
});

test('--kill-on-disconnect ends a thread that is stuck for nobody', async () => {
  const server = await start('--threads', '2', '--timeout', '0', '--kill-on-disconnect', '0.3');
  const leaver = connect(server.port, '127.0.0.1');
  leaver.write('GET /loop HTTP/1.1\r\nHost: x\r\n\r\n');
  await sleep(200);
  leaver.destroy();
  await server.waitFor(/Client left: GET \/loop HTTP\/1\.1/);
  // One that has only ended its side is waited for.
  const half = connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true });
  half.end('GET /heavy/1500 HTTP/1.1\r\nHost: x\r\n\r\n');
  let text = '';
  for await (const piece of half.setEncoding('latin1')) text += piece;
  assert.match(text, /HTTP\/1\.1 200 OK[\s\S]*heavy/);
  await stops(server);
});

test('a route that has ended too many threads is fenced for a while', async () => {
  const server = await start('--threads', '2', '--timeout', '0.3', '--fence-kills', '2', '--fence-time', '1');
  assert.equal((await ask(server.port, '/loop')).status, 504);
  assert.equal((await ask(server.port, '/loop')).status, 504);
  const fenced = await ask(server.port, '/loop?again');
  assert.equal(fenced.status, 503);
  assert.ok(fenced.ms < 500, `a fenced route is answered at once: ${fenced.ms} ms`);
  assert.equal((await ask(server.port, '/sync/x')).status, 200);
  assert.match(server.log, /Route GET \/loop has ended 2 threads within 30 s: answered 503 for 1 s/);
  await until(async () => (await ask(server.port, '/loop')).status === 504, {
    what: 'the end of the fence',
    timeoutMs: 5000,
  });
  await stops(server);
});
