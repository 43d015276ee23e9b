/**
 * Forwarded headers: what handlers and their frameworks see of a client behind a trusted proxy, and that the same bytes from
 * anybody else change nothing. All of 127.0.0.0/8 is this machine's, so a test can come from a stranger's address.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { HttpServer } from '../support/http-server.js';
import { until } from '../support/poll.js';
import { RawClient, type RawResponse } from '../support/raw-client.js';

/** How many servers have had a socket and a log. */
let servers = 0;
const dir = mkdtempSync(join(tmpdir(), 'tunicorn-trust-'));
after(() => rmSync(dir, { recursive: true }));

const get = (path: string, fields = '') => `GET ${path} HTTP/1.1\r\nHost: shop.example\r\n${fields}\r\n`;
const HTTPS = 'X-Forwarded-Proto: https\r\nX-Forwarded-For: 203.0.113.9\r\n';

/** Asks one after the other on one connection; answers. */
async function converse(client: RawClient, requests: string[]): Promise<RawResponse[]> {
  const answers: RawResponse[] = [];
  for (const request of requests) {
    client.write(request);
    answers.push(await client.response({ timeoutMs: 30_000 }));
  }
  client.destroy();
  return answers;
}

for (const kind of [
  { app: 'trust-node.mjs', args: ['--threads', '2'] },
  { app: 'trust-node.mjs', args: ['-k', 'sync'] },
  { app: 'trust-fetch.mjs', args: ['--threads', '2'] },
]) {
  const node = kind.app === 'trust-node.mjs';
  const sync = kind.args[0] === '-k';
  const name = `${kind.app}, ${sync ? 'sync' : 'gthread'}`;

  describe(`forwarded headers, ${name}`, { concurrency: 2 }, () => {
    const path = join(dir, `${++servers}.sock`);
    const log = join(dir, `${servers}.log`);
    let server: HttpServer;
    before(async () => {
      const format = ['--access-logformat', '%(h)s %({wsgi.url_scheme}e)s %(U)s %(s)s', '--access-logfile', log];
      server = await HttpServer.start(kind.app, ['-b', `unix:${path}`, ...format, ...kind.args]);
    });
    after(() => server?.stop());

    const proxy = () => server.connect();
    const stranger = () => RawClient.connect(server.port, { localAddress: '127.0.0.2' });
    const local = () => RawClient.connect(0, { path });

    /** What the handler saw of one request on a connection of its own. */
    const see = async (client: RawClient, request: string) => {
      const [{ status, body }] = await converse(client, [request]);
      assert.equal(status, 200, body);
      return JSON.parse(body);
    };

    /** What of it is about the scheme. */
    const shown = ({
      encrypted,
      info,
      url,
    }: {
      encrypted?: true;
      info: { scheme: string; trusted: boolean };
      url: string;
    }) => ({
      scheme: info.scheme,
      trusted: info.trusted,
      own: node ? encrypted === true : url.startsWith('https://shop.example/'),
    });

    it('https by a trusted proxy, and the headers untouched', async () => {
      for (const field of ['X-Forwarded-Proto: https', 'x-forwarded-ssl: on', 'X-FORWARDED-PROTOCOL: ssl']) {
        const seen = await see(await proxy(), get('/a?b', `${field}\r\nX-Forwarded-For: 203.0.113.9\r\n`));
        assert.deepEqual(shown(seen), { scheme: 'https', trusted: true, own: true });
        const at = seen.rawHeaders.findIndex((word: string) => /^x-forwarded-for$/i.test(word));
        assert.equal(seen.rawHeaders[at + 1], '203.0.113.9');
        assert.equal(seen.info.address, '127.0.0.1', 'X-Forwarded-For names nobody by itself');
        if (!node) assert.equal(seen.url, 'https://shop.example/a?b');
      }
    });

    it('http by a trusted proxy that does not say https', async () => {
      for (const field of [
        '',
        'X-Forwarded-Proto: http\r\n',
        'X-Forwarded-Proto: HTTPS\r\n',
        'X-Forwarded-Ssl: off\r\n',
      ]) {
        assert.deepEqual(shown(await see(await proxy(), get('/', field))), {
          scheme: 'http',
          trusted: true,
          own: false,
        });
      }
    });

    it('from a stranger it means nothing', async () => {
      const seen = await see(await stranger(), get('/', HTTPS));
      assert.deepEqual(shown(seen), { scheme: 'http', trusted: false, own: false });
      assert.equal(seen.info.address, '127.0.0.2');
      // Not even contradictory ones.
      const more = await see(await stranger(), get('/', 'X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n'));
      assert.deepEqual(shown(more), { scheme: 'http', trusted: false, own: false });
    });

    it('an absolute target stands above Host, for everybody who looks', async () => {
      for (const client of [await proxy(), await stranger()]) {
        const seen = await see(client, 'GET http://Other.example:81/a HTTP/1.1\r\nhost: shop.example\r\n\r\n');
        const at = seen.rawHeaders.indexOf('host');
        assert.equal(seen.rawHeaders[at + 1], 'Other.example:81');
        assert.equal(seen.url.toLowerCase(), 'http://other.example:81/a');
      }
    });

    it('a target of https on a connection in the clear: 421, but to a trusted proxy', async () => {
      const request = get('https://shop.example/a');
      for (const [client, status] of [
        [await stranger(), 421],
        [await proxy(), 200],
        [await local(), 200],
      ] as const) {
        const [answer] = await converse(client, [request]);
        assert.equal(answer.status, status);
        if (status === 421) assert.equal(answer.headers.connection, 'close');
      }
    });

    it('a unix socket is trusted', async () => {
      const seen = await see(await local(), get('/', HTTPS));
      assert.deepEqual(shown(seen), { scheme: 'https', trusted: true, own: true });
      assert.deepEqual([seen.info.address, seen.info.port, seen.info.localAddress], [undefined, undefined, undefined]);
    });

    it('each request on a connection for itself', { skip: sync && 'no keep-alive' }, async () => {
      const answers = await converse(await proxy(), [get('/1', HTTPS), get('/2'), get('/3', HTTPS), get('/4')]);
      const schemes = answers.map(({ body }) => shown(JSON.parse(body)).scheme);
      assert.deepEqual(schemes, ['https', 'http', 'https', 'http']);
    });

    it('contradictory ones get 400 and the end', async () => {
      for (const fields of [
        'X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n',
        `X-Forwarded-Proto: http\r\n${HTTPS}`,
      ]) {
        const client = await proxy();
        client.write(get('/', fields));
        assert.match(
          await client.end(),
          /^HTTP\/1\.1 400 [\s\S]*Connection: close\r\n[\s\S]*Contradictory scheme headers/,
        );
        client.destroy();
      }
    });

    it('names with underscores are dropped, but those that a trusted proxy may send', async () => {
      const fields = 'X_Forwarded_For: 1\r\nScript_Name: /app\r\nX-Kept: 1_2\r\nREMOTE_USER: root\r\n';
      const names = (seen: { rawHeaders: string[] }) =>
        seen.rawHeaders.filter((_, i) => i % 2 === 0).map((n) => n.toLowerCase());
      assert.deepEqual(names(await see(await proxy(), get('/', fields))).sort(), ['host', 'script_name', 'x-kept']);
      assert.deepEqual(names(await see(await stranger(), get('/a_b', fields))).sort(), ['host', 'x-kept']);
      await server.waitFor('A header with an underscore in its name was dropped');
    });

    it('a body that came with the head, and one that comes later', async () => {
      const head = `POST / HTTP/1.1\r\nHost: shop.example\r\n${HTTPS}X_Y: 1\r\nContent-Length: 10\r\n\r\n`;
      const whole = await see(await proxy(), `${head}0123456789`);
      assert.deepEqual([whole.body, whole.info.scheme], ['0123456789', 'https']);
      const client = await proxy();
      await client.send(`${head}01234`);
      await client.send('56789');
      const { body } = await client.response();
      client.destroy();
      assert.deepEqual([JSON.parse(body).body, JSON.parse(body).info.scheme], ['0123456789', 'https']);
    });

    it('the access log shows the peer, as gunicorn does, and the scheme', async () => {
      await see(await proxy(), get('/logged-proxy', HTTPS));
      await see(await stranger(), get('/logged-stranger', HTTPS));
      // Threads write theirs when they like.
      const line = (word: string) =>
        until(() =>
          readFileSync(log, 'utf8')
            .split('\n')
            .find((text) => text.includes(word)),
        );
      assert.equal(await line('logged-proxy'), '127.0.0.1 https /logged-proxy 200');
      assert.equal(await line('logged-stranger'), '127.0.0.2 http /logged-stranger 200');
    });

    if (!node) return;

    it('an upgraded connection', { skip: sync && 'the same' }, async () => {
      const client = await proxy();
      client.write(get('/', `${HTTPS}Connection: Upgrade\r\nUpgrade: x\r\n`));
      const seen = JSON.parse((await client.end()).split('\r\n\r\n')[1]);
      client.destroy();
      assert.equal(seen.encrypted, true);
      assert.equal(seen.remoteAddress, '127.0.0.1');
    });

    it('a request that is over has no client', { skip: sync && 'the same' }, async () => {
      await converse(await proxy(), [get('/late')]);
      const late = await until(async () => JSON.parse((await converse(await proxy(), [get('/was')]))[0].body).late);
      assert.deepEqual(late, { info: null });
    });
  });
}

describe('forwarded headers, frameworks', { concurrency: 2 }, () => {
  let server: HttpServer;
  before(async () => {
    server = await HttpServer.start('trust-frameworks.mjs', ['--threads', '1']);
  });
  after(() => server?.stop());

  for (const framework of ['express', 'koa', 'fastify', 'hono', 'h3']) {
    it(`${framework} takes it from the socket`, async () => {
      for (const [https, localAddress] of [
        [true, '127.0.0.1'],
        [false, '127.0.0.2'],
      ] as const) {
        const client = await RawClient.connect(server.port, { localAddress });
        const [{ status, body, headers }] = await converse(client, [get(`/${framework}`, HTTPS)]);
        assert.equal(status, 200, body);
        const seen = JSON.parse(body);
        assert.equal(seen.protocol, https ? 'https' : 'http');
        if ('secure' in seen) assert.equal(seen.secure, https);
        // Without a "trust proxy" of its own a framework takes the peer.
        if ('ip' in seen) assert.equal(seen.ip, localAddress);
        if (headers['set-cookie']) assert.equal(/; secure/i.test(headers['set-cookie']), https);
      }
    });
  }
});

describe('settings of trust', { concurrency: 2 }, () => {
  const ask = async (server: HttpServer, localAddress: string, fields: string) => {
    const client = await RawClient.connect(server.port, { localAddress });
    const [{ status, body }] = await converse(client, [get('/', fields)]);
    return { status, body, url: status === 200 ? JSON.parse(body).url : '' };
  };

  it('a network, schemes of its own, names that are refused but for one', async () => {
    const file = join(dir, 'tunicorn.conf.mjs');
    writeFileSync(file, "export default { secure_scheme_headers: { 'X-Scheme': 'tls' }, header_map: 'refuse' };");
    const args = [
      '-c',
      file,
      '--threads',
      '1',
      '--forwarded-allow-ips',
      '10.0.0.1,127.0.0.0/30',
      '--forwarder-headers',
      'a_b',
    ];
    const server = await HttpServer.start('trust-fetch.mjs', args);
    const [inside, outside] = ['127.0.0.3', '127.0.0.4'];
    assert.equal((await ask(server, inside, 'X-Scheme: tls\r\n')).url, 'https://shop.example/');
    assert.equal((await ask(server, outside, 'X-Scheme: tls\r\n')).url, 'http://shop.example/');
    assert.equal((await ask(server, inside, HTTPS)).url, 'http://shop.example/');
    assert.match((await ask(server, inside, 'A_B: 1\r\n')).body, /"a_b","1"/);
    for (const [from, field] of [
      [outside, 'A_B: 1\r\n'],
      [inside, 'C_D: 1\r\n'],
    ]) {
      const { status, body } = await ask(server, from, field);
      assert.deepEqual([status, body], [400, '400 Bad Request: Header name with an underscore\n']);
    }
    await server.stop();
  });

  it('nobody is trusted, every name passes', async () => {
    const args = ['--threads', '1', '--header-map', 'dangerous'];
    const server = await HttpServer.start('trust-fetch.mjs', args, { FORWARDED_ALLOW_IPS: '' });
    // And no header of the PROXY protocol is one.
    assert.match(await server.talk(`PROXY UNKNOWN\r\n${get('/')}`), /^HTTP\/1\.1 501 /);
    const { url, body } = await ask(server, '127.0.0.1', `${HTTPS}A_B: 1\r\n`);
    assert.equal(url, 'http://shop.example/');
    assert.match(body, /"a_b","1"/);
    await server.stop();
  });
});
