/**
 * The PROXY protocol over real sockets: who the client is then, on every request of the connection and whichever thread serves
 * it; headers split anywhere, refused ones, and those of connections that wait for a thread or lose theirs.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { HttpServer } from '../support/http-server.js';
import { until } from '../support/poll.js';
import { binaryFor, binaryHeader, textHeader, tlv } from '../support/proxy-header.js';
import { RawClient } from '../support/raw-client.js';

/** How many servers have had a socket and a log. */
let servers = 0;
const dir = mkdtempSync(join(tmpdir(), 'tunicorn-proxy-'));
after(() => rmSync(dir, { recursive: true }));

const FOUR = { address: '192.0.2.7', port: 40_000, proxyAddress: '198.51.100.1', proxyPort: 443 };
const SIX = { address: '2001:db8:0:0:0:0:0:7', port: 1, proxyAddress: '2001:db8:0:0:0:0:0:1', proxyPort: 65_535 };
const V1 = textHeader(FOUR);
const V2 = binaryFor(SIX, tlv(0x02, 'shop.example') + tlv(0x20, '\0'.repeat(40)));
const LOCAL = binaryHeader(0x20, 0, '');
const UNKNOWN = 'PROXY UNKNOWN\r\n';
const get = (path: string, fields = '') => `GET ${path} HTTP/1.1\r\nHost: x\r\n${fields}\r\n`;

async function seen(client: RawClient) {
  const { status, body } = await client.response();
  assert.equal(status, 200, body);
  return JSON.parse(body);
}

async function once(client: RawClient, text: string) {
  client.write(text);
  const found = await seen(client);
  client.destroy();
  return found;
}

for (const kind of [
  { name: 'gthread', app: 'trust-node.mjs', args: ['--threads', '2'] },
  { name: 'gthread, fetch', app: 'trust-fetch.mjs', args: ['--threads', '2'] },
  { name: 'sync', app: 'trust-node.mjs', args: ['-k', 'sync'] },
]) {
  const sync = kind.name === 'sync';
  const node = kind.app === 'trust-node.mjs';

  describe(`PROXY protocol, ${kind.name}`, { concurrency: 2 }, () => {
    const log = join(dir, `${++servers}.log`);
    const path = join(dir, `${servers}.sock`);
    let server: HttpServer;
    before(async () => {
      const args = [
        '-b',
        `unix:${path}`,
        '--proxy-protocol',
        '--access-logfile',
        log,
        '--access-logformat',
        '%(h)s %(U)s %(s)s',
      ];
      server = await HttpServer.start(kind.app, [...args, ...kind.args]);
    });
    after(async () => {
      assert.doesNotMatch(server.log, /\[(?:ERROR|CRITICAL)\]/);
      await server.stop();
    });

    const connect = () => server.connect();

    it('version 1 and 2 name the client', async () => {
      const four = await once(await connect(), V1 + get('/four'));
      assert.deepEqual(
        { ...four.info, peerPort: 0 },
        {
          ...{ address: '192.0.2.7', port: 40_000, scheme: 'http', localAddress: '127.0.0.1', localPort: server.port },
          ...{ peerAddress: '127.0.0.1', peerPort: 0, proxied: { address: '198.51.100.1', port: 443 }, trusted: true },
        },
      );
      const six = await once(await connect(), V2 + get('/six'));
      assert.deepEqual([six.info.address, six.info.port], ['2001:db8::7', 1]);
      assert.deepEqual(six.info.proxied, { address: '2001:db8::1', port: 65_535 });
      if (node) {
        assert.deepEqual([four.remoteAddress, four.remotePort, four.remoteFamily], ['192.0.2.7', 40_000, 'IPv4']);
        assert.deepEqual([six.remoteAddress, six.remotePort, six.remoteFamily], ['2001:db8::7', 1, 'IPv6']);
      }
      // Threads write theirs when they like.
      const line = (text: string) => until(() => readFileSync(log, 'utf8').split('\n').includes(text), { what: text });
      await Promise.all(['192.0.2.7 /four 200', '2001:db8::7 /six 200'].map(line));
    });

    it('without a header, with LOCAL and with UNKNOWN it is the peer', async () => {
      for (const header of ['', LOCAL, UNKNOWN, '']) {
        const client = await connect();
        const { port } = client;
        const { info } = await once(client, header + get('/'));
        assert.deepEqual([info.address, info.port, info.proxied], ['127.0.0.1', port, null]);
      }
    });

    it('is read wherever it is split', async () => {
      const cases = [V1, V2].flatMap((header) => {
        const text = header + get('/');
        const cuts = Array.from({ length: header.length + 20 }, (_, i) => [i + 1]);
        return [...cuts, Array.from(text.slice(1), (_, i) => i + 1)].map((at) => ({ text, at }));
      });
      const work = async () => {
        for (let one = cases.pop(); one !== undefined; one = cases.pop()) {
          const client = await connect();
          let from = 0;
          for (const to of [...one.at, one.text.length]) {
            await client.send(one.text.slice(from, to));
            from = to;
          }
          const { info } = await seen(client);
          client.destroy();
          assert.equal(info.address, one.text.startsWith('PROXY') ? '192.0.2.7' : '2001:db8::7', `cut at ${one.at}`);
        }
      };
      await Promise.all(Array.from({ length: 8 }, work));
    });

    it('alone, and its request later; alone, and nothing more', async () => {
      const client = await connect();
      await client.send(V2);
      await once(await connect(), V1 + get('/'));
      assert.equal((await once(client, get('/'))).info.address, '2001:db8::7');
      const silent = await connect();
      await silent.send(LOCAL);
      silent.socket.end();
      assert.equal(await silent.end(), '');
      silent.destroy();
    });

    it("a health check's header and reset is no reason for a line in the log", async () => {
      for (let i = 0; i < 20; i++) {
        const client = await connect();
        client.write(LOCAL);
        client.socket.resetAndDestroy();
      }
      await once(await connect(), get('/'));
      assert.doesNotMatch(server.log, /from a client/);
    });

    it('with a body in the same packet, and with pipelined requests', async () => {
      const post = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello';
      const { body, info } = await once(await connect(), V1 + post);
      assert.deepEqual([body, info.address], ['hello', '192.0.2.7']);
      if (sync) return;
      const client = await connect();
      client.write(V2 + post + get('/2') + post);
      for (const expected of ['hello', '', 'hello']) {
        const next = await seen(client);
        assert.deepEqual([next.body, next.info.address], [expected, '2001:db8::7']);
      }
      client.destroy();
    });

    it('wrong ones get 400 and the end', async () => {
      for (const header of [
        'PROXY TCP4 1.2.3.4\r\n',
        `PROXY TCP4 ${'1'.repeat(200)}`,
        binaryHeader(0x31, 0x11, ''),
        binaryHeader(0x21, 0x11, '1234'),
        binaryHeader(0x21, 0x11, '', 60_000),
      ]) {
        const client = await connect();
        client.write(header + get('/'));
        assert.match(
          await client.end(),
          /^HTTP\/1\.1 400 [\s\S]*Connection: close\r\n\r\n400 Bad Request: Invalid PROXY header/,
        );
        client.destroy();
      }
      await until(() => /^127\.0\.0\.1 {2}400$/m.test(readFileSync(log, 'utf8')));
    });

    it('from an address that may not send one it gets 403; without one such an address is served', async () => {
      const stranger = () => RawClient.connect(server.port, { localAddress: '127.0.0.2' });
      for (const header of [V1, V2, LOCAL, 'PROXY TCP4 ']) {
        const client = await stranger();
        client.write(header);
        assert.match(await client.end(), /^HTTP\/1\.1 403 /);
        client.destroy();
      }
      const { info } = await once(await stranger(), get('/'));
      assert.deepEqual([info.address, info.trusted], ['127.0.0.2', false]);
    });

    it('over a unix socket', async () => {
      const { info } = await once(await RawClient.connect(0, { path }), V1 + get('/'));
      assert.deepEqual([info.address, info.port, info.peerAddress], ['192.0.2.7', 40_000, undefined]);
    });

    it('the proxy is trusted for its own address, not for that of its client', async () => {
      const { info } = await once(await connect(), V1 + get('/', 'X-Forwarded-Proto: https\r\n'));
      assert.deepEqual([info.trusted, info.scheme, info.address], [true, 'https', '192.0.2.7']);
      const told = textHeader({ ...FOUR, address: '127.0.0.1' });
      const client = await RawClient.connect(server.port, { localAddress: '127.0.0.2' });
      client.write(told + get('/', 'X-Forwarded-Proto: https\r\n'));
      assert.match(await client.end(), /^HTTP\/1\.1 403 /);
      client.destroy();
    });

    if (sync) return;

    it('only before the first request', async () => {
      for (const first of ['', V1, LOCAL]) {
        const client = await connect();
        client.write(first + get('/'));
        await seen(client);
        client.write(V1 + get('/'));
        assert.match(await client.end(), /^HTTP\/1\.1 501 /);
        client.destroy();
        const twice = await connect();
        twice.write(V1 + first + get('/'));
        if (first === '') assert.equal((await seen(twice)).info.address, '192.0.2.7');
        else assert.match(await twice.end(), /^HTTP\/1\.1 (?:400|501) /);
        twice.destroy();
      }
    });

    if (!node) return;

    it('goes with the connection from thread to thread', async () => {
      const clients = await Promise.all(
        [V1, V2, V1, V2].map(async (header) => {
          const client = await connect();
          client.write(header);
          return { client, address: header === V1 ? '192.0.2.7' : '2001:db8::7', threads: new Set<number>() };
        }),
      );
      // Two at a time spin, so both threads serve, and each connection meets both in the end.
      await until(async () => {
        await Promise.all(
          clients.map(async ({ client, address, threads }) => {
            client.write(get('/spin?ms=10'));
            const found = await seen(client);
            assert.deepEqual([found.info.address, found.remoteAddress], [address, address]);
            threads.add(found.threadId);
          }),
        );
        return clients.every(({ threads }) => threads.size === 2);
      });
      for (const { client } of clients) client.destroy();
    });

    it('an upgraded connection shows its client', async () => {
      const client = await connect();
      client.write(V1 + get('/', 'Connection: Upgrade\r\nUpgrade: x\r\n'));
      const found = JSON.parse((await client.end()).split('\r\n\r\n')[1]);
      client.destroy();
      assert.deepEqual([found.remoteAddress, found.remotePort, found.remoteFamily], ['192.0.2.7', 40_000, 'IPv4']);
      assert.equal(found.localAddress, '127.0.0.1');
    });
  });
}

describe('PROXY protocol, one version only', () => {
  it('the other one is no header', async () => {
    const server = await HttpServer.start('trust-fetch.mjs', ['--threads', '1', '--proxy-protocol', 'v2']);
    assert.equal((await once(await server.connect(), V2 + get('/'))).info.address, '2001:db8::7');
    assert.match(await server.talk(V1 + get('/')), /^HTTP\/1\.1 501 /);
    await server.stop();
  });
});

describe('PROXY protocol, while the only thread is busy', () => {
  const log = join(dir, 'busy.log');
  let server: HttpServer;
  before(async () => {
    const limits = ['--timeout', '2', '--timeout-grace', '0.1', '--queue-timeout', '0.5', '--health-path', '/healthy'];
    const args = [
      '--threads',
      '1',
      '--proxy-protocol',
      '--access-logfile',
      log,
      '--access-logformat',
      '%(h)s %(r)s %(s)s',
    ];
    server = await HttpServer.start('trust-node.mjs', [...args, ...limits]);
  });
  after(() => server?.stop());

  const line = (text: string) => until(() => readFileSync(log, 'utf8').split('\n').includes(text), { what: text });

  it('main looks behind the header: health, refusals, the end of a stuck thread', async () => {
    const stuck = await server.connect();
    stuck.write(V1 + get('/spin?ms=60000'));
    await until(async () => {
      // Answered by main alone, once the thread is seen to be stuck.
      const probe = await server.connect();
      probe.write(V2 + get('/healthy/live'));
      const { status } = await probe.response({ timeoutMs: 400 }).finally(() => probe.destroy());
      return status === 200;
    });
    const [waiting, forged] = await Promise.all([
      server.connect(),
      RawClient.connect(server.port, { localAddress: '127.0.0.2' }),
    ]);
    waiting.write(V2 + get('/waits'));
    forged.write(V1 + get('/forged'));
    assert.equal((await waiting.response()).status, 503);
    await line('2001:db8::7 GET /waits HTTP/1.1 503');
    assert.equal((await forged.response()).status, 503);
    await line('127.0.0.2 - 503');
    assert.equal((await stuck.response()).status, 504);
    await line('192.0.2.7 GET /spin?ms=60000 HTTP/1.1 504');
    for (const client of [waiting, forged, stuck]) client.destroy();
    // And the next thread knows nothing of them.
    await until(async () => {
      const client = await server.connect();
      const { info } = await once(client, get('/'));
      return info.address === '127.0.0.1';
    });
  });
});

describe('proxy_allow_ips', () => {
  it('those on the list may send a header, and nobody else', async () => {
    const server = await HttpServer.start('trust-node.mjs', [
      ...['--threads', '1', '--proxy-protocol=v1', '--proxy-allow-from', '10.0.0.0/8,127.0.0.2'],
    ]);
    const from = (localAddress: string) => RawClient.connect(server.port, { localAddress });
    assert.equal((await once(await from('127.0.0.2'), V1 + get('/'))).info.address, '192.0.2.7');
    const other = await from('127.0.0.1');
    other.write(V1 + get('/'));
    assert.match(await other.end(), /^HTTP\/1\.1 403 /);
    other.destroy();
    await server.stop();
  });
});
