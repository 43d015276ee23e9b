/** Fastify 5: schemas, hooks in their order, streams, hijacked replies, multipart, errors, logging, onClose at the end. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { FormData, fetch, request } from 'undici';
import { until } from '../../support/poll.js';
import { onEachServer, SERVERS, Site } from './serve.js';

const digest = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');

onEachServer('Fastify', 'fastify.mjs:build', define, {
  prepare: (site) => site.put('large.bin', randomBytes(3 << 20)),
});

function define(site: Site): void {
  const post = async (path: string, body: unknown, headers: Record<string, string> = {}) => {
    const response = await request(`${site.url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
    const text = await response.body.text();
    return { status: response.statusCode, headers: response.headers, body: JSON.parse(text) };
  };
  const hooksOf = (id: string) =>
    site.notes.filter((line) => line.startsWith(`hook ${id} `)).map((line) => line.split(' ')[2]);

  it('schemas: what is valid is coerced, what is not is 400, and the answer has only what its schema has', async () => {
    const key = { 'x-key': 'secret' };
    const good = await post('/users/7?dry=true', { name: 'ada' }, key);
    assert.deepEqual([good.status, good.body], [201, { id: 7, dry: true, name: 'ada' }]);
    for (const [path, body, headers, place] of [
      ['/users/x', { name: 'a' }, key, 'params/id'],
      ['/users/1?dry=maybe', { name: 'a' }, key, 'querystring/dry'],
      ['/users/1', { name: 'a', age: -1 }, key, 'body/age'],
      ['/users/1', {}, key, 'body must have'],
      ['/users/1', { name: 'a' }, {}, 'headers must have'],
    ] as const) {
      const bad = await post(path, body, headers as Record<string, string>);
      assert.deepEqual([bad.status, bad.body.code], [400, 'FST_ERR_VALIDATION']);
      assert.ok(bad.body.message.startsWith(place), bad.body.message);
    }
  });

  it('bodies: broken 400, too large 413, of an unknown type 415', async () => {
    assert.equal((await post('/hooks', '{"a":')).status, 400);
    assert.equal((await post('/hooks', { a: 'x'.repeat(5000) })).status, 413);
    assert.equal((await post('/hooks', 'a', { 'content-type': 'application/x-unknown' })).status, 415);
  });

  it('hooks come in order, also where the handler throws', async () => {
    const { headers, body } = await post('/hooks?id=good', { n: 1 });
    assert.deepEqual(body, { body: { n: 1 }, hooked: true });
    assert.equal(headers['x-length'], String(JSON.stringify(body).length));
    await site.note('hook good onResponse');
    const before = ['onRequest', 'preParsing', 'preValidation', 'preHandler'];
    assert.deepEqual(hooksOf('good'), [...before, 'preSerialization', 'onSend', 'onResponse']);
    const failed = await post('/hooks/fail?id=bad', { n: 1 });
    assert.deepEqual([failed.status, failed.body.message], [418, 'teapot']);
    await site.note('hook bad onResponse');
    const after = hooksOf('bad');
    assert.deepEqual(after.slice(0, 4), before);
    for (const name of ['onError', 'onSend', 'onResponse']) assert.ok(after.includes(name), after.join());
  });

  it('onRequestAbort when the client leaves', async () => {
    const client = await site.connect();
    client.write('GET /hooks/never?id=gone HTTP/1.1\r\nHost: x\r\n\r\n');
    await site.note('hook gone handler');
    client.destroy();
    await site.note('hook gone onRequestAbort');
  });

  it('streams: a file, a web Response, and one that breaks', async () => {
    const file = await request(`${site.url}/file`);
    assert.equal(file.headers['content-type'], 'application/octet-stream');
    const expected = digest(readFileSync(join(site.folder, 'large.bin')));
    assert.equal(digest(await file.body.bytes()), expected);
    const web = await request(`${site.url}/web`);
    assert.deepEqual([web.statusCode, web.headers['x-web'], await web.body.text()], [202, '1', 'from the web']);
    const client = await site.connect();
    client.write('GET /broken HTTP/1.1\r\nHost: x\r\n\r\n');
    await client.closed();
    assert.match(client.data.toString(), /^HTTP\/1.1 200 OK[\s\S]*some\r\n$/);
    client.destroy();
  });

  it('a hijacked reply is written raw', async () => {
    const { headers, body } = await request(`${site.url}/hijack`);
    assert.deepEqual([headers['x-raw'], await body.text()], ['yes', 'raw response']);
  });

  it('multipart: 20 MB and fields, streamed', async () => {
    const data = randomBytes(20 << 20);
    const form = new FormData();
    form.append('title', 'large');
    form.append('file', new Blob([data as Uint8Array<ArrayBuffer>]), 'large.bin');
    form.append('file', new Blob(['small']), 'small.txt');
    const response = await fetch(`${site.url}/upload`, { method: 'POST', body: form });
    assert.deepEqual(await response.json(), {
      files: [
        { name: 'large.bin', size: data.length, digest: digest(data) },
        { name: 'small.txt', size: 5, digest: digest(Buffer.from('small')) },
      ],
      fields: { title: 'large' },
    });
  });

  it('an error handler, 404, HEAD, and the log', async () => {
    const failed = await request(`${site.url}/fail`);
    assert.deepEqual([failed.statusCode, failed.headers['retry-after']], [503, '1']);
    assert.deepEqual(await failed.body.json(), { custom: 'no good' });
    const none = await request(`${site.url}/none`);
    assert.equal(((await none.body.json()) as { statusCode: number }).statusCode, 404);
    const head = await request(site.url, { method: 'HEAD' });
    assert.deepEqual([head.statusCode, head.headers['content-length']], [200, '5']);
    const lines = () => site.notes.filter((line) => line.startsWith('log ')).map((line) => JSON.parse(line.slice(4)));
    const done = await until(
      () => lines().find(({ msg, res }) => msg === 'request completed' && res.statusCode === 503),
      {
        what: 'the line of the failed request',
      },
    );
    const begun = lines().find(({ msg, req }) => msg === 'incoming request' && req.url === '/fail');
    assert.deepEqual([begun.req.method, begun.req.remoteAddress], ['GET', '127.0.0.1']);
    assert.ok(done.responseTime >= 0);
  });
}

describe('Fastify, the end', () => {
  for (const name of Object.keys(SERVERS).filter((server) => SERVERS[server] !== null)) {
    it(`onClose runs to its end in every thread at TERM, ${name}`, async () => {
      const site = new Site();
      let notes: string[] = [];
      try {
        await site.start('fastify.mjs:build', SERVERS[name]);
        assert.equal(await (await request(site.url)).body.text(), 'hello');
        await site.tunicorn!.stop();
        notes = site.notes;
      } finally {
        await site.stop();
      }
      const closed = notes.filter((line) => line === 'closed').length;
      assert.equal(closed, name === 'sync' ? 1 : 2);
    });
  }
});

onEachServer('Fastify, logger: true', 'fastify.mjs:logging', (site) => {
  it('prints JSON lines', async () => {
    assert.equal(await (await request(site.url)).body.text(), 'logged');
    await until(() => site.output.includes('"msg":"request completed"'), { what: 'the line' });
    assert.match(site.output, /"reqId":"[^"]+","msg":"in the handler"/);
  });
});
