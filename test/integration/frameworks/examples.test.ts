/** Each example starts with the command that examples/README.md prints, and does what its page of curl says. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { request } from 'undici';
import { HttpServer } from '../../support/http-server.js';

const README = readFileSync(fileURLToPath(new URL('../../../../examples/README.md', import.meta.url)), 'utf8');
/** What stands behind `npx tunicorn` there. listen.test.ts has the one that listens by itself. */
const SPECS = [...README.matchAll(/`npx tunicorn '?(examples\/[^`']+)'?`/g)]
  .map(([, spec]) => spec)
  .filter((spec) => !spec.startsWith('examples/listen/'));

async function json(url: string, body: unknown) {
  const headers = { 'content-type': 'application/json' };
  const response = await request(url, { method: 'POST', headers, body: JSON.stringify(body) });
  const text = await response.body.text();
  return { status: response.statusCode, body: JSON.parse(text) as Record<string, unknown> };
}

/** What an example does besides its hello, by folder. */
const FEATURES: Record<string, (url: string) => Promise<void>> = {
  async express(url) {
    assert.deepEqual(await json(`${url}/json`, { a: [1] }), { status: 200, body: { a: [1] } });
    assert.equal((await request(`${url}/cpu?ms=1`)).statusCode, 200);
    const failed = await request(`${url}/error`);
    assert.equal(failed.statusCode, 500);
    assert.equal(((await failed.body.json()) as { error: string }).error, 'Internal error');
    assert.equal((await request(`${url}/none`)).statusCode, 404);
  },
  async express4(url) {
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const created = await request(`${url}/notes`, { method: 'POST', headers, body: 'text=a%20note' });
    assert.deepEqual([created.statusCode, created.headers.location], [201, '/notes/a%20note']);
    assert.deepEqual(await created.body.json(), { text: 'a note' });
    const read = await request(`${url}/notes/a%20note`, { headers: { accept: 'text/plain' } });
    assert.equal(await read.body.text(), 'a note');
    assert.equal((await request(`${url}/notes`, { method: 'POST', headers, body: 'text=' })).statusCode, 422);
  },
  async fastify(url) {
    assert.deepEqual(await json(`${url}/json`, { name: 'n' }), { status: 200, body: { name: 'n' } });
    assert.equal((await json(`${url}/json`, { no: 'n' })).status, 400);
  },
  async koa(url) {
    assert.match(String((await request(url)).headers['x-response-time']), /ms$/);
    assert.equal((await request(`${url}/none`)).statusCode, 404);
  },
  async hono(url) {
    assert.deepEqual(await json(`${url}/json`, { name: 'n' }), { status: 200, body: { name: 'n' } });
    assert.equal((await json(`${url}/json`, {})).status, 400);
    assert.equal((await (await request(`${url}/events`)).body.text()).match(/event: tick/g)?.length, 3);
  },
  async 'hono-node-server'(url) {
    assert.deepEqual(await json(`${url}/json`, { a: 1 }), { status: 200, body: { a: 1 } });
    assert.deepEqual(await (await request(`${url}/peer`)).body.json(), { address: '127.0.0.1' });
  },
  async nestjs(url) {
    assert.deepEqual(await (await request(`${url}/cats/1`)).body.json(), { id: 1, name: 'Tom', age: 5 });
    assert.equal((await request(`${url}/cats/2`)).statusCode, 404);
    assert.deepEqual(await json(`${url}/cats`, { name: 'Kit', age: 1 }), {
      status: 201,
      body: { name: 'Kit', age: 1 },
    });
    assert.equal((await json(`${url}/cats`, { name: 'K', age: 99 })).status, 400);
  },
  async h3(url) {
    assert.deepEqual(await (await request(`${url}/hello/ada`)).body.json(), { hello: 'ada' });
    assert.deepEqual(await json(`${url}/json`, { name: 'n' }), { status: 200, body: { name: 'n' } });
    assert.equal((await json(`${url}/json`, {})).status, 400);
  },
  async react(url) {
    const page = await (await request(`${url}/?ms=10`)).body.text();
    assert.match(page, /Loading[\s\S]*<blockquote>Threads are cheap/);
    assert.equal((await request(`${url}/none`)).statusCode, 404);
  },
  async fetch(url) {
    assert.deepEqual(await json(`${url}/json`, { a: 1 }), { status: 200, body: { a: 1 } });
    assert.equal(
      await (await request(`${url}/events`)).body.text(),
      'data: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\ndata: 5\n\n',
    );
  },
};

describe('examples', () => {
  it('the README lists all of them', () => {
    assert.deepEqual(SPECS.map((spec) => spec.split('/')[1]).sort(), Object.keys(FEATURES).sort());
  });

  for (const spec of SPECS) {
    it(spec, async () => {
      const server = await HttpServer.start(spec, ['--threads', '1']);
      try {
        const hello = await request(server.url);
        assert.equal(hello.statusCode, 200);
        assert.match(await hello.body.text(), /Hello, World!/);
        await FEATURES[spec.split('/')[1]](server.url);
      } finally {
        await server.stop();
      }
    });
  }
});
