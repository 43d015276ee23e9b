/** Handlers written for node:http that do what is unusual: they are served as there. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { HttpServer } from '../support/http-server.js';

describe('habits of handlers for node:http', () => {
  let server: HttpServer;
  before(async () => {
    server = await HttpServer.start('node-habits.mjs', ['--threads', '1']);
  });
  after(() => server?.stop());

  const get = async (path: string) => {
    const client = await server.connect();
    client.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    const { status, body, headers } = await client.response();
    client.destroy();
    return `${status} ${headers.connection} ${body}`;
  };

  for (const path of ['/status-message', '/status-code'])
    it(`an error page behind a response that could not be made, ${path}`, async () => {
      assert.equal(await get(path), '500 keep-alive error page');
      assert.doesNotMatch(server.log, /ERROR/);
    });

  it('a timeout beyond what timers can count is as long as they can', async () => {
    assert.equal(await get('/timeout'), '200 keep-alive in time');
  });

  it('encrypted may be set, as it is behind a proxy', async () => {
    assert.equal(await get('/encrypted'), '200 keep-alive true');
  });

  it('who walks through a request meets what node:http has there, and not the engine', async () => {
    const [objects, inspected, text] = JSON.parse((await get('/walk')).slice('200 keep-alive '.length));
    assert.ok(objects < 200, `${objects} objects`);
    assert.ok(inspected < 40_000, `${inspected} characters by util.inspect`);
    assert.ok(text < 40_000, `${text} characters of JSON`);
  });

  it("the app's own listeners for uncaught errors may answer, and the thread stays", async () => {
    assert.equal(await get('/throws'), '200 keep-alive caught in a timer');
    assert.equal(await get('/rejects'), '200 keep-alive caught in a promise');
    assert.match(server.log, /Uncaught exception \(GET \/throws\)/);
    // They need not: the request is contained all the same.
    assert.match(await get('/ignored'), /^500 close /);
    await server.stillServes();
    assert.doesNotMatch(server.log, /Replacing|replaced/i);
  });
});
