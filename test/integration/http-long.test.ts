/** Server-sent events and long polls: --timeout counts until a response begins, and ends none that has. Seconds stand for minutes. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { HttpServer } from '../support/http-server.js';
import { until } from '../support/poll.js';

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;

for (const app of ['long-node.mjs', 'long-fetch.mjs']) {
  describe(`http, long responses, ${app}`, { concurrency: true }, () => {
    let server: HttpServer;
    before(async () => {
      server = await HttpServer.start(app, ['--threads', '1', '--timeout', '1', '--body-timeout', '1']);
    });
    after(async () => {
      assert.doesNotMatch(server.log, /too slow|is ended/);
      await server.stop();
    });

    const ask = async (path: string) => {
      const client = await server.connect();
      client.write(get(path));
      const response = await client.response({ timeoutMs: 20_000 });
      client.destroy();
      return response;
    };

    it('events that come for longer than --timeout and --body-timeout', async () => {
      const { status, body } = await ask('/events?ms=3500');
      assert.equal(status, 200);
      assert.equal(body, Array.from({ length: 35 }, (_, i) => `data: ${i + 1}\n\n`).join(''));
    });

    it('nothing for longer than --timeout, once the head is out', async () => {
      assert.equal((await ask('/quiet?ms=3500')).body, 'data: at last\n\n');
    });

    it('a long poll: 504 past --timeout, or past its own limit; without limit as long as it takes', async () => {
      const [late, own, unlimited] = await Promise.all(
        ['/poll?ms=3000', '/poll?ms=6000&limit=2', '/poll?ms=3500&limit=0'].map(ask),
      );
      assert.equal(late.status, 504);
      assert.equal(own.status, 504);
      assert.equal(unlimited.body, 'news');
    });

    it('a client that leaves ends its events', async () => {
      const before = Number((await ask('/left')).body);
      const client = await server.connect();
      client.write(get('/events?ms=100000'));
      await client.when(() => client.data.includes('data: 2') || null, 'two events');
      client.destroy();
      await until(async () => Number((await ask('/left')).body) === before + 1, { what: 'the app to be told' });
    });
  });
}
