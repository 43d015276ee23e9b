/** Express 5 and 4 with the usual middleware: bodies, uploads, static files, compression, cookies, sessions, errors. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { brotliDecompressSync, createBrotliDecompress, createGunzip, gunzipSync } from 'node:zlib';
import { FormData, fetch, request } from 'undici';
import { until } from '../../support/poll.js';
import { GTHREAD, NODE, onEachServer, type Site } from './serve.js';

const TEXT = 'The quick brown fox jumps over the lazy dog.\n';
const digest = (data: Uint8Array | string) => createHash('sha256').update(data).digest('hex');

function prepare(site: Site): void {
  mkdirSync(join(site.folder, 'public'));
  site.put('file.txt', TEXT);
  site.put('public/fox.txt', TEXT);
  site.put('public/large.bin', randomBytes(3 << 20));
}

onEachServer('Express 5', 'express.mjs:five', define, { prepare });
onEachServer('Express 4', 'express.mjs:four', define, { prepare, servers: [NODE, GTHREAD] });

function define(site: Site): void {
  const get = async (path: string, headers: Record<string, string> = {}, method: 'GET' | 'HEAD' | 'PUT' = 'GET') => {
    const { statusCode: status, headers: answered, body } = await request(`${site.url}${path}`, { method, headers });
    return { status, headers: answered, text: await body.text() };
  };
  const post = async (path: string, type: string, body: string | Uint8Array) => {
    const response = await request(`${site.url}${path}`, { method: 'POST', headers: { 'content-type': type }, body });
    return { status: response.statusCode, text: await response.body.text() };
  };
  const upload = async (path: string, files: [string, Uint8Array][], fields: Record<string, string> = {}) => {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    const field = path.endsWith('disk') ? 'file' : 'files';
    for (const [name, data] of files) form.append(field, new Blob([data as Uint8Array<ArrayBuffer>]), name);
    const response = await fetch(`${site.url}${path}`, { method: 'POST', body: form });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };

  describe('bodies', () => {
    it('JSON: nested, broken, too large', async () => {
      const value = { a: [1, { b: 'é' }], c: null };
      assert.deepEqual(JSON.parse((await post('/json', 'application/json', JSON.stringify(value))).text), value);
      const broken = await post('/json', 'application/json', '{"a":');
      assert.equal(broken.status, 400);
      assert.equal(JSON.parse(broken.text).code, undefined);
      assert.equal((await post('/json', 'application/json', JSON.stringify('x'.repeat(2000)))).status, 413);
      assert.equal((await post('/json', 'application/json; charset=klingon', '{}')).status, 415);
    });

    it('urlencoded, with its limits', async () => {
      const type = 'application/x-www-form-urlencoded';
      const { text } = await post('/form', type, 'user[name]=Ada+L&tags[]=x&tags[]=%C3%A9');
      assert.deepEqual(JSON.parse(text), { user: { name: 'Ada L' }, tags: ['x', 'é'] });
      assert.equal((await post('/form', type, 'a=1&b=2&c=3&d=4&e=5&f=6')).status, 413);
      assert.equal((await post('/form', type, `a=${'x'.repeat(2000)}`)).status, 413);
    });

    it('text, and a raw body of 3 MB', async () => {
      assert.equal((await post('/text', 'text/plain; charset=utf-8', 'grüße')).text, 'grüße');
      const data = randomBytes(3 << 20);
      const { text } = await post('/raw', 'application/octet-stream', data);
      assert.deepEqual(JSON.parse(text), { size: data.length, digest: digest(data) });
    });

    it('a chunked, gzipped JSON body', async () => {
      const { gzipSync } = await import('node:zlib');
      const zipped = gzipSync('{"zipped":true}');
      const { statusCode, body } = await request(`${site.url}/json`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' },
        body: (async function* () {
          yield zipped.subarray(0, 10);
          yield zipped.subarray(10);
        })() as never,
      });
      assert.equal(statusCode, 200);
      assert.deepEqual(await body.json(), { zipped: true });
    });
  });

  describe('uploads by multer', () => {
    it('several files and fields in memory', async () => {
      const files: [string, Uint8Array][] = [
        ['a.txt', Buffer.from('first')],
        ['b.bin', randomBytes(50_000)],
        ['empty', Buffer.alloc(0)],
      ];
      const { status, body } = await upload('/upload/memory', files, { title: 'three', note: 'grüße' });
      assert.equal(status, 200);
      assert.deepEqual(body.fields, { title: 'three', note: 'grüße' });
      const seen = (body.files as Record<string, unknown>[]).map(({ originalname, digest }) => [originalname, digest]);
      const sent = files.map(([name, data]) => [name, digest(data)]);
      assert.deepEqual(seen, sent);
    });

    it('limits of size and number', async () => {
      const small = Buffer.from('x');
      const large = await upload('/upload/memory', [['large', Buffer.alloc(65 * 1024)]]);
      assert.deepEqual([large.status, large.body.code], [413, 'LIMIT_FILE_SIZE']);
      const many = await upload(
        '/upload/memory',
        ['1', '2', '3', '4'].map((name) => [name, small]),
      );
      assert.deepEqual([many.status, many.body.code], [413, 'LIMIT_FILE_COUNT']);
    });

    it('10 MB to the disk', async () => {
      const data = randomBytes(10 << 20);
      const { body } = await upload('/upload/disk', [['large.bin', data]]);
      assert.deepEqual(body, { name: 'large.bin', size: data.length, digest: digest(data) });
    });

    it('a client that leaves in the middle of one leaves no file', async () => {
      const client = await site.connect();
      const head = '--b\r\nContent-Disposition: form-data; name="file"; filename="half"\r\n\r\n';
      client.write(
        'POST /upload/disk HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n' +
          `Content-Length: 10000000\r\n\r\n${head}`,
      );
      client.write(Buffer.alloc(200_000));
      const stored = () => readdirSync(join(site.folder, 'uploads'));
      await until(() => stored().some((name) => statSync(join(site.folder, 'uploads', name)).size > 0), {
        what: 'half a file',
      });
      client.destroy();
      await until(() => stored().length === 0, { what: 'the file to go' });
      await site.note('failed /upload/disk');
    });
  });

  describe('files', () => {
    it('static: type, length, validators, and 304 by both', async () => {
      const { status, headers, text } = await get('/static/fox.txt');
      assert.deepEqual([status, text], [200, TEXT]);
      assert.match(String(headers['content-type']), /^text\/plain/);
      assert.equal(headers['content-length'], String(TEXT.length));
      assert.equal(headers['cache-control'], 'public, max-age=3600');
      assert.equal(headers['accept-ranges'], 'bytes');
      const byTag = await get('/static/fox.txt', { 'if-none-match': String(headers.etag) });
      assert.deepEqual([byTag.status, byTag.text, byTag.headers.etag], [304, '', headers.etag]);
      const byTime = await get('/static/fox.txt', { 'if-modified-since': String(headers['last-modified']) });
      assert.deepEqual([byTime.status, byTime.text], [304, '']);
      assert.equal((await get('/static/fox.txt', { 'if-none-match': '"other"' })).status, 200);
      assert.equal((await get('/static/fox.txt', { 'if-match': '"other"' })).status, 412);
    });

    it('static: ranges', async () => {
      const one = await get('/static/fox.txt', { range: 'bytes=4-8' });
      assert.deepEqual([one.status, one.text], [206, 'quick']);
      assert.equal(one.headers['content-range'], `bytes 4-8/${TEXT.length}`);
      const last = await get('/static/fox.txt', { range: 'bytes=-5' });
      assert.deepEqual([last.status, last.text], [206, 'dog.\n']);
      // send does not serve several: all of it is a right answer.
      assert.deepEqual((await get('/static/fox.txt', { range: 'bytes=0-1,4-5' })).text, TEXT);
      const outside = await get('/static/fox.txt', { range: 'bytes=900-' });
      assert.deepEqual([outside.status, outside.headers['content-range']], [416, `bytes */${TEXT.length}`]);
      const stale = await get('/static/fox.txt', { range: 'bytes=4-8', 'if-range': '"other"' });
      assert.deepEqual([stale.status, stale.text], [200, TEXT]);
    });

    it('static: HEAD, 3 MB, and nothing outside of its folder', async () => {
      const head = await get('/static/fox.txt', {}, 'HEAD');
      assert.deepEqual([head.status, head.text, head.headers['content-length']], [200, '', String(TEXT.length)]);
      const { body } = await request(`${site.url}/static/large.bin`);
      assert.equal((await body.bytes()).length, 3 << 20);
      const client = await site.connect();
      client.write('GET /static/../file.txt HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.ok([403, 404].includes((await client.response()).status));
      client.destroy();
    });

    it('sendFile, download, pipe, and a missing file', async () => {
      const sent = await get('/sendfile', { range: 'bytes=0-2' });
      assert.deepEqual([sent.status, sent.text, sent.headers['x-sent']], [206, 'The', 'yes']);
      const { headers, text } = await get('/download');
      assert.equal(headers['content-disposition'], `attachment; filename="?.txt"; filename*=UTF-8''%E6%96%87.txt`);
      assert.equal(text, TEXT);
      const piped = await get('/pipe');
      assert.deepEqual([piped.text, piped.headers['transfer-encoding']], [TEXT, 'chunked']);
      assert.equal((await get('/missing')).status, 404);
    });
  });

  describe('compression', () => {
    it('gzip and br, Vary, and what stays as it is', async () => {
      const plain = 'squeeze me '.repeat(1000);
      for (const [encoding, decode] of [
        ['gzip', gunzipSync],
        ['br', brotliDecompressSync],
      ] as const) {
        const { headers, body } = await request(`${site.url}/zip/text`, { headers: { 'accept-encoding': encoding } });
        assert.deepEqual([headers['content-encoding'], headers.vary], [encoding, 'Accept-Encoding']);
        assert.equal(headers['content-length'], undefined);
        assert.equal(decode(await body.bytes()).toString(), plain);
      }
      const none = await get('/zip/text');
      assert.deepEqual(
        [none.headers['content-encoding'], none.headers.vary, none.text],
        [undefined, 'Accept-Encoding', plain],
      );
      for (const path of ['/zip/short', '/zip/image']) {
        assert.equal((await get(path, { 'accept-encoding': 'gzip' })).headers['content-encoding'], undefined);
      }
      const head = await get('/zip/text', { 'accept-encoding': 'gzip' }, 'HEAD');
      assert.deepEqual([head.status, head.text], [200, '']);
    });

    for (const [encoding, unzip] of [
      ['gzip', createGunzip],
      ['br', createBrotliDecompress],
    ] as const) {
      it(`${encoding}: what is flushed arrives`, async () => {
        const plain = unzip();
        let got = '';
        plain.setEncoding('utf8').on('data', (text) => (got += text));
        const client = await site.connect();
        client.write(
          `POST /zip/echo HTTP/1.1\r\nHost: x\r\nAccept-Encoding: ${encoding}\r\nTransfer-Encoding: chunked\r\n\r\n`,
        );
        let fed = 0;
        for (const piece of ['one ', 'two ', 'three ']) {
          client.write(`${piece.length.toString(16)}\r\n${piece}\r\n`);
          await until(
            () => {
              const pieces = chunks(client.data);
              for (; fed < pieces.length; fed++) plain.write(pieces[fed]);
              return got.endsWith(piece);
            },
            { what: piece },
          );
        }
        client.write('0\r\n\r\n');
        const { headers } = await client.response();
        assert.equal(headers['content-encoding'], encoding);
        client.destroy();
      });
    }
  });

  describe('cookies and sessions', () => {
    it('cookies: set, signed, cleared, and read back; forged ones are not', async () => {
      const { headers } = await get('/cookies');
      const set = headers['set-cookie'] as string[];
      assert.equal(set.length, 3);
      assert.match(set[0], /^plain=a%20b; Max-Age=60; Path=\/; Expires=.*; HttpOnly; SameSite=Lax$/);
      assert.match(set[2], /^old=; Path=\/; Expires=Thu, 01 Jan 1970/);
      const cookie = `${set[0].split(';')[0]}; ${set[1].split(';')[0]}`;
      const back = JSON.parse((await get('/cookies', { cookie })).text);
      assert.deepEqual(back, { plain: { plain: 'a b' }, signed: { signed: { n: 1 } } });
      const forged = JSON.parse((await get('/cookies', { cookie: cookie.replace('n%22%3A1', 'n%22%3A2') })).text);
      assert.deepEqual(forged.signed, { signed: false });
    });

    it('a session is kept over requests on many connections, and ends', async () => {
      const { headers } = await get('/session/visit');
      const cookie = String(headers['set-cookie']).split(';')[0];
      assert.match(cookie, /^connect\.sid=/);
      for (let visits = 2; visits < 6; visits++) {
        const again = await get('/session/visit', { cookie, connection: visits % 2 ? 'close' : 'keep-alive' });
        assert.deepEqual(JSON.parse(again.text), { visits });
      }
      assert.deepEqual(JSON.parse((await get('/session/visit')).text), { visits: 1 });
      assert.equal((await get('/session/leave', { cookie })).status, 204);
      assert.deepEqual(JSON.parse((await get('/session/visit', { cookie })).text), { visits: 1 });
    });
  });

  describe('routing and errors', () => {
    it('routers, parameters, queries, methods, redirects', async () => {
      assert.deepEqual(JSON.parse((await get('/users/ada/items/7?a=1&a=2')).text), {
        user: 'ada',
        item: 7,
        query: { a: ['1', '2'] },
      });
      assert.equal((await get('/users/ada/items/x')).status, 404);
      const put = await get('/users/ada/items/7', {}, 'PUT');
      assert.deepEqual([put.status, put.headers.allow], [405, 'GET']);
      const moved = await get('/redirect');
      assert.deepEqual([moved.status, moved.headers.location], [303, '/who']);
      assert.deepEqual(JSON.parse((await get('/nowhere')).text), { error: 'none' });
    });

    it('behind a proxy that it trusts: ip, protocol, hostname', async () => {
      const forwarded = {
        'x-forwarded-for': '203.0.113.7, 127.0.0.5',
        'x-forwarded-proto': 'https',
        'x-forwarded-host': 'example.org',
      };
      assert.deepEqual(JSON.parse((await get('/who', forwarded)).text), {
        ip: '203.0.113.7',
        ips: ['203.0.113.7', '127.0.0.5'],
        protocol: 'https',
        secure: true,
        hostname: 'example.org',
      });
      const direct = JSON.parse((await get('/who')).text);
      assert.deepEqual(direct, { ip: '127.0.0.1', ips: [], protocol: 'http', secure: false, hostname: '127.0.0.1' });
    });

    it('thrown and rejected errors come to the error middleware', async () => {
      const thrown = await get('/throw');
      assert.deepEqual([thrown.status, JSON.parse(thrown.text).error], [418, 'thrown']);
      const rejected = await get('/reject');
      assert.deepEqual([rejected.status, JSON.parse(rejected.text).error], [500, 'rejected']);
    });

    it('an error after the head cuts the response off', async () => {
      const client = await site.connect();
      client.write('GET /late HTTP/1.1\r\nHost: x\r\n\r\n');
      await client.closed();
      assert.match(client.data.toString(), /^HTTP\/1.1 200 OK[\s\S]*so far\r\n$/);
      client.destroy();
      await site.note('failed /late late');
    });
  });

  describe('clients that leave', () => {
    it('in the middle of a body', async () => {
      const client = await site.connect();
      client.write('POST /abort HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nsome of it');
      await client.send('');
      client.destroy();
      await site.note('error');
      const events = site.notes.filter((line) => /^(aborted|error|closed)/.test(line));
      assert.deepEqual(events, ['aborted true', 'closed, finished: false', 'error ECONNRESET']);
    });

    it('in the middle of a response', async () => {
      await site.leaveAmid('/hang');
      assert.equal(await site.note('left'), 'left, finished: false');
    });
  });
}

/** The chunks of a chunked response that have come whole. */
function chunks(data: Buffer): Buffer[] {
  const found: Buffer[] = [];
  let at = data.indexOf('\r\n\r\n') + 4;
  if (at < 4) return found;
  for (;;) {
    const line = data.indexOf('\r\n', at);
    if (line < 0) return found;
    const size = Number.parseInt(data.toString('latin1', at, line), 16);
    if (!(size > 0) || data.length < line + 4 + size) return found;
    found.push(data.subarray(line + 2, line + 2 + size));
    at = line + size + 4;
  }
}
