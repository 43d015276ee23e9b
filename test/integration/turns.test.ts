/** A thread serves all that is ready in one turn of its event loop, and each request as if the loop had called its handler alone. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { ask } from '../support/ask.js';
import { HttpServer } from '../support/http-server.js';
import { until } from '../support/poll.js';
import type { RawResponse } from '../support/raw-client.js';

const dir = mkdtempSync(join(tmpdir(), 'tunicorn-turns-'));
after(() => rmSync(dir, { recursive: true }));

const get = (path: string) => `GET /${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
let gates = 0;

/** Asks each path on a connection of its own while the only thread is held, so that all are ready when it comes back. */
async function together(server: HttpServer, paths: readonly string[]): Promise<RawResponse[]> {
  const gate = join(dir, `gate-${gates++}`);
  const clients = await Promise.all(paths.map(() => server.connect()));
  const holder = await server.connect();
  try {
    for (const client of [...clients, holder]) {
      client.write(get('warm'));
      assert.equal((await client.response()).body, 'warm');
    }
    await holder.send(get(`spin?${gate}`));
    for (const [i, client] of clients.entries()) await client.send(get(paths[i]));
    writeFileSync(gate, '');
    return await Promise.all(clients.map((client) => client.response()));
  } finally {
    for (const client of [...clients, holder]) client.destroy();
  }
}

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f'];

/** Several of them are served in one turn, and each is whole. */
async function inOrder(server: HttpServer): Promise<void> {
  // A busy machine may tell the thread of the first before the others.
  for (let tries = 5; !(await whole(server)); tries--) assert.ok(tries > 1, 'each had a turn of its own');
}

/** True: the second was served before the loop came to what it does behind a turn. */
async function whole(server: HttpServer): Promise<boolean> {
  const responses = await together(
    server,
    NAMES.map((name) => `order?${name}`),
  );
  assert.deepEqual(
    responses.map(({ status, body }) => [status, body]),
    NAMES.map((name) => [200, name]),
  );
  const all: string[] = [];
  await until(async () => all.push(...JSON.parse((await ask(server.port, '/marks')).body)) >= 5 * NAMES.length, {
    what: 'the marks',
  });
  const order = all.filter((mark) => mark.startsWith('handler')).map((mark) => mark.split(' ')[1]);
  assert.deepEqual(order.toSorted(), NAMES);
  // The context of one is not seen by another, and each runs in one scope.
  const served = order.flatMap((name) => [
    `handler ${name} undefined true 1`,
    `tick ${name}`,
    `microtask ${name}`,
    `late tick ${name}`,
  ]);
  const isImmediate = (mark: string) => mark.startsWith('immediate');
  assert.deepEqual(
    all.filter((mark) => !isImmediate(mark)),
    served,
  );
  assert.deepEqual(
    all.filter(isImmediate),
    order.map((name) => `immediate ${name}`),
  );
  return all.findIndex(isImmediate) > 4;
}

describe('requests of one turn', () => {
  const server = HttpServer.start('turns.mjs', ['--threads', '1']);
  after(async () => (await server).cleanup());

  it('ticks and promises of each run before the next handler', async () => {
    for (let i = 0; i < 3; i++) await inOrder(await server);
  });

  it('so they do where Node does not let us run them', async () => {
    const other = await HttpServer.start('turns.mjs', ['--threads', '1'], { NODE_OPTIONS: '--pending-deprecation' });
    try {
      await inOrder(other);
      assert.doesNotMatch(other.log, /DEP0134|_tickCallback/);
      await other.stop();
    } finally {
      await other.cleanup();
    }
  });

  for (const [kind, words] of [
    ['tick', /Uncaught exception.*\n.*out of a tick, bad/],
    ['microtask', /Uncaught exception.*\n.*out of a microtask, bad/],
    ['rejection', /Unhandled rejection.*\n.*out of a promise, bad/],
  ] as const) {
    it(`an error out of a ${kind} fails its request alone, and the others of the turn are served`, async () => {
      const own = await HttpServer.start('turns.mjs', ['--threads', '1']);
      try {
        const worker = own.worker;
        const responses = await together(own, ['order?a', `${kind}?bad`, 'order?b', 'order?c']);
        assert.deepEqual(
          responses.map(({ status }) => status),
          [200, 500, 200, 200],
        );
        await until(() => words.test(own.log), { what: 'the error in the log' });
        // The thread is replaced, the worker is not.
        assert.equal((await ask(own.port, '/warm')).body, 'warm');
        assert.equal(own.worker, worker);
        await own.stop();
      } finally {
        await own.cleanup();
      }
    });
  }

  it("what a listener for 'close' throws is told, and the others are served", async () => {
    const it = await server;
    const responses = await together(it, ['order?a', 'close?bad', 'order?b']);
    assert.deepEqual(
      responses.map(({ status }) => status),
      [200, 200, 200],
    );
    await until(() => /out of a listener, bad/.test(it.log), { what: 'the error in the log' });
  });
});
