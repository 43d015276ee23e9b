/** Koa 3: bodies, streams both ways, cookies, errors thrown and told by event. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { request } from 'undici';
import { onEachServer, type Site } from './serve.js';

onEachServer('Koa', 'koa.mjs:build', define, { prepare: (site) => site.put('large.bin', randomBytes(3 << 20)) });

function define(site: Site): void {
  const get = async (path: string, headers: Record<string, string> = {}) => {
    const response = await request(`${site.url}${path}`, { headers });
    return { status: response.statusCode, headers: response.headers, text: await response.body.text() };
  };
  const post = async (path: string, type: string, body: string) => {
    const response = await request(`${site.url}${path}`, { method: 'POST', headers: { 'content-type': type }, body });
    return { status: response.statusCode, text: await response.body.text() };
  };

  it('middleware around the handler, and bodies of every kind', async () => {
    const hello = await get('/');
    assert.deepEqual([hello.status, hello.text, hello.headers['content-length']], [200, 'hello', '5']);
    assert.match(String(hello.headers['x-response-time']), /^\d+ms$/);
    assert.equal((await get('/buffer')).headers['content-type'], 'application/octet-stream');
    const empty = await get('/empty');
    assert.deepEqual([empty.status, empty.text, empty.headers['content-type']], [204, '', undefined]);
    const web = await get('/web');
    assert.deepEqual([web.text, web.headers['x-web']], ['from the web', '1']);
    assert.equal((await get('/raw')).text, 'raw');
    assert.equal((await get('/none')).status, 404);
    const head = await request(site.url, { method: 'HEAD' });
    assert.deepEqual([head.statusCode, head.headers['content-length']], [200, '5']);
    assert.deepEqual((await get('/redirect')).headers.location, '/who');
  });

  it('the body parser', async () => {
    const json = await post('/json', 'application/json', '{"a":[1]}');
    assert.deepEqual(JSON.parse(json.text), { got: { a: [1] }, type: 'application/json' });
    const form = await post('/json', 'application/x-www-form-urlencoded', 'a=1&b=%C3%A9');
    assert.deepEqual(JSON.parse(form.text).got, { a: '1', b: 'é' });
    assert.equal((await post('/json', 'application/json', '{"a"')).status, 400);
    assert.equal((await post('/json', 'application/json', JSON.stringify('x'.repeat(2000)))).status, 413);
  });

  it('streams: a file, an echo while it comes, and one that breaks', async () => {
    const file = await request(`${site.url}/file`);
    assert.ok(readFileSync(join(site.folder, 'large.bin')).equals(await file.body.bytes()));
    const client = await site.connect();
    client.write('PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Type: x/y\r\nTransfer-Encoding: chunked\r\n\r\n');
    for (const piece of ['abc', 'def']) {
      client.write(`3\r\n${piece}\r\n`);
      await client.when(() => (client.data.includes(`3\r\n${piece}\r\n`) ? true : null), piece);
    }
    client.write('0\r\n\r\n');
    assert.equal((await client.response()).body, 'abcdef');
    client.destroy();
    const broken = await site.connect();
    broken.write('GET /broken HTTP/1.1\r\nHost: x\r\n\r\n');
    await broken.closed();
    assert.match(broken.data.toString(), /^HTTP\/1.1 200 OK[\s\S]*some\r\n$/);
    broken.destroy();
    await site.note('error /broken broken stream');
  });

  it('errors: thrown, asserted, and a bug', async () => {
    const thrown = await get('/throw');
    assert.deepEqual([thrown.status, thrown.text, thrown.headers['x-pot']], [418, 'short and stout', 'tea']);
    assert.equal((await get('/assert')).status, 401);
    const bug = await get('/bug');
    assert.deepEqual([bug.status, bug.text], [500, 'Internal Server Error']);
    await site.note('error /bug a bug');
    assert.equal((await get('/')).status, 200);
  });

  it('cookies, signed ones too', async () => {
    const { headers } = await get('/cookies');
    const set = headers['set-cookie'] as string[];
    assert.deepEqual(
      set.map((line) => line.split('=')[0]),
      ['plain', 'signed', 'signed.sig'],
    );
    const cookie = set.map((line) => line.split(';')[0]).join('; ');
    assert.deepEqual(JSON.parse((await get('/cookies', { cookie })).text), { plain: 'a', signed: 'b' });
    const forged = cookie.replace('signed=b', 'signed=c');
    assert.deepEqual(JSON.parse((await get('/cookies', { cookie: forged })).text), { plain: 'a' });
  });

  it('behind a proxy, and freshness', async () => {
    const headers = {
      'x-forwarded-for': '203.0.113.7, 10.0.0.1',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'example.org',
    };
    const who = JSON.parse((await get('/who', headers)).text);
    assert.deepEqual(who, {
      ip: '203.0.113.7',
      ips: ['203.0.113.7', '10.0.0.1'],
      protocol: 'https',
      host: 'example.org',
      fresh: false,
    });
    assert.equal(JSON.parse((await get('/who')).text).ip, '127.0.0.1');
    const { headers: first } = await get('/fresh');
    const again = await get('/fresh', { 'if-none-match': String(first.etag) });
    assert.deepEqual([again.status, again.text], [304, '']);
  });

  it('a client that leaves ends the stream it was sent', async () => {
    await site.leaveAmid('/hang');
    await site.note('response closed, finished: false');
    await site.note('stream closed');
  });
}
