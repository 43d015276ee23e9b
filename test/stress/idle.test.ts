/**
 * Many connections that do nothing: what each costs, that they are closed in time, and that a client which stops in the
 * middle of a request head costs the others nothing.
 */
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LoadClient, percentile } from '../support/load-client.js';
import { settled, until } from '../support/poll.js';
import { assertIdle, fdCount, rss } from '../support/proc.js';
import { seedOf } from '../support/random.js';
import { FULL, nothingWrong, StressServer } from '../support/stress-server.js';

const IDLE = Number(process.env.IDLE ?? 5000);
const HALF = 500;
const KEEP_ALIVE_S = 16;
/** What a connection may cost in bytes, and what the three heaps may hold besides that they have not collected yet: V8 does so when it likes. */
const EACH = 2048;
const UNCOLLECTED = FULL ? 0 : 12 << 20;
const HEADER_TIMEOUT_S = 3;
/** The deadlines' resolution, and what a loaded machine adds. */
const LATE_MS = 1500;

const servers: StressServer[] = [];
after(async () => {
  for (const server of servers) await server.cleanup();
});

interface Idle {
  socket: Socket;
  /** When its response was complete, and when the server closed it; 0: not yet. */
  answeredAt: number;
  closedAt: number;
  text: string;
}

/** Connects and sends; ports do not run short, as the source addresses take turns. */
function open(port: number, index: number, text: string): Idle {
  const idle: Idle = {
    socket: connect({ host: '127.0.0.1', port, localAddress: `127.0.0.${2 + (index % 4)}` }),
    answeredAt: 0,
    closedAt: 0,
    text: '',
  };
  idle.socket.on('connect', () => idle.socket.write(text));
  idle.socket.on('data', (data) => {
    idle.text += data.toString('latin1');
    if (idle.text.endsWith('\r\n\r\nidle')) idle.answeredAt = performance.now();
  });
  idle.socket.on('error', () => {});
  idle.socket.on('end', () => (idle.closedAt = performance.now()));
  return idle;
}

async function warmUp(server: StressServer, requests: number): Promise<void> {
  const result = await new LoadClient({
    target: server.target,
    seed: seedOf(),
    total: requests,
    modes: ['sync', 'echo', 'timer'],
    closeChance: 0.3,
    maxBody: 2000,
  }).run();
  nothingWrong(result, server);
}

/** Resident memory when nothing has changed for a while: heaps shrink late. */
async function settledRss(pid: number): Promise<number> {
  let last = -1;
  return await until(
    () => {
      const now = rss(pid);
      const same = Math.abs(now - last) < 64 * 1024;
      last = now;
      return same ? now : 0;
    },
    { everyMs: 700, timeoutMs: 15_000, what: 'steady memory' },
  );
}

test(`${IDLE} idle connections`, async (t) => {
  const server = await StressServer.start('echo.js', [
    ...['--threads', '2', '--keep-alive', `${KEEP_ALIVE_S}`, '--worker-connections', '8000'],
  ]);
  servers.push(server);
  await warmUp(server, 20_000);
  const [worker] = server.workers;
  const fds = await settled(() => fdCount(worker));
  const before = await settledRss(worker);
  const conns: Idle[] = [];
  const request = 'GET /sync/1 HTTP/1.1\r\nHost: x\r\nX-Id: idle\r\n\r\n';
  for (let i = 0; i < IDLE; i++) {
    conns.push(open(server.port, i, request));
    // Some at a time: the listener's queue is bounded.
    if (i % 100 === 99) await until(() => conns[i - 50].answeredAt > 0, { everyMs: 1 });
  }
  await until(() => conns.every((c) => c.answeredAt > 0), { what: 'all responses' });
  assert.equal(fdCount(worker), fds + IDLE);
  // Threads forget a connection's objects about a second after its request.
  await sleep(2500);
  const idle = await assertIdle(worker);
  let grown = Infinity;
  const level = () => (grown = Math.min(grown, rss(worker) - before)) <= IDLE * EACH;
  await until(level, { everyMs: 500, timeoutMs: 7000, what: 'less memory' }).catch(() => {});
  const each = grown / IDLE;
  t.diagnostic(`${each.toFixed(0)} bytes each (${(before / 1e6).toFixed(1)} MB before), ${idle}`);
  await until(() => conns.every((c) => c.closedAt > 0), { timeoutMs: (KEEP_ALIVE_S + 5) * 1000, what: 'all closed' });
  const waits = conns.map((c) => c.closedAt - c.answeredAt);
  t.diagnostic(
    `closed after ${(percentile(waits, 0) / 1000).toFixed(2)} to ${(percentile(waits, 100) / 1000).toFixed(2)} s`,
  );
  for (const { socket } of conns) socket.destroy();
  assert.ok(grown <= IDLE * EACH + UNCOLLECTED, `${each} bytes each`);
  assert.ok(percentile(waits, 0) >= KEEP_ALIVE_S * 1000 - 300, `closed after ${percentile(waits, 0)} ms`);
  assert.ok(percentile(waits, 100) <= KEEP_ALIVE_S * 1000 + LATE_MS, `closed after ${percentile(waits, 100)} ms`);
  await until(() => fdCount(worker) === fds, { what: 'the fd count' });
});

test(`${HALF} connections that stop in the middle of a head`, async (t) => {
  const server = await StressServer.start('echo.js', ['--threads', '2', '--header-timeout', `${HEADER_TIMEOUT_S}`]);
  servers.push(server);
  await warmUp(server, 5000);
  const light = async () => {
    const client = new LoadClient({
      target: server.target,
      seed: seedOf(),
      modes: ['sync'],
      total: 1500,
      connections: 4,
      depth: 1,
      maxBody: 100,
      pauseChance: 0.5,
      pauseMs: 2,
    });
    const result = await client.run();
    nothingWrong(result, server);
    return percentile(result.latencies, 99);
  };
  const alone = await light();
  const conns = Array.from({ length: HALF }, (_, i) => open(server.port, i, 'GET /sync/1 HTTP/1.1\r\nHost: x\r\nX-I'));
  const from = performance.now();
  const beside = await light();
  await until(() => conns.every((c) => c.closedAt > 0), { timeoutMs: 10_000, what: 'all closed' });
  const waits = conns.map((c) => c.closedAt - from);
  t.diagnostic(
    `p99 ${alone.toFixed(2)} ms alone, ${beside.toFixed(2)} ms beside them; ` +
      `closed after ${(percentile(waits, 0) / 1000).toFixed(2)} to ${(percentile(waits, 100) / 1000).toFixed(2)} s`,
  );
  assert.ok(beside < 5 * alone + 20, `p99 ${alone} ms alone, ${beside} ms beside them`);
  assert.ok(percentile(waits, 0) >= HEADER_TIMEOUT_S * 1000 - 300, `closed after ${percentile(waits, 0)} ms`);
  assert.ok(percentile(waits, 100) <= HEADER_TIMEOUT_S * 1000 + LATE_MS, `closed after ${percentile(waits, 100)} ms`);
  for (const { text } of conns) assert.match(text, /^HTTP\/1\.1 408 /);
});
