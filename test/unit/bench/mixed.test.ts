/** The bench's mixed load: what its figures are made of, without measuring anything. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, test } from 'node:test';
import { Latencies, percentile } from '../../../bench/latencies.js';
import { summariseMixed } from '../../../bench/mixed.js';
import { Client, ResponseReader } from '../../../bench/mixed-client.js';
import { dueTimes, type Plan, runPlan } from '../../../bench/mixed-load.js';
import type { MixedRun } from '../../../bench/mixed-measure.js';
import { allServers } from '../../../bench/servers.js';
import { until } from '../../support/poll.js';

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

describe('latencies', () => {
  test('are kept whole and sorted as numbers', () => {
    const latencies = new Latencies(1);
    for (let i = 100; i > 0; i--) latencies.add(i);
    assert.deepEqual(
      [...latencies.sorted()],
      Array.from({ length: 100 }, (_, i) => i + 1),
    );
  });

  test('percentiles are by nearest rank', () => {
    const sorted = Float64Array.from({ length: 200 }, (_, i) => i + 1);
    assert.deepEqual(
      [0, 0.5, 0.99, 0.991, 1].map((share) => percentile(sorted, share)),
      [1, 100, 198, 199, 200],
    );
    assert.equal(percentile(new Float64Array(0), 0.5), Number.NaN);
  });

  test('failed requests rank as the slowest', () => {
    const sorted = Float64Array.from({ length: 98 }, (_, i) => i + 1);
    assert.equal(percentile(sorted, 0.98, 2), 98);
    assert.equal(percentile(sorted, 0.99, 2), Number.POSITIVE_INFINITY);
  });
});

describe('response reader', () => {
  test('takes a response in pieces of any size, from a buffer that is used again', () => {
    const bytes = Buffer.from(OK.replace('200 OK\r\n', '503 Busy\r\nConnection: close\r\n'));
    for (const size of [1, 7, bytes.length]) {
      const reader = new ResponseReader();
      const buffer = Buffer.alloc(size);
      for (let at = 0; at < bytes.length; at += size) {
        const length = bytes.copy(buffer, 0, at, at + size);
        const response = reader.push(buffer.subarray(0, length));
        const last = at + size >= bytes.length;
        assert.equal(response !== undefined, last, `at ${at} in pieces of ${size}`);
        assert.equal(reader.inside, !last);
        if (response) assert.deepEqual([response.status, response.body.toString(), response.close], [503, 'ok', true]);
      }
    }
  });

  test('refuses what it cannot tell the end of', () => {
    const push = (text: string) => () => new ResponseReader().push(Buffer.from(text));
    assert.throws(
      push('HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n'),
      /status 500 without a content-length/,
    );
    assert.throws(push(`${OK}!`), /bytes after the response/);
    assert.throws(push('SSH-2.0\r\n\r\n'), /no HTTP response/);
  });
});

describe('due times', () => {
  test('of bursts: all of one together, bursts evenly apart', () => {
    assert.deepEqual(
      [...dueTimes({ perSecond: 16, together: 4 }, 0.75)],
      [0, 0, 0, 0, 250, 250, 250, 250, 500, 500, 500, 500],
    );
  });

  test('with jitter: each in its own slot, the same in every run', () => {
    const arrivals = { perSecond: 320, jitter: true };
    const times = dueTimes(arrivals, 2);
    assert.equal(times.length, 640);
    assert.ok(times.every((due, i) => Math.floor(due / 3.125) === i));
    assert.ok(
      new Set([...times].map((due) => Math.floor((due % 3.125) * 4))).size > 8,
      'they are spread over the slot',
    );
    assert.deepEqual(times, dueTimes(arrivals, 2));
  });
});

describe('client', () => {
  let server: Server | undefined;
  const sockets = new Set<Socket>();

  afterEach(() => {
    server?.close();
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  });

  /** A server that answers the n-th request, of all connections together, with answer(n). Resolves to its port. */
  async function listen(answer: (n: number, socket: Socket) => string): Promise<number> {
    let n = 0;
    server = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('data', () => socket.write(answer(n++, socket)));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  test('names what goes wrong, connects anew where it has to, and goes on', async () => {
    const answers = [
      OK,
      OK.replace('200 OK', '503 Busy'),
      OK.replace('ok', 'no'),
      'HTTP/1.1 200 OK\r\nConte',
      '',
      `${OK.replace('\r\n', '\r\nConnection: close\r\n')}`,
      OK,
    ];
    const port = await listen((n, socket) => {
      if (n === 3 || n === 4) setImmediate(() => socket.destroySoon());
      return answers[n];
    });
    const told: string[] = [];
    const client = new Client(port, '/', 'ok', {
      answered: () => told.push('answered'),
      failed: (_due, reason) => told.push(reason),
    });
    await client.open();
    for (let i = 0; i < answers.length; i++) client.offer(performance.now());
    await until(() => client.idle && told.length === answers.length);
    client.end();
    const expected = [
      'answered',
      'status 503',
      'wrong body',
      'response cut',
      'connection closed',
      'answered',
      'answered',
    ];
    assert.deepEqual(told, expected);
    assert.equal(sockets.size, 4);
  });

  test('counts from when a request was due, and gives up what is not answered', async () => {
    const port = await listen((n) => (n === 0 ? OK : ''));
    const took: number[] = [];
    const failed: string[] = [];
    const client = new Client(port, '/', 'ok', {
      answered: (due, now) => took.push(now - due),
      failed: (_due, reason) => failed.push(reason),
    });
    await client.open();
    client.offer(performance.now() - 5000);
    client.offer(performance.now());
    client.offer(performance.now());
    await until(() => took.length === 1);
    assert.ok(took[0] >= 5000);
    client.end();
    assert.deepEqual(failed, ['no answer', 'no answer']);
  });

  test('a plan of an open and a closed stream: all that was due is accounted for', async () => {
    const port = await listen(() => OK);
    const plan: Plan = {
      port,
      warmup: 0.2,
      seconds: 0.5,
      streams: {
        light: { path: '/', expected: 'ok', connections: 4, arrivals: { perSecond: 100, jitter: true } },
        heavy: { path: '/', expected: 'ok', connections: 2, arrivals: 'closed' },
      },
    };
    let edges = 0;
    const { streams } = await runPlan(plan, () => edges++);
    assert.equal(edges, 2);
    assert.equal(streams.light.requests, 50);
    assert.deepEqual([streams.light.errors, streams.heavy.errors], [{}, {}]);
    assert.ok(streams.heavy.rate > 0 && streams.heavy.requests > 0);
    assert.ok(streams.light.p50Ms <= streams.light.p99Ms && streams.light.p99Ms <= streams.light.maxMs);
  });
});

test('the summary compares within a round, and counts errors over all', () => {
  const run = (server: string, round: number, lightP99Ms: number, heavyRate: number): MixedRun => ({
    server,
    part: 'mixed',
    round,
    figures: { lightP99Ms, heavyRate } as MixedRun['figures'],
    errors: { 'heavy: status 503': round },
    notes: [],
  });
  const runs = [run('tunicorn', 1, 10, 16), run('tunicorn', 2, 30, 8), run('tunicorn', 3, 20, 4)];
  runs.push(run('cluster', 1, 100, 16), run('cluster', 2, 100, 16), { ...run('cluster', 3, 0, 0), figures: undefined });
  const servers = allServers('gthread').filter(({ name }) => name === 'tunicorn' || name === 'cluster');
  const ours = summariseMixed(runs, servers, 'mixed').find(({ server }) => server === 'tunicorn')!;
  assert.equal(ours.median?.lightP99Ms, 20);
  assert.deepEqual(ours.against, { cluster: { lightP99: 0.2, heavyRate: 0.75 } });
  assert.deepEqual(ours.errors, { 'heavy: status 503': 6 });
});
