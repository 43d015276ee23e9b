/** HTTP as clients expect it, on both paths and all kinds of workers: keep-alive, pipelining, framing. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { HttpServer } from '../support/http-server.js';
import type { RawClient } from '../support/raw-client.js';

const KINDS = [
  { name: '(req, res), 2 threads', app: 'http-node.mjs', args: ['--threads', '2'], keeps: true, fetch: false },
  { name: '(req, res), 1 thread', app: 'http-node.mjs', args: ['--threads', '1'], keeps: true, fetch: false },
  { name: '(req, res), sync', app: 'http-node.mjs', args: ['-k', 'sync'], keeps: false, fetch: false },
  { name: 'fetch, 2 threads', app: 'http-fetch.mjs', args: ['--threads', '2'], keeps: true, fetch: true },
  { name: 'fetch, sync', app: 'http-fetch.mjs', args: ['-k', 'sync'], keeps: false, fetch: true },
];

for (const kind of KINDS) {
  describe(`http, ${kind.name}`, () => {
    let server: HttpServer;
    before(async () => {
      server = await HttpServer.start(kind.app, kind.args);
    });
    after(() => server?.stop());

    /** One request on a connection of its own. */
    async function ask(text: string, head = false) {
      const client = await server.connect();
      client.write(text);
      const response = await client.response({ head });
      client.destroy();
      return response;
    }

    it('keeps a connection for HTTP/1.1 and says so, or closes it and says so', async () => {
      const client = await server.connect();
      client.write('GET /hello HTTP/1.1\r\nHost: x\r\n\r\n');
      const first = await client.response();
      assert.equal(first.status, 200);
      assert.equal(first.body, 'hello');
      assert.match(first.headers.date, /^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/);
      assert.equal(first.headers.connection, kind.keeps ? 'keep-alive' : 'close');
      if (kind.keeps) {
        assert.equal(first.headers['keep-alive'], 'timeout=2');
        for (let i = 0; i < 5; i++) {
          client.write(`GET /async?${i} HTTP/1.1\r\nHost: x\r\n\r\n`);
          assert.equal((await client.response()).body, `async /async?${i}`);
        }
      } else assert.equal(await client.end(), '');
      client.destroy();
    });

    it('Connection: close, of the client or of the handler', async () => {
      for (const request of ['GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close', 'GET /close HTTP/1.1\r\nHost: x']) {
        const text = await server.talk(`${request}\r\n\r\n`);
        assert.match(text, /^HTTP\/1\.1 200 OK\r\n/);
        assert.match(text, /\r\nconnection: close\r\n/i);
        assert.doesNotMatch(text, /keep-alive/i);
      }
    });

    it('HTTP/1.0 closes; with Connection: keep-alive it is kept', async () => {
      const text = await server.talk('GET /hello HTTP/1.0\r\n\r\n');
      assert.match(text, /^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nhello$/s);
      const client = await server.connect();
      // A length that the handler gave: Node's ServerResponse closes otherwise, without need.
      client.write('GET /length HTTP/1.0\r\nConnection: keep-alive\r\n\r\n');
      const { headers } = await client.response();
      assert.equal(headers.connection, kind.keeps ? 'keep-alive' : 'close');
      assert.equal(headers['content-length'], '6');
      if (kind.keeps) {
        client.write('GET /hello HTTP/1.0\r\n\r\n');
        assert.equal((await client.response()).headers.connection, 'close');
      }
      assert.equal(await client.end(), '');
    });

    it('a response of unknown length: chunked in HTTP/1.1, until the close in HTTP/1.0', async () => {
      const chunked = await ask('GET /chunks HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.equal(chunked.headers['transfer-encoding'], 'chunked');
      assert.equal(chunked.body, 'one,two,three');
      for (const extra of ['', 'Connection: keep-alive\r\n']) {
        const old = await ask(`GET /chunks HTTP/1.0\r\n${extra}\r\n`);
        assert.equal(old.untilClose, true);
        assert.equal(old.headers['transfer-encoding'], undefined);
        assert.equal(old.headers.connection, 'close');
        assert.equal(old.body, 'one,two,three');
      }
    });

    it('a corked response keeps its order, and nothing of it stands before the next one', async () => {
      if (!kind.app.includes('node')) return;
      assert.equal((await ask('GET /corkedend HTTP/1.1\r\nHost: x\r\n\r\n')).body, 'abc');
      if (!kind.keeps) return;
      const client = await server.connect();
      for (const [path, body] of [
        ['/corkedend', 'abc'],
        ['/hello', 'hello'],
      ]) {
        client.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
        assert.equal((await client.response()).body, body);
      }
      client.destroy();
    });

    it('status, status text, a declared length, repeated headers', async () => {
      const response = await ask('GET /length HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.match(response.head, /^HTTP\/1\.1 201 Made\r\n/);
      assert.equal(response.headers['content-length'], '6');
      assert.equal(response.headers['x-a'], '1, 2');
      assert.equal(response.body, 'abcdef');
    });

    it('HEAD, 204 and 304 have no body; the length that a handler gave stays', async () => {
      const client = await server.connect();
      const requests = ['HEAD /hello', 'HEAD /chunks', 'HEAD /headlength', 'GET /204', 'GET /304', 'HEAD /304'];
      // Node's ServerResponse gives HEAD no length of its own.
      const lengths = [kind.fetch ? '5' : undefined, undefined, '77', undefined, '1234', '1234'];
      for (const [i, request] of requests.entries()) {
        const one = kind.keeps ? client : await server.connect();
        one.write(`${request} HTTP/1.1\r\nHost: x\r\n\r\n`);
        const { status, headers } = await one.response({ head: true });
        assert.equal(headers['content-length'], lengths[i], request);
        assert.equal(status, request.endsWith('204') ? 204 : request.endsWith('304') ? 304 : 200);
        if (!kind.keeps) assert.equal(await one.end(), '', request);
      }
      if (kind.keeps) {
        client.write('GET /hello HTTP/1.1\r\nHost: x\r\n\r\n');
        const { head, body } = await client.response();
        assert.match(head, /^HTTP\/1\.1 200 OK\r\n/);
        assert.equal(body, 'hello');
      }
      client.destroy();
    });

    it('a head leaves at once where the body comes later', async () => {
      const client = await server.connect();
      client.write('GET /flush HTTP/1.1\r\nHost: x\r\n\r\n');
      await client.when(() => (client.data.includes('\r\n\r\n') ? true : null), 'the head');
      assert.equal(client.data.includes('after'), false);
      assert.equal((await client.response()).body, 'after the head');
      client.destroy();
    });

    it('header values are latin1 beside a body of UTF-8', async () => {
      const { headers, body } = await ask('GET /latin1 HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.equal(headers['x-latin1'], 'caf\xe9');
      assert.equal(Buffer.from(body, 'latin1').toString(), 'caf\u00e9 \u{1f600}');
      assert.equal(headers['content-length'], '10');
    });

    it('an offer to upgrade is not taken, and the request served', async () => {
      const { status, body } = await ask(
        'GET /hello HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n',
      );
      assert.equal(status, 200);
      assert.equal(body, 'hello');
    });

    it('a client that ends its side after the request gets its response, and the connection ends', async () => {
      for (const path of ['/hello', '/async']) {
        const client = await server.connect();
        client.socket.end(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
        let { status } = await client.response();
        // Where it had to wait for a thread, an interim response has asked whether the client is still there.
        while (status === 102) ({ status } = await client.response());
        assert.equal(status, 200);
        const start = performance.now();
        assert.equal(await client.end(), '');
        assert.ok(performance.now() - start < 1500, 'without waiting for the keep-alive timeout');
      }
    });

    if (!kind.keeps) {
      it('of pipelined requests the first is answered, and the answer is not lost in a reset', async () => {
        const text = await server.talk('GET /async HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(16));
        assert.equal(text.match(/HTTP\/1\.1 200/g)?.length, 1);
      });
      return;
    }

    it('16 pipelined requests in one write are answered in order, bodies included', async () => {
      const client = await server.connect();
      const expected: string[] = [];
      let text = '';
      for (let i = 0; i < 16; i++) {
        const body = 'b'.repeat(i * 100) + i;
        if (i % 4 === 0) text += `GET /async?${i} HTTP/1.1\r\nHost: x\r\n\r\n`;
        else if (i % 4 === 1)
          text += `POST /echo?${i} HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
        else if (i % 4 === 2) text += 'GET /hello HTTP/1.1\r\nHost: x\r\n\r\n';
        else {
          const size = body.length.toString(16);
          text += `POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${size}\r\n${body}\r\n0\r\n\r\n`;
        }
        expected.push([`async /async?${i}`, body, 'hello', body][i % 4]);
      }
      for (let round = 0; round < 3; round++) {
        client.write(text);
        for (const body of expected) assert.equal((await client.response()).body, body);
      }
      client.destroy();
    });

    it('a pipelined pair, split at every byte', async () => {
      const body = 'x=1&y=2';
      const pair =
        `POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}` +
        'POST /upper HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n';
      const clients: RawClient[] = [];
      for (let i = 0; i < 8; i++) clients.push(await server.connect());
      const splits = Array.from({ length: pair.length - 1 }, (_, i) => i + 1);
      await Promise.all(
        clients.map(async (client) => {
          for (let at = splits.pop(); at !== undefined; at = splits.pop()) {
            await client.send(pair.slice(0, at));
            await client.send(pair.slice(at));
            assert.equal((await client.response()).body, body, `split at ${at}`);
            assert.equal((await client.response()).body, 'ABC', `split at ${at}`);
          }
          client.destroy();
        }),
      );
    });

    it('more pipelined requests than the input buffer holds, behind an async handler', async () => {
      const client = await server.connect();
      const count = 3000;
      client.write(`GET /async HTTP/1.1\r\nHost: x\r\n\r\n${'GET /hello HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(count)}`);
      assert.equal((await client.response()).body, 'async /async');
      for (let i = 0; i < count; i++) assert.equal((await client.response()).body, 'hello');
      client.destroy();
    });
  });
}
