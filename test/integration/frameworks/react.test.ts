/** React on the server: the shell leaves before Suspense resolves, rendering ends when the client leaves, errors. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { request } from 'undici';
import { onEachServer, type Site } from './serve.js';

onEachServer('React', 'react.mjs:build', define);

function define(site: Site): void {
  const get = async (path: string, headers: Record<string, string> = {}) => {
    const response = await request(`${site.url}${path}`, { headers });
    return { status: response.statusCode, text: await response.body.text() };
  };

  it('the shell comes first, the slow part when it has resolved', async () => {
    const client = await site.connect();
    client.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    await client.when(() => (client.data.includes('Loading') ? true : null), 'the fallback');
    assert.match(client.data.toString(), /<h1>Shell<\/h1>/);
    assert.equal(client.data.includes('Slow part'), false);
    site.put('go');
    const { status, headers, body } = await client.response();
    assert.deepEqual([status, headers['transfer-encoding']], [200, 'chunked']);
    assert.match(body, /Loading[\s\S]*<p id="slow">Slow part<\/p>/);
    assert.match(body, /<script src="\/client.js"/);
    client.destroy();
  });

  it('a crawler gets the page when all of it is ready', async () => {
    site.put('go');
    const { status, text } = await get('/', { 'user-agent': 'crawler' });
    assert.equal(status, 200);
    assert.ok(text.includes('Slow part') && !text.includes('Loading'), text);
  });

  it('a page of 400 KB, with backpressure', async () => {
    const { text } = await get('/large');
    assert.ok(text.length > 400_000 && text.endsWith('</html>'), `${text.length}`);
    assert.ok(text.includes('paragraph 19999'));
  });

  it('a client that leaves ends the rendering', async () => {
    const client = await site.connect();
    client.write('GET /hang HTTP/1.1\r\nHost: x\r\n\r\n');
    await client.when(() => (client.data.includes('Loading') ? true : null), 'the fallback');
    client.destroy();
    await site.note('left /hang');
    await site.note('error /hang nobody waits');
  });

  it('an error in the shell is a 500, one inside Suspense leaves the rest', async () => {
    assert.deepEqual(await get('/shell'), { status: 500, text: '<p>render failed</p>' });
    const inner = await get('/inner');
    assert.match(inner.text, /<h1>Shell<\/h1>[\s\S]*Loading/);
    await site.note('error /inner render failed');
  });
}
