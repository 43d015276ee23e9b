/** Request bodies: by length and in chunks, in any pieces; trailers; Expect; bodies that nobody reads; slow clients. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { HttpServer } from '../support/http-server.js';
import { until } from '../support/poll.js';

const KINDS = [
  { name: '(req, res)', app: 'http-node.mjs', args: ['--threads', '2'], fetch: false },
  { name: 'fetch', app: 'http-fetch.mjs', args: ['--threads', '2'], fetch: true },
];
const POST = (path: string, fields: string, body = '') =>
  `POST ${path} HTTP/1.1\r\nHost: x\r\n${fields}\r\n\r\n${body}`;

for (const kind of KINDS) {
  describe(`http bodies, ${kind.name}`, () => {
    let server: HttpServer;
    before(async () => {
      server = await HttpServer.start(kind.app, [...kind.args, '--body-timeout', '1', '--header-timeout', '1'], {
        NOTE_LOADED: '1',
      });
    });
    after(() => server?.stop());

    it('arrives byte by byte, by length and in chunks', async () => {
      const client = await server.connect();
      for (const text of [
        POST('/echo', 'Content-Length: 11', 'hello world'),
        POST('/echo', 'Transfer-Encoding: chunked', '5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\n\r\n'),
      ]) {
        for (const byte of text) await client.send(byte);
        const response = await client.response();
        assert.equal(response.body, 'hello world');
        assert.equal(response.headers['x-complete'], 'true');
      }
      client.destroy();
    });

    it('1 MB by length and in chunks comes back as it was, with the connection kept', async () => {
      const client = await server.connect();
      const body = randomBytes(1 << 20);
      for (let round = 0; round < 2; round++) {
        client.write(POST('/echo', `Content-Length: ${body.length}`));
        client.write(body);
        assert.ok(Buffer.from((await client.response()).body, 'latin1').equals(body));
        client.write(POST('/echo', 'Transfer-Encoding: chunked'));
        for (let at = 0; at < body.length; at += 100_000) {
          const piece = body.subarray(at, at + 100_000);
          client.write(Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n')]));
        }
        client.write('0\r\n\r\n');
        assert.ok(Buffer.from((await client.response()).body, 'latin1').equals(body));
      }
      client.destroy();
    });

    it('chunks of a byte each are joined where many come together, and come one by one where few do', async () => {
      const client = await server.connect();
      const head = POST('/pieces', 'Transfer-Encoding: chunked');
      client.write(`${head}${'1\r\nx\r\n'.repeat(50)}0\r\n\r\n`);
      assert.match((await client.response()).body, kind.fetch ? /^\d+ 50$/ : /^50 50$/);
      client.write(`${head}${'1;e=1\r\nx\r\n1\r\nx\r\n'.repeat(10_000)}0\r\n\r\n`);
      const [pieces, bytes] = (await client.response()).body.split(' ').map(Number);
      assert.equal(bytes, 20_000);
      assert.ok(pieces < 1000, `${pieces} pieces`);
      client.destroy();
    });

    it('30 MB to a handler that stops reading for a while: the client is held back', async () => {
      // The threads' own memory is none of this body's.
      await until(() => server.stdout.split('loaded').length === 3, { what: 'both threads' });
      await server.stillServes();
      const before = server.rss;
      const client = await server.connect();
      const size = 30 * 1024 * 1024;
      client.write(POST('/hold', `Content-Length: ${size}`));
      const piece = Buffer.alloc(64 * 1024, 'u');
      let sent = 0;
      let last = performance.now();
      for (let at = 0; at < size; at += piece.length) {
        client.socket.write(piece, () => {
          sent += piece.length;
          last = performance.now();
        });
      }
      await until(() => sent > 0 && performance.now() - last > 300, { what: 'the client to be held back' });
      // What the kernel holds on both sides, and one turn of ours.
      assert.ok(sent < 12 * 1024 * 1024, `${sent} bytes were taken`);
      assert.ok(server.rss - before < 25, `the worker grew by ${Math.round(server.rss - before)} MiB`);
      await server.stillServes('/release');
      assert.equal((await client.response({ timeoutMs: 20_000 })).body, String(size));
      client.destroy();
    });

    it('Expect: 100-continue is answered before the body, and only then', async () => {
      const client = await server.connect();
      client.write(POST('/echo', 'Expect: 100-continue\r\nContent-Length: 5'));
      assert.equal((await client.response()).head, 'HTTP/1.1 100 Continue');
      client.write('hello');
      assert.equal((await client.response()).body, 'hello');
      // The body is there already: no need to ask for it.
      client.write(POST('/echo', 'Expect: 100-Continue\r\nContent-Length: 5', 'again'));
      assert.equal((await client.response()).body, 'again');
      client.write(POST('/echo', 'Expect: 100-continue\r\nTransfer-Encoding: chunked'));
      assert.equal((await client.response()).status, 100);
      client.write('2\r\nok\r\n0\r\n\r\n');
      assert.equal((await client.response()).body, 'ok');
      client.destroy();
      const text = await server.talk(POST('/echo', 'Expect: a-miracle\r\nContent-Length: 5'));
      assert.match(text, /^HTTP\/1\.1 417 .*connection: close/is);
    });

    it('a small body that nobody reads is thrown away and the connection kept', async () => {
      const client = await server.connect();
      const body = 'n'.repeat(100_000);
      for (const path of ['/unread', '/unreadlater']) {
        for (const rest of [body, '']) {
          client.write(POST(path, `Content-Length: ${body.length}`, rest));
          if (rest === '') {
            // The answer is out before the body has come.
            const { status } = await client.response();
            assert.equal(status, 200);
            client.write(body);
          } else assert.equal((await client.response()).body, 'not read');
          client.write('GET /hello HTTP/1.1\r\nHost: x\r\n\r\n');
          assert.equal((await client.response()).body, 'hello', path);
        }
        client.write(POST(path, 'Transfer-Encoding: chunked', `3\r\nabc\r\n0\r\n\r\n`));
        assert.equal((await client.response()).body, 'not read');
      }
      client.write(
        'GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /hello HTTP/1.1\r\nHost: x\r\n\r\n',
      );
      for (let i = 0; i < 2; i++) assert.equal((await client.response()).body, 'hello');
      client.destroy();
    });

    it('a large body that nobody reads: the whole answer, then a close without reset', async () => {
      for (const path of ['/unread', '/unreadlater']) {
        for (const fields of ['', 'Connection: close\r\n']) {
          const client = await server.connect();
          const size = 20 * 1024 * 1024;
          client.write(POST(path, `${fields}Content-Length: ${size}`));
          const piece = Buffer.alloc(1 << 20, 'u');
          for (let sent = 0; sent < size; sent += piece.length) await client.send(piece);
          assert.equal(client.error, null);
          assert.equal((await client.response()).body, 'not read');
          assert.equal(await client.end(), '');
          client.destroy();
        }
      }
    });

    it('a client that stops in mid-body is ended by --body-timeout, one that stops in the head by --header-timeout', async () => {
      const cases: Array<[string, RegExp]> = [
        [POST('/body-timeout', 'Content-Length: 10', 'abc'), /^HTTP\/1\.1 408 /],
        [POST('/unread', 'Content-Length: 10', 'abc'), /^HTTP\/1\.1 200 .*not read$/s],
        ['GET /hello HTTP/1.1\r\nHost: x\r\n', /^HTTP\/1\.1 408 /],
        ['GET /hel', /^HTTP\/1\.1 408 /],
      ];
      await Promise.all(
        cases.map(async ([text, expected]) => {
          const start = performance.now();
          assert.match(await server.talk(text), expected, text);
          const took = performance.now() - start;
          assert.ok(took > 500 && took < 4000, `${JSON.stringify(text)} took ${took} ms`);
        }),
      );
      await server.waitFor('Client too slow in POST /body-timeout');
    });

    it('a bad chunk gets 400, unless a part of the response is out', async () => {
      const text = await server.talk(POST('/echo', 'Transfer-Encoding: chunked', '3\r\nabc\r\nxyz\r\n'));
      assert.match(text, /^HTTP\/1\.1 400 .*connection: close/is);
      const client = await server.connect();
      client.write(POST('/upper', 'Transfer-Encoding: chunked', '3\r\nabc\r\n'));
      await client.when(() => (client.data.includes('ABC') ? true : null), 'the first chunk');
      client.write('zz\r\n');
      const rest = await client.end().catch((error: Error) => error.message);
      assert.doesNotMatch(rest, /HTTP\/1\.1 400|\r\n0\r\n\r\n$/);
      client.destroy();
      await server.stillServes();
    });

    it('a client that leaves in mid-body hurts nobody', async () => {
      for (let i = 0; i < 20; i++) {
        const client = await server.connect();
        await client.send(POST(i % 2 ? '/echo' : '/unreadlater', 'Content-Length: 1000', 'abc'));
        if (i % 4 < 2) client.socket.resetAndDestroy();
        else client.destroy();
      }
      await server.stillServes();
    });

    if (kind.fetch) {
      it('a body that is asked for after the response is empty or an error, never the next request’s', async () => {
        const client = await server.connect();
        client.write(POST('/latebody', 'Content-Length: 5', 'first'));
        assert.equal((await client.response()).body, 'first');
        const size = 300_000;
        client.write(POST('/body-timeout', `Content-Length: ${size}`));
        let sent = 0;
        const late = await until<string | null>(async () => {
          // No pause as long as --body-timeout, however busy the machine.
          client.write('second');
          sent += 'second'.length;
          const text = await server.talk('GET /late HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
          const value = text.slice(text.indexOf('\r\n\r\n') + 4);
          return value === 'undefined' ? null : value;
        });
        assert.doesNotMatch(String(late), /sec/);
        client.write('s'.repeat(size - sent));
        assert.equal((await client.response()).body, 'read');
        client.destroy();
      });
      return;
    }

    it('trailers, in one packet and split at every byte', async () => {
      const client = await server.connect();
      const text = POST(
        '/trailers',
        'Transfer-Encoding: chunked\r\nTrailer: X-Sum, X-Empty',
        '3\r\nabc\r\n0\r\nX-Sum: 12 \r\nX-Empty:\r\nx-sum: 13\r\n\r\n',
      );
      const expected = {
        body: 'abc',
        trailers: { 'x-sum': '12, 13', 'x-empty': '' },
        raw: ['X-Sum', '12', 'X-Empty', '', 'x-sum', '13'],
      };
      for (let at = text.indexOf('0\r\nX-Sum'); at <= text.length; at++) {
        await client.send(text.slice(0, at));
        if (at < text.length) await client.send(text.slice(at));
        assert.deepEqual(JSON.parse((await client.response()).body), expected, `split at ${at}`);
      }
      client.write(POST('/trailers', 'Transfer-Encoding: chunked', '1\r\nz\r\n0\r\n\r\n'));
      assert.deepEqual(JSON.parse((await client.response()).body), { body: 'z', trailers: {}, raw: [] });
      client.destroy();
    });

    it('a handler that answers first and reads on gets all of the body', async () => {
      const client = await server.connect();
      const body = 'e'.repeat(600_000);
      client.write(POST('/early', `Content-Length: ${body.length}`, body.slice(0, 1000)));
      assert.equal((await client.response()).body, 'early');
      client.write(body.slice(1000));
      client.write('GET /hello HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.equal((await client.response()).body, 'hello');
      client.destroy();
    });

    it('a handler that stops reading in the middle does not hold the connection', async () => {
      const client = await server.connect();
      const body = 's'.repeat(200_000);
      client.write(POST('/stop', `Content-Length: ${body.length}`, body));
      assert.equal((await client.response()).body, 'enough');
      client.write('GET /hello HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.equal((await client.response()).body, 'hello');
      client.destroy();
    });
  });
}
