/** In the middle of a response: a client that has left is told from one that has only ended its own side. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { HttpServer } from '../support/http-server.js';
import { until } from '../support/poll.js';

const GET = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`;

for (const kind of ['node', 'web']) {
  describe(`a client's end in the middle of a response, ${kind}`, () => {
    let server: HttpServer;
    before(async () => {
      server = await HttpServer.start(`test/integration/fixtures/http-left.mjs:${kind}`, ['--threads', '1']);
    });
    after(() => server?.stop());
    const text = async (path: string) => (await server.talk(GET(path))).split('\r\n\r\n')[1];

    /** Reads until 'one' is there, ends the client's side, and resolves to the client. */
    const halfClosed = async (path: string) => {
      const client = await server.connect();
      client.write(GET(path));
      await client.when(() => (client.data.includes('one') ? true : null), 'the first chunk');
      client.socket.end();
      return client;
    };

    it('one that has left: the response closes though nothing is written', async () => {
      const client = await server.connect();
      client.write(GET('/'));
      await client.when(() => (client.data.includes('one') ? true : null), 'the first chunk');
      const before = Number(await text('/left'));
      client.destroy();
      await until(async () => Number(await text('/left')) === before + 1, { what: 'the response to close' });
    });

    for (const [path, rest] of [
      ['/', '03\r\ntwo\r\n0\r\n\r\n'],
      ['/trailer', kind === 'node' ? '00\r\nX-T: end\r\n\r\n' : '00\r\n\r\n'],
    ]) {
      it(`a half-closed one is served to the end, and its chunks are whole, ${path}`, async () => {
        const client = await halfClosed(path);
        await client.when(() => (client.data.toString().endsWith('\r\n3\r\none\r\n0') ? true : null), 'the zero');
        await text('/go');
        assert.ok((await client.end()).endsWith(`\r\n3\r\none\r\n${rest}`), client.data.toString());
      });
    }

    it('a half-closed one that leaves later is noticed as well', async () => {
      const client = await halfClosed('/');
      await client.when(() => (client.data.toString().endsWith('\r\n0') ? true : null), 'the zero');
      const before = Number(await text('/left'));
      client.destroy();
      const left = async () => Number(await text('/left')) === before + 1;
      await until(left, { timeoutMs: 20_000, what: 'the response to close' });
    });

    it('in a response of known length nothing is put', async () => {
      const client = await halfClosed('/length');
      // A chunked one that ended its side later has been looked at: so has this one.
      const later = await halfClosed('/');
      await later.when(() => (later.data.toString().endsWith('\r\n0') ? true : null), 'the zero');
      await text('/go');
      assert.ok((await client.end()).endsWith('\r\n\r\nonetwo'), client.data.toString());
      await later.end();
    });
  });
}
