/** Hono, by its fetch and by node-server's listener: routing, validation, streams, cookies, errors. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { it } from 'node:test';
import { FormData, fetch, request } from 'undici';
import { GTHREAD, NODE, onEachServer, type Site } from './serve.js';

onEachServer('Hono, fetch', 'hono.mjs:direct', define);
onEachServer('Hono, listener', 'hono.mjs:listener', define, { servers: [NODE, GTHREAD] });

function define(site: Site): void {
  const get = async (path: string, headers: Record<string, string> = {}) => {
    const response = await request(`${site.url}${path}`, { headers });
    return { status: response.statusCode, headers: response.headers, text: await response.body.text() };
  };
  const post = async (path: string, type: string, body: string | Uint8Array) => {
    const response = await request(`${site.url}${path}`, { method: 'POST', headers: { 'content-type': type }, body });
    return { status: response.statusCode, headers: response.headers, bytes: Buffer.from(await response.body.bytes()) };
  };

  it('routing and responses', async () => {
    const hello = await get('/');
    assert.deepEqual([hello.status, hello.text], [200, 'hello']);
    // The platform's Response writes it without a space, node-server with one.
    assert.match(String(hello.headers['content-type']), /^text\/plain; ?charset=UTF-8$/);
    assert.deepEqual(JSON.parse((await get('/users/7?tag=a&tag=b')).text), { id: 7, tags: ['a', 'b'] });
    assert.deepEqual(JSON.parse((await get('/users/x')).text), { none: '/users/x' });
    const html = await get('/html');
    assert.deepEqual([html.status, html.headers['x-a'], html.text], [201, 'a', '<p>hi</p>']);
    const empty = await get('/empty');
    assert.deepEqual([empty.status, empty.text], [204, '']);
    const moved = await get('/redirect');
    assert.deepEqual([moved.status, moved.headers.location], [301, '/html']);
    const headers = await get('/headers', { 'user-agent': 'me' });
    assert.deepEqual(JSON.parse(headers.text), { agent: 'me', url: `${site.url}/headers`, method: 'GET' });
    assert.equal(headers.headers['x-many'], 'one, two');
    const head = await request(site.url, { method: 'HEAD' });
    assert.deepEqual([head.statusCode, await head.body.text()], [200, '']);
    // Hono throws the body of its GET handler away: nobody knows its length, and 0 would be wrong.
    assert.equal(head.headers['content-length'], undefined);
  });

  it('middleware: cors, etag, headers after the handler', async () => {
    const thing = await get('/api/thing', { origin: 'https://example.org' });
    assert.deepEqual([thing.text, thing.headers['x-after']], ['thing', '200']);
    assert.equal(thing.headers['access-control-allow-origin'], 'https://example.org');
    const again = await get('/api/thing', { 'if-none-match': String(thing.headers.etag) });
    assert.deepEqual([again.status, again.text], [304, '']);
    const preflight = await request(`${site.url}/api/thing`, {
      method: 'OPTIONS',
      headers: { origin: 'https://example.org', 'access-control-request-method': 'PUT' },
    });
    assert.equal(preflight.statusCode, 204);
    assert.match(String(preflight.headers['access-control-allow-methods']), /PUT/);
  });

  it('bodies: validated JSON, a form with a file, bytes, limits', async () => {
    assert.equal((await post('/validated', 'application/json', '{"n":21}')).bytes.toString(), '{"twice":42}');
    assert.equal((await post('/validated', 'application/json', '{"n":"x"}')).status, 422);
    assert.equal((await post('/validated', 'application/json', '{"n":')).status, 400);
    const form = new FormData();
    form.append('title', 'grüße');
    form.append('file', new Blob(['content']), 'a.txt');
    const response = await fetch(`${site.url}/form`, { method: 'POST', body: form });
    assert.deepEqual(await response.json(), { fields: { title: 'grüße' }, name: 'a.txt', size: 7, text: 'content' });
    const data = randomBytes(1 << 20);
    assert.ok((await post('/bytes', 'x/y', data)).bytes.equals(data));
    assert.equal((await post('/limited', 'text/plain', 'x'.repeat(900))).bytes.toString(), '900');
    assert.equal((await post('/limited', 'text/plain', 'x'.repeat(1100))).status, 413);
  });

  it('several Set-Cookie, and signed ones', async () => {
    const { headers } = await get('/cookies');
    const set = headers['set-cookie'] as string[];
    assert.equal(set.length, 3);
    assert.deepEqual(set.slice(0, 2), ['a=1; Path=/; HttpOnly', 'b=zwei; Max-Age=60; Path=/']);
    const cookie = set.map((line) => line.split(';')[0]).join('; ');
    const back = JSON.parse((await get('/cookies', { cookie })).text);
    assert.deepEqual([back.plain.a, back.plain.b, back.signed], ['1', 'zwei', 'value']);
    assert.equal(
      JSON.parse((await get('/cookies', { cookie: cookie.replace('s=value', 's=other') })).text).signed,
      false,
    );
  });

  it('streams: events as they happen, text, 4 MB, an echo while it comes', async () => {
    const client = await site.connect();
    client.write('GET /sse HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    for (const id of [1, 2, 3]) {
      assert.equal(client.data.includes(`id: ${id}`), false);
      site.put(`event-${id}`);
      const event = `event: tick\ndata: line ${id}\ndata: more\nid: ${id}\n\n`;
      await client.when(() => (client.data.includes(event) ? true : null), event);
    }
    assert.match((await client.response()).headers['content-type'], /^text\/event-stream/);
    client.destroy();
    assert.equal((await get('/text')).text, 'one\ntwo\n');
    const { body } = await request(`${site.url}/large`);
    assert.equal((await body.bytes()).length, 4 << 20);
    assert.equal(await site.echoInPieces(), 'abcdef');
  });

  it('a client that leaves aborts the stream', async () => {
    await site.leaveAmid('/hang');
    await site.note('stream aborted');
  });

  it('errors: an HTTPException, a bug, and the server goes on', async () => {
    const refused = await get('/refuse');
    assert.deepEqual([refused.status, refused.text, refused.headers['x-why']], [401, 'who?', 'w']);
    const bug = await get('/bug');
    assert.deepEqual([bug.status, JSON.parse(bug.text)], [500, { error: 'a bug' }]);
    await site.note('error /bug a bug');
    assert.equal((await get('/')).text, 'hello');
  });
}
