/**
 * Slow clients: heads and bodies that come byte by byte, responses that nobody takes. Beside them a normal client is served as
 * ever, and when their deadlines are over they are gone: with 408 where an answer can be read, and with all they cost.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LoadClient, percentile } from '../support/load-client.js';
import { settled, until } from '../support/poll.js';
import { fdCount, rss } from '../support/proc.js';
import { seedOf } from '../support/random.js';
import { SlowClients } from '../support/slow-clients.js';
import { complaints, FULL, nothingWrong, serverStarter } from '../support/stress-server.js';

const CONNECTIONS = FULL ? 1000 : 200;
/** The deadlines of the servers here, s. The normal client is measured within them. */
const DEADLINE = FULL ? 20 : 5;
/** The acceptance, and what a shared machine is allowed in the short form, ms. */
const P99_MS = FULL ? 20 : 1000;
const TOTAL = FULL ? 4000 : 400;
/** RSS that an attack may leave behind, MiB: the allocator keeps some. V8 collects a quiet thread's garbage only after some seconds. */
const KEPT_MB = 32;
const COLLECTED_MS = 60_000;

const start = serverStarter();
const HEAD = 'Host: x\r\n';

const ATTACKS = [
  {
    name: 'heads',
    begin: `GET /sync HTTP/1.1\r\n${HEAD}X-A: `,
    drip: 'a',
    reads: true,
    answer: 'HTTP/1.1 408 Request Timeout',
  },
  {
    name: 'bodies',
    begin: `POST /echo HTTP/1.1\r\n${HEAD}Content-Length: 100000\r\n\r\n`,
    drip: 'b',
    reads: true,
    answer: 'HTTP/1.1 408 Request Timeout',
  },
  {
    name: 'chunks',
    begin: `POST /echo HTTP/1.1\r\n${HEAD}Transfer-Encoding: chunked\r\n\r\n`,
    drip: '1\r\nb\r\n',
    reads: true,
    answer: 'HTTP/1.1 408 Request Timeout',
  },
  { name: 'readers', begin: `GET /big HTTP/1.1\r\n${HEAD}\r\n`, drip: '', reads: false, answer: '' },
  {
    name: 'readers of a stream',
    app: 'slow-clients-fetch.js',
    begin: `GET /big HTTP/1.1\r\n${HEAD}\r\n`,
    drip: '',
    reads: false,
    answer: '',
    // Its pieces are buffers of 64 KiB, of which malloc keeps many: five rounds of 500 readers level off at the second.
    kept: 400,
  },
];

for (const { name, app = 'slow-clients.js', begin, drip, reads, answer, kept = KEPT_MB } of ATTACKS) {
  test(`${CONNECTIONS} slow ${name} beside a normal client`, async (t) => {
    const seconds = `${DEADLINE}`;
    const server = await start(app, [
      ...['--threads', '2', '--keep-alive', '60', '--timeout', '120'],
      ...['--header-timeout', seconds, '--body-timeout', seconds, '--send-timeout', seconds],
    ]);
    const [worker] = server.workers;
    const normal = async (total: number) => {
      const { result } = await load(server.port, total);
      nothingWrong(result, server);
      return result.latencies;
    };
    await normal(300);
    const fds = await settled(() => fdCount(worker));
    const before = rss(worker);
    const slow = await SlowClients.start({
      ...{ port: server.port, connections: CONNECTIONS, everyMs: 300, begin, drip, reads },
    });
    try {
      await until(() => fdCount(worker) >= fds + CONNECTIONS, { what: 'the slow clients to be accepted' });
      const latencies = await normal(TOTAL);
      const during = slow.ended;
      const most = rss(worker);
      await until(() => fdCount(worker) <= fds, {
        timeoutMs: (DEADLINE + 30) * 1000,
        what: 'the slow clients to be gone',
      });
      if (!reads) slow.readAll();
      await until(() => slow.ended === CONNECTIONS, { what: 'their ends' });
      const atEnd = rss(worker);
      const left = () => (rss(worker) - before) / 2 ** 20;
      await until(() => left() < kept, {
        timeoutMs: COLLECTED_MS,
        what: `the memory to be given back, ${kept} MiB more than before at most`,
      });
      const mib = (bytes: number) => ((bytes - before) / 2 ** 20).toFixed(0);
      t.diagnostic(
        `p50 ${percentile(latencies, 50).toFixed(1)}, p99 ${percentile(latencies, 99).toFixed(1)} ms; ` +
          `memory +${mib(most)} MiB, at the end +${mib(atEnd)}, then +${left().toFixed(0)}; ${during} had ended meanwhile`,
      );
      assert.ok(during < CONNECTIONS / 2, `${during} of them had ended before the measurement`);
      assert.ok(percentile(latencies, 99) < P99_MS, `p99 ${percentile(latencies, 99)} ms`);
      if (reads) assert.deepEqual([...slow.answers], [[answer, CONNECTIONS]]);
      await normal(100);
      assert.deepEqual(complaints(server.log), []);
      assert.deepEqual(server.workers, [worker]);
    } finally {
      slow.stop();
    }
  });
}

/** One request at a time on each of 4 connections, with small pauses: latency, not throughput. Some connections are new ones. */
async function load(port: number, total: number): Promise<LoadClient> {
  const client = new LoadClient({
    ...{ target: { port }, seed: seedOf(), modes: ['sync'], connections: 4, depth: 1, maxBody: 200, total },
    ...{ pauseChance: 1, pauseMs: 10, closeChance: 0.3 },
  });
  await client.run();
  return client;
}
