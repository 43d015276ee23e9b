/**
 * Two hops: nginx as a reverse proxy with keep-alive in front of tunicorn. What clients send, valid or mutated, must not put
 * the two out of step. nginx names each request that it passes on (X-Front) and says the name to its client; the app
 * answers with the name it saw. The two differ as soon as one of them takes bytes for a request that are none for the other.
 * The few connections between them are shared by all clients, so one that is out of step shows soon.
 */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { type Case, generate } from '../fuzz/generate.js';
import { sendCase, show } from '../fuzz/hunt.js';
import { HttpServer } from '../support/http-server.js';
import { hasNginx, Nginx } from '../support/nginx.js';
import { Random, seedOf } from '../support/random.js';
import { RawClient } from '../support/raw-client.js';
import { ResponseParser } from '../support/response-parser.js';
import { complaints } from '../support/stress-server.js';

const SECONDS = Number(process.env.FUZZ_SECONDS ?? 4);
const CLIENTS = 4;

/** Without it the tests are skipped by hand, but not in CI. */
const skip = !hasNginx() && !process.env.CI ? 'nginx is not installed' : false;

/** Sends a case to nginx; the responses' fields. What nginx answers itself has no X-Seen-Front. */
function talk(port: number, one: Case): Promise<Array<Map<string, string>>> {
  return new Promise((resolve, reject) => {
    const { text, cuts } = one;
    const seen: Array<Map<string, string>> = [];
    const parser = new ResponseParser(() => true);
    const socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
    socket.setTimeout(15_000, () => socket.destroy(new Error(`no end: ${show(text)} at ${cuts}`)));
    socket.on('data', (chunk) => {
      try {
        parser.push(chunk, ({ status, headers }) => {
          if (status >= 200) seen.push(headers);
        });
      } catch (error) {
        const { message } = error as Error;
        // A mutant in HTTP/0.9 is answered by nginx in kind: a body and nothing else.
        if (/^no status line: "(?:[A-Z]+ \d+\\n|<html>|\d{3} )/.test(message)) socket.destroy();
        else socket.destroy(new Error(`${show(text)}: ${message}`));
      }
    });
    socket.on('end', () => socket.destroy());
    socket.on('error', (error: NodeJS.ErrnoException) => (error.code === undefined ? reject(error) : undefined));
    socket.on('close', () => resolve(seen));
    sendCase(socket, one);
  });
}

for (const kind of [
  { name: 'gthread', args: ['--threads', '3', '--keep-alive', '30'] },
  { name: 'sync', args: ['-k', 'sync'] },
]) {
  describe(`behind nginx, ${kind.name}`, { skip }, () => {
    let server: HttpServer;
    let nginx: Nginx;
    before(async () => {
      server = await HttpServer.start('dist/test/fuzz/app.js', kind.args);
      nginx = await Nginx.start(server.port, 2);
    });
    after(async () => {
      await nginx?.stop();
      await server?.stop();
    });

    it('valid requests pass', async () => {
      const client = await RawClient.connect(nginx.port);
      for (const [request, answer] of [
        ['GET /a HTTP/1.1\r\nHost: x\r\n\r\n', 'GET 0\n'],
        ['POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello', 'POST 5\n'],
        ['PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n', 'PUT 5\n'],
        ['OPTIONS /a?b HTTP/1.1\r\nHost: x\r\n\r\n', 'OPTIONS 0\n'],
      ]) {
        client.write(request);
        const { status, body, headers } = await client.response();
        assert.deepEqual([status, body], [200, answer]);
        assert.equal(headers['x-seen-front'], headers['x-front']);
      }
      client.destroy();
    });

    it('mutated requests put nothing out of step', async (t) => {
      const seed = seedOf({ SEED: process.env.FUZZ_SEED });
      const counts = { cases: 0, passed: 0, refused: 0 };
      const end = performance.now() + SECONDS * 1000;
      const client = async () => {
        while (performance.now() < end) {
          const number = counts.cases++;
          const one = generate(new Random(seed + Math.imul(number, 0x9e3779b1)));
          // How many of a pipeline nginx reads is its own affair, and which response has no body is not known then.
          if (one.text.includes('HEAD')) continue;
          for (const headers of await talk(nginx.port, one)) {
            const front = headers.get('x-front');
            const seen = headers.get('x-seen-front');
            if (seen === undefined) counts.refused++;
            else {
              counts.passed++;
              assert.equal(seen, front, `seed ${seed}, case ${number}: ${show(one.text)} cut at ${one.cuts}`);
            }
          }
        }
      };
      await Promise.all(Array.from({ length: CLIENTS }, client));
      t.diagnostic(`FUZZ_SEED=${seed} ${JSON.stringify(counts)}`);
      assert.ok(counts.passed > 50, JSON.stringify(counts));
      assert.deepEqual(complaints(server.log), []);
      assert.equal(server.spawned.length, 1);
    });
  });
}
