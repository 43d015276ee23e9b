/** What a fetch handler sees of a request, and what of its Response reaches the client, through the real engine. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { FormData, request } from 'undici';
import { HttpServer } from '../support/http-server.js';

describe('http, fetch handlers', () => {
  let server: HttpServer;
  before(async () => {
    server = await HttpServer.start('http-fetch.mjs', ['--threads', '2']);
  });
  after(() => server?.stop());

  it('url, method and headers', async () => {
    const client = await server.connect();
    client.write('GET /url?q=%20a HTTP/1.1\r\nHost: example.org:81\r\nUser-Agent: t/1\r\nX-A: 1\r\nx-a: 2\r\n\r\n');
    const seen = JSON.parse((await client.response()).body);
    assert.equal(seen.url, 'http://example.org:81/url?q=%20a');
    assert.equal(seen.ua, 't/1');
    assert.deepEqual(
      seen.headers.filter(([name]: [string]) => name === 'x-a'),
      [['x-a', '1, 2']],
    );
    client.write('GET http://other.example/url HTTP/1.1\r\nHost: other.example\r\n\r\n');
    assert.equal(JSON.parse((await client.response()).body).url, 'http://other.example/url');
    client.write('GET /url HTTP/1.0\r\n\r\n');
    assert.equal(JSON.parse((await client.response()).body).url, `${server.url}/url`);
    client.destroy();
  });

  it('json, text and form bodies', async () => {
    const json = await request(`${server.url}/json`, { method: 'POST', body: JSON.stringify({ a: ['\u00e9', 1] }) });
    assert.equal(json.statusCode, 202);
    assert.match(String(json.headers['content-type']), /^application\/json/);
    assert.deepEqual(await json.body.json(), { a: ['\u00e9', 1] });
    const form = new FormData();
    form.set('name', 'value');
    form.set('file', new File(['content'], 'f.txt'));
    const answer = await request(`${server.url}/form`, { method: 'POST', body: form as never });
    assert.deepEqual(await answer.body.json(), [
      ['name', 'value'],
      ['file', 'f.txt'],
    ]);
  });

  it('several Set-Cookie fields stay several', async () => {
    const client = await server.connect();
    client.write('GET /cookies HTTP/1.1\r\nHost: x\r\n\r\n');
    const { head } = await client.response();
    assert.deepEqual(head.match(/set-cookie: .*/gi), ['set-cookie: a=1; Path=/', 'set-cookie: b=2']);
    client.destroy();
  });

  it('a body of GET is thrown away, the connection kept', async () => {
    const client = await server.connect();
    client.write('GET /hello HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n');
    assert.equal((await client.response()).body, 'hello');
    client.write('3\r\nabc\r\n0\r\n\r\nGET /url HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.equal(JSON.parse((await client.response()).body).method, 'GET');
    client.destroy();
  });

  it('a body that came whole is there when its handler asks for it after the response', async () => {
    for (const how of ['text', 'body', 'clone']) {
      const client = await server.connect();
      client.write(`POST /after?${how} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nfirst`);
      client.write('POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nsecond');
      assert.equal((await client.response()).body, 'accepted');
      assert.equal((await client.response()).body, 'hello');
      await server.waitFor(`${how} gives first\n`);
      client.destroy();
    }
  });

  it('one that came later than the response is an error then, not an empty body', async () => {
    const client = await server.connect();
    await client.send('POST /after?partly HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nfir');
    assert.equal((await client.response()).body, 'accepted');
    client.write('st');
    await server.waitFor('partly gives an error\n');
    client.destroy();
  });

  it('the shared header list of text responses is the same after all this', async () => {
    for (let i = 0; i < 3; i++) {
      const { headers, body } = await request(`${server.url}/hello`);
      await body.dump();
      assert.equal(headers['content-type'], 'text/plain;charset=UTF-8');
      assert.deepEqual(Object.keys(headers).sort(), [
        'connection',
        'content-length',
        'content-type',
        'date',
        'keep-alive',
      ]);
    }
  });
});
