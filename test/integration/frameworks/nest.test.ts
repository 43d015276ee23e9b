/** NestJS on Express: injection, pipes, guards, interceptors, filters, uploads, streams and events. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { FormData, fetch, request } from 'undici';
import { GTHREAD, NODE, onEachServer, type Site } from './serve.js';

onEachServer('NestJS', 'nest.mjs:build', define, {
  servers: [NODE, GTHREAD],
  prepare: (site) => site.put('large.bin', randomBytes(1 << 20)),
});

function define(site: Site): void {
  const get = async (path: string, headers: Record<string, string> = {}) => {
    const response = await request(`${site.url}/people/${path}`, { headers });
    return { status: response.statusCode, headers: response.headers, text: await response.body.text() };
  };
  const post = async (path: string, body: unknown) => {
    const headers = { 'content-type': 'application/json' };
    const response = await request(`${site.url}/people${path}`, {
      method: 'POST',
      headers,
      body: JSON.stringify(body),
    });
    return { status: response.statusCode, body: (await response.body.json()) as Record<string, unknown> };
  };

  it('controllers, injection, middleware, headers, redirects', async () => {
    const hello = await get('hello?name=Ada');
    assert.deepEqual([hello.status, hello.text], [200, 'Hello, Ada!']);
    assert.deepEqual([hello.headers['x-greets'], hello.headers['x-middleware']], ['yes', 'was here']);
    assert.equal((await get('hello')).text, 'Hello, World!');
    assert.deepEqual(JSON.parse((await get('one/7', { 'user-agent': 'me' })).text), { id: 7, agent: 'me' });
    const moved = await get('moved');
    assert.deepEqual([moved.status, moved.headers.location], [302, '/people/hello']);
    assert.equal(JSON.parse((await get('none')).text).statusCode, 404);
    assert.equal((await get('raw')).text, 'by hand');
    await site.note('closed /people/raw true');
  });

  it('pipes: what is valid becomes an object of its class, what is not 400', async () => {
    const person = { email: 'ada@example.org', age: 36 };
    assert.deepEqual(await post('', person), { status: 201, body: { person, isPerson: true } });
    const bad = await post('', { email: 'nobody', age: 7, admin: true });
    assert.equal(bad.status, 400);
    assert.deepEqual((bad.body.message as string[]).sort(), [
      'age must not be less than 18',
      'email must be an email',
      'property admin should not exist',
    ]);
    assert.equal((await get('one/x')).status, 400);
  });

  it('guards, interceptors, filters, exceptions', async () => {
    assert.equal((await get('guarded', { 'x-key': 'right' })).text, 'in');
    assert.equal((await get('guarded')).status, 403);
    assert.equal(JSON.parse((await get('guarded', { 'x-key': 'wrong' })).text).message, 'wrong key');
    assert.deepEqual(await post('/wrapped', {}), { status: 200, body: { data: [1, 2] } });
    const odd = await get('odd');
    assert.deepEqual([odd.status, JSON.parse(odd.text)], [409, { odd: 'numbers' }]);
    const bad = await get('bad');
    assert.deepEqual([bad.status, JSON.parse(bad.text)], [400, { why: 'because' }]);
    const bug = await get('bug');
    assert.deepEqual([bug.status, JSON.parse(bug.text).message], [500, 'Internal server error']);
  });

  it('uploads through FileInterceptor, and their limit', async () => {
    const upload = async (text: string) => {
      const form = new FormData();
      form.append('title', 'small');
      form.append('file', new Blob([text]), 'a.txt');
      const response = await fetch(`${site.url}/people/upload`, { method: 'POST', body: form });
      return { status: response.status, body: await response.json() };
    };
    const expected = { name: 'a.txt', size: 7, text: 'content', title: 'small' };
    assert.deepEqual(await upload('content'), { status: 201, body: expected });
    assert.equal((await upload('x'.repeat(2000))).status, 413);
  });

  it('a StreamableFile, and server-sent events', async () => {
    const { headers, body } = await request(`${site.url}/people/file`);
    assert.equal(headers['content-disposition'], 'attachment');
    assert.ok(readFileSync(join(site.folder, 'large.bin')).equals(await body.bytes()));
    const events = await get('events');
    assert.match(String(events.headers['content-type']), /^text\/event-stream/);
    for (const n of [1, 2, 3]) assert.match(events.text, new RegExp(`id: ${n}\ndata: {"n":${n}}\n\n`));
  });
}
