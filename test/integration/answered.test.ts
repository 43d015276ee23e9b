/**
 * Threads that end, or are ended, behind a response that their clients have had whole: the access line says what the client got, and the
 * connection goes on where nothing of the next request has been read.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { HttpServer } from '../support/http-server.js';
import { until } from '../support/poll.js';
import type { RawClient } from '../support/raw-client.js';
import { askStream, CERT_ARGS, openSession } from '../support/tls.js';

const dir = mkdtempSync(join(tmpdir(), 'tunicorn-answered-'));
const servers: HttpServer[] = [];

after(async () => {
  for (const server of servers) await server.cleanup();
  rmSync(dir, { recursive: true });
});

/** A server, the lines of whose access log are the method, the query and the status. */
async function start(...args: string[]) {
  const file = join(dir, `access-${servers.length}.log`);
  const log = ['--access-logfile', file, '--access-logformat', '%(m)s %(q)s %(s)s'];
  const server = await HttpServer.start('answered.mjs', ['--threads', '2', ...log, ...args]);
  servers.push(server);
  let seen = 0;
  /** All lines since the last call; there are at least n. */
  const lines = async (n: number): Promise<string[]> => {
    const all = () => readFileSync(file, 'utf8').split('\n').slice(0, -1);
    await until(() => all().length >= seen + n, { what: `${n} lines` });
    const found = all().slice(seen);
    seen += found.length;
    return found;
  };
  return Object.assign(server, { lines });
}

const request = (query: string, { method = 'GET', fields = '', version = '1.1' } = {}) =>
  `${method} /?${query} HTTP/${version}\r\nHost: x\r\n${fields}\r\n`;

/** Another request on the same connection is answered. */
async function goesOn(client: RawClient): Promise<void> {
  client.write(request('next'));
  const { status, body } = await client.response();
  assert.deepEqual([status, body], [200, 'ok']);
}

/** A client is answered, and finds of its connection what `then` expects. */
async function answered(
  server: HttpServer,
  text: string,
  status: number,
  then: (client: RawClient) => Promise<void>,
  head = false,
): Promise<void> {
  const client = await server.connect();
  client.write(text);
  assert.equal((await client.response({ head })).status, status, text);
  await then(client);
  client.destroy();
}

/** The server ends the connection, without a reset and without another byte. */
async function ends(client: RawClient): Promise<void> {
  assert.equal(await client.end(), '');
}

/** Requests whose responses are whole, with what is needed for that. */
const WHOLE: Array<[query: string, status: number, more?: Parameters<typeof request>[1]]> = [
  ['as=plain', 200],
  ['as=chunked', 200],
  ['as=ended', 200],
  ['as=measured', 200],
  ['as=parts', 200],
  ['as=unchanged', 304],
  ['as=plain', 200, { method: 'HEAD' }],
  ['as=chunked', 200, { method: 'HEAD' }],
  ['as=plain&read', 200, { method: 'POST', fields: 'Content-Length: 0\r\n' }],
];

describe('a thread that ends behind a whole response', { timeout: 120_000 }, () => {
  for (const where of ['handler', 'tick', 'timer', 'await']) {
    it(`in the ${where}: the line has the response's status, the connection goes on`, async () => {
      const server = await start();
      for (const [query, status, more] of WHOLE) {
        const q = `${query}&then=exit&in=${where}`;
        await answered(server, request(q, more), status, goesOn, more?.method === 'HEAD');
        assert.deepEqual(await server.lines(2), [`${more?.method ?? 'GET'} ${q} ${status}`, 'GET next 200']);
      }
      assert.match(server.log, /process\.exit\(\) was called: GET \/\?as=plain&then=exit&in=/);
      await server.stop();
    });
  }

  it('stuck: what the client sends meanwhile is served by another thread', async () => {
    const server = await start('--timeout', '0.5');
    for (const where of ['handler', 'timer']) {
      const q = `as=plain&then=loop&in=${where}`;
      await answered(server, request(q), 200, goesOn);
      assert.deepEqual(await server.lines(2), [`GET ${q} 200`, 'GET next 200']);
    }
    assert.match(server.log, /Request timed out: GET \/\?as=plain&then=loop.*; thread \d was stuck in it and is ended/);
    await server.stop();
  });

  it('out of memory: the same', async () => {
    const server = await start('--thread-memory', '64');
    await answered(server, request('then=grow'), 200, goesOn);
    assert.deepEqual(await server.lines(2), ['GET then=grow 200', 'GET next 200']);
    await server.stop();
  });

  it('with bytes of the next request read: that one is not answered, and the connection ends in peace', async () => {
    const server = await start();
    await answered(server, request('then=exit') + request('next'), 200, ends);
    assert.deepEqual(await server.lines(1), ['GET then=exit 200']);
    await server.stop();
  });

  it('where the response has said that it is the last: the connection ends', async () => {
    const server = await start();
    const LAST: Array<[query: string, more?: Parameters<typeof request>[1]]> = [
      ['as=last'],
      ['as=plain', { fields: 'Connection: close\r\n' }],
      ['as=plain', { version: '1.0' }],
      ['as=ended', { version: '1.0' }],
    ];
    for (const [query, more] of LAST) {
      const client = await server.connect();
      client.write(request(`${query}&then=exit`, more));
      const { status, body } = await client.response();
      assert.deepEqual([status, body], [200, 'ok'], JSON.stringify([query, more]));
      await ends(client);
      client.destroy();
      assert.deepEqual(await server.lines(1), [`GET ${query}&then=exit 200`]);
    }
    await server.stop();
  });

  it('a request whose body is not read to its end: the connection ends; one that was read: it goes on', async () => {
    const server = await start();
    for (const fields of ['Content-Length: 5\r\n', 'Transfer-Encoding: chunked\r\n']) {
      await answered(server, request('then=exit', { method: 'POST', fields }), 200, ends);
      assert.deepEqual(await server.lines(1), ['POST then=exit 200']);
    }
    for (const [fields, body] of [
      ['Content-Length: 200000\r\n', 'x'.repeat(200_000)],
      ['Transfer-Encoding: chunked\r\n', '5\r\nhello\r\n0\r\n\r\n'],
    ]) {
      const client = await server.connect();
      await client.send(request('read&then=exit', { method: 'POST', fields }));
      await client.send(body);
      assert.equal((await client.response()).status, 200);
      await goesOn(client);
      client.destroy();
      assert.deepEqual(await server.lines(2), ['POST read&then=exit 200', 'GET next 200']);
    }
    await server.stop();
  });

  it('a stream of HTTP/2: it is whole, and those beside it on the session go on', async () => {
    const server = await start(...CERT_ARGS, '--http-protocols', 'h2');
    const session = await openSession(server.port);
    for (const q of ['as=plain&then=exit', 'as=chunked&then=exit&in=timer', 'as=ended&then=exit']) {
      const { headers, body } = await askStream(session, `/?${q}`);
      assert.deepEqual([headers[':status'], body.toString()], [200, 'ok'], q);
      // On a connection of its own: its line may come before main has heard of the thread's end.
      assert.equal((await askStream(session, '/?next')).headers[':status'], 200);
      assert.deepEqual((await server.lines(2)).sort(), [`GET ${q} 200`, 'GET next 200']);
    }
    session.close();
    await server.stop();
  });

  it('what is not whole is as before: cut where bytes have gone out, otherwise answered', async () => {
    const server = await start();
    for (const as of ['begun', 'big']) {
      const client = await server.connect();
      client.write(request(`as=${as}&then=exit`));
      await client.end();
      assert.ok(client.received < 64 << 20);
      client.destroy();
      assert.deepEqual(await server.lines(1), [`GET as=${as}&then=exit 500`]);
    }
    await answered(server, request('as=none&then=exit'), 500, ends);
    assert.deepEqual(await server.lines(1), ['GET as=none&then=exit 500']);
    await server.stop();
  });

  it('an answer of the engine that a client has yet to take the end of has one line', async () => {
    const server = await start('--threads', '1');
    const client = await server.connect();
    client.write(request('as=fails'));
    assert.equal((await client.response()).status, 500);
    // It is in no hurry to close.
    const other = await server.connect();
    other.write(request('as=none&then=exit'));
    assert.equal((await other.response()).status, 500);
    await goesOn(await server.connect());
    assert.deepEqual(await server.lines(3), ['GET as=fails 500', 'GET as=none&then=exit 500', 'GET next 200']);
    assert.doesNotMatch(server.log, /Also on thread/);
    client.destroy();
    await server.stop();
  });
});
