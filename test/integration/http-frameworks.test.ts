/** req and req.socket as Node has them, and the example apps of Express 5, Fastify 5 and Koa 3. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { request } from 'undici';
import { HttpServer } from '../support/http-server.js';

async function withServer<T>(app: string, args: string[], use: (server: HttpServer) => Promise<T>): Promise<T> {
  const server = await HttpServer.start(app, args);
  try {
    return await use(server);
  } finally {
    await server.stop();
  }
}

async function json(url: string, body: unknown) {
  const headers = { 'content-type': 'application/json' };
  const response = await request(url, { method: 'POST', headers, body: JSON.stringify(body) });
  return { status: response.statusCode, body: (await response.body.json()) as Record<string, unknown> };
}

describe('http, what a (req, res) handler sees', () => {
  let server: HttpServer;
  before(async () => {
    server = await HttpServer.start('http-node.mjs', ['--threads', '2']);
  });
  after(() => server?.stop());

  it('addresses, version, raw and joined headers', async () => {
    const client = await server.connect();
    client.write(
      'GET /request?x HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\nCookie: a=1\r\nCookie: b=2\r\n' +
        'User-Agent: first\r\nUser-Agent: second\r\nSet-Cookie: c=1\r\nSet-Cookie: d=2\r\nX-L: caf\xe9\r\n\r\n',
    );
    const seen = JSON.parse(Buffer.from((await client.response()).body, 'latin1').toString());
    assert.equal(seen.httpVersion, '1.1');
    assert.equal(seen.connection, true);
    assert.deepEqual(seen.peer, {
      remoteAddress: '127.0.0.1',
      remotePort: client.port,
      localPort: server.port,
      remoteFamily: 'IPv4',
    });
    assert.deepEqual(seen.headers, {
      host: 'h',
      'x-a': '1, 2',
      cookie: 'a=1; b=2',
      'user-agent': 'first',
      'set-cookie': ['c=1', 'd=2'],
      'x-l': 'caf\xe9',
    });
    assert.equal(seen.rawHeaders[2], 'X-A');
    assert.equal(seen.rawHeaders.length, 20);
    client.write('GET /request HTTP/1.0\r\n\r\n');
    assert.equal(JSON.parse((await client.response()).body).httpVersion, '1.0');
    client.destroy();
  });
});

for (const args of [
  ['--threads', '2'],
  ['-k', 'sync'],
]) {
  describe(`http, frameworks, ${args.join(' ')}`, () => {
    it('Express', () =>
      withServer('examples/express/app.js', args, async ({ url }) => {
        assert.equal(await (await request(url)).body.text(), 'Hello, World!\n');
        assert.deepEqual(await json(`${url}/json`, { a: [1] }), { status: 200, body: { a: [1] } });
        const bad = await request(`${url}/json`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: '{"a":',
        });
        assert.equal(bad.statusCode, 400);
        await bad.body.dump();
        const large = await json(`${url}/json`, 'x'.repeat(2 << 20)).catch((error) => error);
        assert.ok(large.status === 413 || large instanceof Error, `${large.status}`);
        const failed = await request(`${url}/error`);
        assert.equal(failed.statusCode, 500);
        assert.equal(((await failed.body.json()) as { error: string }).error, 'Internal error');
        assert.equal((await request(`${url}/none`)).statusCode, 404);
        const { headers, statusCode } = await request(url, { method: 'HEAD' });
        assert.deepEqual([statusCode, headers['content-length']], [200, '14']);
        const again = await request(url, { headers: { 'if-none-match': String(headers.etag) } });
        assert.equal(again.statusCode, 304);
      }));

    it('Fastify', () =>
      withServer('examples/fastify/app.js:build()', args, async ({ url }) => {
        assert.equal(await (await request(url)).body.text(), 'Hello, World!\n');
        assert.deepEqual(await json(`${url}/json`, { name: 'n' }), { status: 200, body: { name: 'n' } });
        assert.equal((await json(`${url}/json`, { no: 'n' })).status, 400);
        assert.equal((await request(`${url}/none`)).statusCode, 404);
      }));

    it('Koa', () =>
      withServer('examples/koa/app.cjs', args, async ({ url }) => {
        const response = await request(url);
        assert.equal(await response.body.text(), 'Hello, World!\n');
        assert.match(String(response.headers['x-response-time']), /ms$/);
        assert.equal((await request(`${url}/none`)).statusCode, 404);
      }));
  });
}
