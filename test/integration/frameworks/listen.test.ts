/** A program that calls http.createServer(app).listen(3000) itself, started by tunicorn. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { request } from 'undici';
import { HttpServer } from '../../support/http-server.js';

describe('a program that listens by itself', () => {
  for (const args of [
    ['--threads', '2'],
    ['-k', 'sync'],
  ]) {
    it(`is served, its port is ignored with a line in the log, its callback is called, ${args.join(' ')}`, async () => {
      const server = await HttpServer.start('examples/listen/server.js', args);
      try {
        const hello = await request(server.url);
        assert.deepEqual([hello.statusCode, await hello.body.text()], [200, 'Hello, World!\n']);
        assert.match(server.stdout + server.log, /^listening$/m);
        assert.match(server.log, /3000/);
      } finally {
        await server.stop();
      }
    });
  }
});
