/** pre_request and post_request, around every kind of handler, and what becomes of those that fail. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { ask } from '../support/ask.js';
import { cleanUp, Site } from '../support/hook-site.js';
import { until } from '../support/poll.js';
import { RawClient } from '../support/raw-client.js';

after(cleanUp);

describe('hooks around requests', { concurrency: 2, timeout: 240_000 }, () => {
  it('requests: pre_request before the handler, post_request with the response; each fails in its own way', async () => {
    const hooks = `
      pre_request(worker, req) {
        note('pre_request', { url: req.url });
        if (req.url === '/refused') fail('pre_request');
        req.marked = 'by pre_request';
        if (req.url === '/slow') return wait(50).then(() => { req.marked = 'late'; });
        if (req.url === '/rejected') return wait(1).then(() => fail('the promise'));
        if (req.url === '/left') return new Promise((done) => req.on('close', done)).then(() => note('waited'));
      },
      post_request(worker, req, environ, resp) {
        note('post_request', { url: req.url, environ, status: resp.status, sent: resp.sent, headers: resp.headers });
        if (req.url === '/bad') fail('post_request');
        if (req.url === '/badly') return wait(1).then(() => fail('late post_request'));
      },`;
    const site = new Site(hooks);
    const { server } = site;
    const port = await site.serves();
    const get = async (path: string) => {
      const answer = await ask(port, path, { headers: { 'X-Two': ['a', 'b'] } });
      const find = () => site.of('post_request').find(({ url }) => url === path) ?? null;
      return { ...answer, post: (await until(find, { what: `post_request of ${path}` }))! };
    };
    const plain = await get('/a%20b?c=d');
    assert.deepEqual([plain.status, plain.headers['x-handled']], [200, 'by pre_request']);
    assert.deepEqual([plain.post.status, plain.post.sent], [200, 5]);
    assert.equal((plain.post.headers as Record<string, string>)['x-handled'], 'by pre_request');
    const environ = plain.post.environ as Record<string, string>;
    assert.deepEqual(
      [environ.REQUEST_METHOD, environ.PATH_INFO, environ.QUERY_STRING, environ.RAW_URI, environ.SERVER_PROTOCOL],
      ['GET', '/a b', 'c=d', '/a%20b?c=d', 'HTTP/1.1'],
    );
    assert.deepEqual(
      [environ.REMOTE_ADDR, environ.HTTP_HOST, environ.HTTP_X_TWO, environ.SERVER_PORT],
      ['127.0.0.1', `127.0.0.1:${port}`, 'a,b', String(port)],
    );

    assert.equal((await get('/slow')).headers['x-handled'], 'late', 'the handler has waited for the promise');
    for (const path of ['/refused', '/rejected']) {
      const { status, headers, post } = await get(path);
      assert.deepEqual([status, headers['x-handled'], post.status], [500, undefined, 500]);
      await server.waitFor(new RegExp(`Error handling request GET ${path}\\n +Error: .* is broken`));
    }
    const thrown = await get('/throw');
    assert.deepEqual([thrown.status, thrown.post.status, thrown.post.headers], [500, 500, {}]);
    for (const path of ['/bad', '/badly']) {
      assert.equal((await get(path)).status, 200);
      await server.waitFor(/Exception in post_request hook\n +Error: .*post_request is broken/);
    }

    // The client leaves while pre_request waits: the handler is not called for nobody.
    const client = await RawClient.connect(port);
    await client.send('GET /left HTTP/1.1\r\nHost: x\r\n\r\n');
    await until(() => site.of('pre_request').some(({ url }) => url === '/left'));
    client.destroy();
    await until(() => site.of('post_request').some(({ url }) => url === '/left'));
    assert.equal(site.of('post_request').find(({ url }) => url === '/left')?.status, 0);
    await site.seen('waited');

    // What is refused before it reaches the app is none of the hooks' business.
    const before = site.notes.length;
    const bad = await RawClient.connect(port);
    bad.write('GET / HTTP/1.1\r\n\r\n');
    assert.match(await bad.end(), /^HTTP\/1\.1 400 /);
    assert.equal(site.notes.length, before);
    await site.serves();
    assert.deepEqual(site.of('handler'), []);
    assert.equal(server.spawned.length, 1);
    await site.ends();
  });

  it('requests of a fetch handler and of an http.Server: the hooks see Node’s view of them', async () => {
    const hooks = `
      pre_request(worker, req) {
        if (req.url === '/refused') fail('pre_request');
        return req.url === '/slow' ? wait(20) : undefined;
      },
      post_request(worker, req, environ, resp) {
        note('post_request', { url: req.url, status: resp.status, sent: resp.sent, type: resp.headers['content-type'], length: environ.CONTENT_LENGTH });
      },`;
    const fetchApp = `export default { async fetch(request) {
      return new Response(request.method === 'POST' ? (await request.text()).toUpperCase() : 'fetched');
    } };`;
    const serverApp = `import { createServer } from 'node:http';
      const server = createServer((req, res) => res.end('plain'));
      server.on('checkContinue', (req, res) => { res.writeContinue(); req.resume(); res.end('continued'); });
      server.listen(3000);`;
    const fetched = new Site(hooks, {}, { 'app.mjs': fetchApp });
    const served = new Site(hooks, {}, { 'app.mjs': serverApp });
    const post = async (site: Site, url: string) => {
      const find = () => site.of('post_request').find((note) => note.url === url) ?? null;
      return (await until(find, { what: `post_request of ${url}` }))!;
    };
    const one = await RawClient.connect(await fetched.serves());
    for (const [head, status, body] of [
      ['GET /a HTTP/1.1\r\nHost: x\r\n\r\n', 200, 'fetched'],
      ['POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody', 200, 'BODY'],
      ['POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nquick', 200, 'QUICK'],
      ['GET /refused HTTP/1.1\r\nHost: x\r\n\r\n', 500, 'Internal Server Error'],
    ] as const) {
      one.write(head);
      const answer = await one.response();
      assert.equal(answer.status, status, head);
      assert.ok(answer.body.includes(body), answer.body);
    }
    one.destroy();
    const a = await post(fetched, '/a');
    assert.deepEqual([a.status, a.sent, a.type], [200, 7, 'text/plain;charset=UTF-8']);
    const slow = await post(fetched, '/slow');
    assert.deepEqual([slow.status, slow.sent, slow.length], [200, 4, '4']);
    assert.equal((await post(fetched, '/refused')).status, 500);
    await fetched.ends();

    const two = await RawClient.connect(await served.serves());
    two.write('POST /c HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n');
    assert.equal((await two.response()).status, 100);
    two.write('body');
    assert.equal((await two.response()).body, 'continued');
    two.destroy();
    assert.equal((await post(served, '/c')).status, 200);
    await served.ends();
  });
});
