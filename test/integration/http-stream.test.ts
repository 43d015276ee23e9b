/** Streams under pressure: slow readers hold writers back, files and pipes, clients that leave, nothing left behind. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { HttpServer } from '../support/http-server.js';
import { until } from '../support/poll.js';

const FIXTURE = fileURLToPath(new URL('../../../test/integration/fixtures/http-node.mjs', import.meta.url));
/** Bytes that a slow reader takes before it stops for a while. */
const HELD = 2 << 20;
const GET = (path: string, version = '1.1') => `GET ${path} HTTP/${version}\r\nHost: x\r\n\r\n`;

for (const kind of [
  { name: '(req, res)', app: 'http-node.mjs', args: ['--threads', '1'], fetch: false },
  { name: '(req, res), sync', app: 'http-node.mjs', args: ['-k', 'sync'], fetch: false },
  { name: 'fetch', app: 'http-fetch.mjs', args: ['--threads', '1'], fetch: true },
]) {
  describe(`http streams, ${kind.name}`, () => {
    let server: HttpServer;
    before(async () => {
      server = await HttpServer.start(kind.app, [...kind.args, '--send-timeout', '2']);
    });
    after(() => server?.stop());

    for (const version of ['1.1', '1.0']) {
      it(`50 MB to a slow reader, HTTP/${version}: the writer waits, and all of it comes`, async () => {
        const client = await server.connect();
        let total = 0;
        client.socket.removeAllListeners('data');
        client.socket.on('data', (chunk) => {
          total += chunk.length;
          if (total - chunk.length < HELD && total >= HELD) client.socket.pause();
        });
        client.write(GET('/big', version));
        await until(() => client.socket.isPaused(), { what: 'the first bytes' });
        if (!kind.args.includes('sync')) {
          // As far as the handler is ahead, it is in the kernel's buffers.
          let written = -1;
          const steady = async () => {
            const before = written;
            written = Number(/\d+$/.exec(await server.talk('GET /written HTTP/1.0\r\n\r\n'))?.[0]);
            return written === before;
          };
          await until(steady, { everyMs: 100, what: 'the handler to wait' });
          assert.ok(written < 20, `${written} MB were written`);
        }
        client.socket.resume();
        const size = 50 << 20;
        const end = version === '1.0' ? () => client.ended : () => total >= size + 100;
        await until(end, { timeoutMs: 20_000, what: 'the whole response' });
        assert.ok(total > size && total < size + 2000, `${total} bytes`);
        client.destroy();
      });
    }

    it('a client that takes nothing is dropped after --send-timeout', async () => {
      const client = await server.connect();
      client.socket.pause();
      client.write(GET('/big'));
      await server.waitFor('Client too slow in GET /big');
      client.socket.resume();
      await client.closed();
      assert.ok(client.received < 20 << 20);
      client.destroy();
      await server.stillServes();
    });

    it('echoes a stream while it comes', async () => {
      const client = await server.connect();
      client.write('POST /upper HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n');
      for (const piece of ['abc', 'def', 'ghi']) {
        client.write(`3\r\n${piece}\r\n`);
        await client.when(() => (client.data.includes(piece.toUpperCase()) ? true : null), piece);
      }
      client.write('0\r\n\r\n');
      assert.equal((await client.response()).body, 'ABCDEFGHI');
      client.destroy();
    });

    it('clients that leave in the middle of a response hurt nobody', async () => {
      await Promise.all(
        Array.from({ length: 20 }, async (_, i) => {
          const client = await server.connect();
          client.write(GET('/big'));
          await client.when(() => (client.received > 100_000 ? true : null), 'some of the response').catch(() => {});
          if (i % 2) client.destroy();
          else client.socket.resetAndDestroy();
        }),
      );
      await server.stillServes();
    });

    if (kind.fetch) {
      it('an event stream flushes each event, and is cancelled when the client leaves', async () => {
        const client = await server.connect();
        client.write(GET('/events'));
        for (let i = 0; i < 3; i++) {
          await client.when(() => (client.data.includes(`data: ${i}\n\n`) ? true : null), `event ${i}`);
          assert.equal(client.data.includes(`data: ${i + 2}`), false);
        }
        client.destroy();
        const silent = await server.connect();
        await silent.send(GET('/silent'));
        // A handler is not called for a client that has left before.
        await until(async () => (await server.talk('GET /silent-began HTTP/1.0\r\n\r\n')).endsWith('true'), {
          what: 'the handler to be called',
        });
        silent.destroy();
        await until(async () => (await server.talk('GET /cancelled HTTP/1.0\r\n\r\n')).endsWith('\r\n2'), {
          what: 'the stream and the signal to hear of it',
        });
      });
      return;
    }

    it('a loop that only backpressure ends, and drain', async () => {
      const client = await server.connect();
      client.write(GET('/corked'));
      const { body } = await client.response();
      const count = Number(body.slice(body.indexOf('|') + 1));
      assert.ok(count > 5 && count < 200, `${count} writes of 1000 bytes`);
      client.destroy();
    });

    it('createReadStream().pipe(res)', async () => {
      const client = await server.connect();
      client.write(GET('/file'));
      assert.equal((await client.response()).body, readFileSync(FIXTURE, 'latin1'));
      client.destroy();
    });
  });
}
