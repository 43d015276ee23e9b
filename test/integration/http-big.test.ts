/**
 * Big bodies arrive whole, in bounded memory, and not slower than through node:http. 64 MiB; BIG=full for 1 GiB and the
 * acceptance lines: 0.9 of node:http's rate (median of five rounds) and 64 MiB of memory.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { HttpServer } from '../support/http-server.js';
import { peakRss, resetPeakRss, rss } from '../support/proc.js';
import { contentHash, download, upload } from '../support/transfer.js';
import { median, TRANSFERS, TransferServers } from '../support/transfer-servers.js';

const FULL = process.env.BIG === 'full';
const SIZE = (FULL ? 1024 : 64) * 2 ** 20;
const ROUNDS = FULL ? 5 : 1;
/** Rate over node:http's. The short form is too short to measure. */
const LEAST_RATIO = FULL ? 0.9 : 0.3;
const MOST_GROWTH = 64;

describe('http, big bodies', () => {
  let servers: TransferServers;
  before(async () => {
    servers = await TransferServers.start(SIZE, ['--threads', '2']);
  });
  after(() => servers?.stop());

  for (const kind of TRANSFERS) {
    it(`${kind}, beside node:http`, async (t) => {
      await servers.warmUp(kind);
      const ratios: number[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const node = await servers.measure('node', kind);
        const ours = await servers.measure('tunicorn', kind);
        ratios.push(ours.rate / node.rate);
        t.diagnostic(
          `${ours.rate.toFixed(0)} MiB/s, node:http ${node.rate.toFixed(0)}; ` +
            `grew ${ours.growth.toFixed(0)} MiB, node:http ${node.growth.toFixed(0)}`,
        );
        assert.ok(ours.growth <= MOST_GROWTH, `grew by ${ours.growth} MiB`);
      }
      assert.ok(median(ratios) >= LEAST_RATIO, `${median(ratios)} of node:http's rate`);
    });
  }
});

describe('fetch, big bodies', () => {
  let server: HttpServer;
  before(async () => {
    server = await HttpServer.start('http-big-fetch.mjs', ['--threads', '2', '--keep-alive', '60']);
  });
  after(() => server?.stop());

  /** Memory at the peak of what fn does above that before, MiB. The first time does not count, see TransferServers.warmUp(). */
  async function growth(fn: (size: number) => Promise<unknown>): Promise<number> {
    for (let i = 0; i < 2; i++) await fn(16 * 2 ** 20);
    const from = rss(server.worker);
    resetPeakRss(server.worker);
    await fn(SIZE);
    return (peakRss(server.worker) - from) / 2 ** 20;
  }

  for (const path of ['/stream', '/bytes']) {
    it(`a Response with a stream: ${path}`, async (t) => {
      const grown = await growth(async (size) => {
        const got = await download(server.port, `${path}?size=${size}`);
        assert.equal(got.bytes, size);
        t.diagnostic(`${(size / 2 ** 20 / (got.ms / 1000)).toFixed(0)} MiB/s`);
      });
      t.diagnostic(`grew ${grown.toFixed(0)} MiB`);
      assert.ok(grown <= MOST_GROWTH, `grew by ${grown} MiB`);
    });
  }

  it('a connection serves on after a long upload in many pieces, again and again', async () => {
    const client = await server.connect();
    for (let round = 0; round < 3; round++) {
      client.write('POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n');
      for (let i = 0; i < 40; i++) await client.send(Buffer.alloc(10_000, i));
      assert.equal(JSON.parse((await client.response()).body).size, 400_000);
      client.write('GET /hello HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.equal((await client.response()).body, 'hello');
    }
    client.destroy();
  });

  it('request.body as a stream', async (t) => {
    const grown = await growth(async (size) => {
      const got = await upload(server.port, '/upload', size, false);
      assert.deepEqual(JSON.parse(got.text), { size, sha1: contentHash(size) });
      t.diagnostic(`${(size / 2 ** 20 / (got.ms / 1000)).toFixed(0)} MiB/s`);
    });
    t.diagnostic(`grew ${grown.toFixed(0)} MiB`);
    assert.ok(grown <= MOST_GROWTH, `grew by ${grown} MiB`);
  });
});
