/** What is refused, with which status, and that the answer can be read: limits, malformed input, versions. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { HttpServer } from '../support/http-server.js';

const GET = 'GET /hello HTTP/1.1\r\n';
const HOST = 'Host: x\r\n';

/** [what, the bytes, the status] */
const CASES: Array<[string, string, number]> = [
  ['a request line of just the limit', `GET /${'a'.repeat(100 - 14)} HTTP/1.1\r\n${HOST}\r\n`, 404],
  ['a request line beyond the limit', `GET /${'a'.repeat(100 - 13)} HTTP/1.1\r\n${HOST}\r\n`, 414],
  ['an endless request line', `GET /${'a'.repeat(5000)}`, 414],
  ['as many fields as may be', `${GET}${HOST}${'A: b\r\n'.repeat(9)}\r\n`, 200],
  ['a field too many', `${GET}${HOST}${'A: b\r\n'.repeat(10)}\r\n`, 431],
  ['a field of just the limit', `${GET}${HOST}X-A: ${'v'.repeat(195)}\r\n\r\n`, 200],
  ['a field beyond the limit', `${GET}${HOST}X-A: ${'v'.repeat(196)}\r\n\r\n`, 431],
  ['an endless field', `${GET}${HOST}X-A: ${'v'.repeat(5000)}`, 431],
  ['an endless field name', `${GET}${HOST}${'n'.repeat(5000)}`, 431],
  [
    'a trailer beyond the limit',
    `POST /echo HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\nA: ${'b'.repeat(300)}\r\n\r\n`,
    431,
  ],
  ['rubbish', 'rubbish\r\n\r\n', 400],
  ['a TLS hello', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
  ['a space in the name', `${GET}${HOST}Bad Name: x\r\n\r\n`, 400],
  ['a space before the colon', `${GET}Host : x\r\n\r\n`, 400],
  ['a NUL in a value', `${GET}${HOST}X: a\0b\r\n\r\n`, 400],
  ['bare line feeds', `GET /hello HTTP/1.1\nHost: x\n\n`, 400],
  ['a folded line', `${GET}${HOST}X: a\r\n b\r\n\r\n`, 400],
  ['a method in lower case', `get /hello HTTP/1.1\r\n${HOST}\r\n`, 501],
  ['no Host', `${GET}\r\n`, 400],
  ['two Hosts', `${GET}${HOST}host: y\r\n\r\n`, 400],
  ['two Hosts in HTTP/1.0', `GET /hello HTTP/1.0\r\n${HOST}Host: x\r\n\r\n`, 400],
  ['no Host in HTTP/1.0', 'GET /hello HTTP/1.0\r\n\r\n', 200],
  ['HTTP/2.0', `GET /hello HTTP/2.0\r\n${HOST}\r\n`, 505],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
  ['HTTP/0.9', `GET /hello HTTP/0.9\r\n${HOST}\r\n`, 505],
  ['HTTP/1.9', `GET /hello HTTP/1.9\r\n${HOST}\r\n`, 505],
  ['another protocol', `GET /hello ICY/1.1\r\n${HOST}\r\n`, 400],
  [
    'a length and chunks',
    `POST /echo HTTP/1.1\r\n${HOST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    400,
  ],
  [
    'chunks and a length',
    `POST /echo HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n`,
    400,
  ],
  ['chunks in HTTP/1.0', `POST /echo HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
  ['two lengths', `POST /echo HTTP/1.1\r\n${HOST}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc`, 400],
  ['a list of lengths', `POST /echo HTTP/1.1\r\n${HOST}Content-Length: 3, 3\r\n\r\nabc`, 400],
  ['a negative length', `POST /echo HTTP/1.1\r\n${HOST}Content-Length: -3\r\n\r\nabc`, 400],
  ['a length with a sign', `POST /echo HTTP/1.1\r\n${HOST}Content-Length: +3\r\n\r\nabc`, 400],
  ['chunked not last', `POST /echo HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked, gzip\r\n\r\nabc`, 400],
  ['a chunk size that is none', `POST /echo HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\nxx\r\n`, 400],
  ['a chunk longer than its size', `POST /echo HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n`, 400],
  ['a huge chunk size', `POST /echo HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n`, 400],
  ['CONNECT', 'CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n', 405],
];
const LIMITS = ['--limit-request-line', '100', '--limit-request-fields', '10', '--limit-request-field_size', '200'];

for (const kind of [
  { name: '(req, res)', app: 'http-node.mjs', args: ['--threads', '2', '--header-timeout', '5'] },
  { name: 'fetch, 1 thread', app: 'http-fetch.mjs', args: ['--threads', '1', '--header-timeout', '5'] },
  { name: '(req, res), sync', app: 'http-node.mjs', args: ['-k', 'sync', '--header-timeout', '5'] },
]) {
  describe(`http limits, ${kind.name}`, () => {
    let server: HttpServer;
    before(async () => {
      server = await HttpServer.start(kind.app, [...kind.args, ...LIMITS]);
      // Its threads have started: what follows is answered at once.
      await server.stillServes();
    });
    after(() => server?.stop());

    for (const [what, text, status] of CASES) {
      it(`${what}: ${status}`, async () => {
        const client = await server.connect();
        const start = performance.now();
        client.write(text);
        const response = await client.response();
        assert.equal(response.status, status);
        assert.ok(performance.now() - start < 2000, 'at once');
        if (status !== 200 && status !== 404) {
          assert.equal(response.headers.connection, 'close');
          assert.match(response.body, new RegExp(`^${status} `));
          // What the client goes on to send is no reset's reason to take the answer away.
          await client.send('x'.repeat(10_000)).catch(() => {});
          assert.equal(await client.end(), '');
        }
        client.destroy();
      });
    }

    it('a refused request leaves no trace in the next one', () => server.stillServes());
  });
}

describe('http heads in pieces', () => {
  let server: HttpServer;
  before(async () => {
    server = await HttpServer.start('http-node.mjs', ['--threads', '2']);
  });
  after(() => server?.stop());

  it('split at every byte', async () => {
    const text = 'GET /request?a=1 HTTP/1.1\r\nHost: localhost\r\nX-Long-Name: some value \r\nX-Empty:\r\n\r\n';
    const clients = await Promise.all(Array.from({ length: 8 }, () => server.connect()));
    const splits = Array.from({ length: text.length - 1 }, (_, i) => i + 1);
    await Promise.all(
      clients.map(async (client) => {
        for (let at = splits.pop(); at !== undefined; at = splits.pop()) {
          await client.send(text.slice(0, at));
          await client.send(text.slice(at));
          const seen = JSON.parse((await client.response()).body);
          const expected = ['Host', 'localhost', 'X-Long-Name', 'some value', 'X-Empty', ''];
          assert.deepEqual([seen.method, seen.url, seen.rawHeaders], ['GET', '/request?a=1', expected], `at ${at}`);
        }
        client.destroy();
      }),
    );
  });

  it('malformed, split at every byte', async () => {
    const text = 'GET /hello HTTP/1.1\r\nHost: localhost\r\nBad Name: x\r\n\r\n';
    const answers = await Promise.all(
      Array.from({ length: 51 }, async (_, i) => {
        const client = await server.connect();
        await client.send(text.slice(0, i + 1));
        await client.send(text.slice(i + 1)).catch(() => {});
        const { status } = await client.response();
        client.destroy();
        return status;
      }),
    );
    assert.deepEqual([...new Set(answers)], [400]);
  });

  it('byte by byte, three heads in a row on one connection', async () => {
    const client = await server.connect();
    for (let i = 0; i < 3; i++) {
      for (const byte of `GET /async?${i} HTTP/1.1\r\nHost: localhost\r\n\r\n`) await client.send(byte);
      assert.equal((await client.response()).body, `async /async?${i}`);
    }
    client.destroy();
  });

  it('a head of more than 64 KiB within the limits, in one go and in pieces, with a body', async () => {
    const client = await server.connect();
    const fields = Array.from({ length: 90 }, (_, i) => `X-Field-${i}: ${String(i).repeat(8000).slice(0, 8000)}\r\n`);
    const head = `POST /echo HTTP/1.1\r\nHost: x\r\n${fields.join('')}Content-Length: 6\r\n\r\nlarge!`;
    for (const size of [head.length, 65_536, 65_535, 10_000]) {
      for (let at = 0; at < head.length; at += size) await client.send(head.slice(at, at + size));
      assert.equal((await client.response()).body, 'large!', `pieces of ${size}`);
    }
    client.write('GET /request HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.equal(JSON.parse((await client.response()).body).rawHeaders.length, 2);
    client.destroy();
  });

  it('a message that just fills the input buffer, with another behind it', async () => {
    const client = await server.connect();
    const rest = 'GET /hello HTTP/1.1\r\nHost: x\r\n\r\n';
    for (const extra of [-1, 0, 1]) {
      const head = 'POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: ';
      const length = 65_536 - head.length - 5 - 4 + extra;
      client.write(`${head}${length}\r\n\r\n${'f'.repeat(length)}${rest}`);
      assert.equal((await client.response()).body.length, length);
      assert.equal((await client.response()).body, 'hello');
    }
    client.destroy();
  });
});
