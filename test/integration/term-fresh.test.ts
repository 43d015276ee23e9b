/** TERM and a client that has connected just before: it is about to send a request, and is served. */
import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { ask } from '../support/ask.js';
import { HttpServer } from '../support/http-server.js';
import { until } from '../support/poll.js';

const servers: HttpServer[] = [];
after(async () => {
  for (const server of servers) await server.cleanup();
});

it('a connection without a request yet outlives TERM for a moment', { timeout: 60_000 }, async () => {
  const server = await HttpServer.start('http-node.mjs', ['--threads', '2', '--status-bind', '127.0.0.1:0']);
  servers.push(server);
  await server.waitFor(/Status at: \S+\n/);
  const status = Number(/Status at: .*:(\d+)\n/.exec(server.log)![1]);
  const client = await server.connect();
  await until(async () => JSON.parse((await ask(status, '/')).body).connections === 1, { what: 'the connection' });
  server.kill('SIGTERM');
  // The worker drains when its listening socket is closed: others are refused.
  await until(async () => (await ask(server.port, '/hello')).error?.startsWith('ECONNREFUSED'), {
    what: 'the end',
    everyMs: 2,
  });
  client.write('GET /hello HTTP/1.1\r\nHost: x\r\n\r\n');
  const { status: code, headers } = await client.response();
  assert.deepEqual([code, headers.connection], [200, 'close']);
  client.destroy();
  assert.equal((await server.ended).code, 0, server.log);
});
