/** h3, by its fetch and by toNodeHandler: handlers, bodies, cookies, streams, errors. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { FormData, fetch, request } from 'undici';
import { GTHREAD, NODE, onEachServer, type Site } from './serve.js';

onEachServer('h3, fetch', 'h3.mjs:direct', define);
onEachServer(
  'h3, listener',
  'h3.mjs:listener',
  (site) => {
    define(site);
    it('knows the address of its client', async () => {
      const { body } = await request(`${site.url}/ip`);
      assert.deepEqual(await body.json(), { ip: '127.0.0.1' });
    });
  },
  { servers: [NODE, GTHREAD] },
);

function define(site: Site): void {
  const get = async (path: string, headers: Record<string, string> = {}) => {
    const response = await request(`${site.url}${path}`, { headers });
    return { status: response.statusCode, headers: response.headers, text: await response.body.text() };
  };
  const post = async (path: string, body: string | Uint8Array, type = 'application/json') => {
    const response = await request(`${site.url}${path}`, { method: 'POST', headers: { 'content-type': type }, body });
    return { status: response.statusCode, text: await response.body.text() };
  };

  it('handlers: what they return becomes the response', async () => {
    const hello = await get('/');
    assert.deepEqual([hello.text, hello.headers['x-middleware']], ['hello', 'was here']);
    assert.deepEqual(JSON.parse((await get('/users/7?a=1&a=2')).text), { id: '7', query: { a: ['1', '2'] } });
    assert.equal((await get('/timed/thing')).status, 203);
    await site.note('response /timed/thing 203');
    assert.equal((await get('/null')).text, '');
    const { body } = await request(`${site.url}/bytes`);
    assert.deepEqual([...(await body.bytes())], [1, 2, 3]);
    const made = await get('/response');
    assert.deepEqual([made.status, made.text, made.headers['x-made']], [201, 'made', 'yes']);
    const moved = await get('/redirect');
    assert.deepEqual([moved.status, moved.headers.location], [302, '/users/1']);
    const head = await request(site.url, { method: 'HEAD' });
    assert.deepEqual([head.statusCode, await head.body.text()], [200, '']);
  });

  it('bodies: JSON, validated, a form with a file, 2 MB', async () => {
    assert.equal((await post('/json', '{"a":[1]}')).text.replace(/\s/g, ''), '{"got":{"a":[1]}}');
    assert.equal((await post('/json', '{"a"')).status, 400);
    assert.equal((await post('/valid', '{"n":1}')).status, 200);
    assert.equal((await post('/valid', '{"n":"x"}')).status, 400);
    const form = new FormData();
    form.append('title', 'grüße');
    form.append('file', new Blob(['content']), 'a.txt');
    const response = await fetch(`${site.url}/form`, { method: 'POST', body: form });
    assert.deepEqual(await response.json(), { title: 'grüße', name: 'a.txt', text: 'content' });
    assert.deepEqual(JSON.parse((await post('/size', new Uint8Array(2 << 20), 'x/y')).text), { size: 2 << 20 });
  });

  it('cookies', async () => {
    const { headers } = await get('/cookies');
    const set = headers['set-cookie'] as string[];
    assert.deepEqual(set.slice(0, 2), ['a=1; Path=/; HttpOnly', 'b=2; Path=/']);
    assert.match(set[2], /^old=; Max-Age=0/);
    assert.deepEqual(JSON.parse((await get('/cookies', { cookie: 'a=back' })).text), { a: 'back' });
  });

  it('streams: pieces as they come, an echo, events', async () => {
    const client = await site.connect();
    client.write('GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    for (const piece of ['one', 'two', 'three']) {
      assert.equal(client.data.includes(piece), false);
      site.put(piece);
      await client.when(() => (client.data.includes(piece) ? true : null), piece);
    }
    assert.equal((await client.response()).body, 'one two three');
    client.destroy();
    assert.equal(await site.echoInPieces('Connection: close\r\n'), 'abcdef');
    const events = await get('/sse');
    assert.match(String(events.headers['content-type']), /^text\/event-stream/);
    assert.equal(events.text, 'data: first\n\nid: 2\nevent: tick\ndata: second\n\n');
  });

  it('a client that leaves cancels the stream', async () => {
    await site.leaveAmid('/hang');
    await site.note('stream cancelled');
  });

  it('errors', async () => {
    const pot = await get('/teapot');
    const { message, data } = JSON.parse(pot.text);
    assert.deepEqual([pot.status, message, data], [418, 'short', { stout: true }]);
    assert.equal((await get('/bug')).status, 500);
    await site.note('error /bug a bug');
    assert.equal((await get('/none')).status, 404);
    assert.equal((await get('/')).text, 'hello');
  });
}
