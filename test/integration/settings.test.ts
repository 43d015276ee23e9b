/**
 * What settings do, for those that no other test is about; and that every setting is used by some test with a real server,
 * so that one which is only read does not go unnoticed.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { settingList } from '../../src/config/settings.js';
import { AppFolders } from '../support/app-folders.js';
import { ask } from '../support/ask.js';
import { HttpServer } from '../support/http-server.js';
import { until } from '../support/poll.js';
import type { RawClient } from '../support/raw-client.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const TESTS = join(ROOT, 'test');

/** /wait/MS awaits so long and tells how many requests its thread has had in hand at most; /loop never returns. */
const APP = `
  let now = 0;
  let most = 0;
  export default async (req, res) => {
    if (req.url === '/loop') for (;;);
    most = Math.max(most, ++now);
    await new Promise((resolve) => setTimeout(resolve, Number(req.url.split('/')[2])));
    now--;
    res.end(String(most));
  };`;
const folders = new AppFolders('settings', APP);
const servers: HttpServer[] = [];

after(async () => {
  for (const server of servers) await server.cleanup();
  folders.remove();
});

async function start(...args: string[]): Promise<HttpServer> {
  const server = await HttpServer.start(relative(ROOT, join(folders.make(), 'app.mjs')), args);
  servers.push(server);
  return server;
}

describe('settings', { concurrency: 2, timeout: 120_000 }, () => {
  it('thread_concurrency, deadline_header, keepalive', async () => {
    const server = await start(
      ...['--threads', '1', '--thread-concurrency', '1', '--deadline-header', 'X-Patience', '--keep-alive', '1'],
    );
    const several = await Promise.all([1, 2, 3, 4].map(() => ask(server.port, '/wait/20')));
    assert.deepEqual(
      several.map(({ body }) => body),
      ['1', '1', '1', '1'],
    );

    const late = await ask(server.port, '/wait/20000', { headers: { 'X-Patience': '100' } });
    assert.equal(late.status, 504);
    const other = await ask(server.port, '/wait/300', { headers: { 'X-Envoy-Expected-Rq-Timeout-Ms': '100' } });
    assert.equal(other.status, 200, 'the usual header is not looked at');

    const client = await server.connect();
    client.write('GET /wait/0 HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.equal((await client.response()).headers['keep-alive'], 'timeout=1');
    const from = performance.now();
    assert.equal(await client.end(), '');
    assert.ok(performance.now() - from > 800, 'closed a second later');
    await server.stop();
  });

  it('without thread_concurrency a thread takes all that await', async () => {
    const server = await start('--threads', '1');
    const several = await Promise.all([1, 2, 3, 4].map(() => ask(server.port, '/wait/500')));
    assert.ok(
      several.every(({ body }) => Number(body) > 1),
      several.map(({ body }) => body).join(),
    );
    await server.stop();
  });

  it('timeout_grace, fence_window', async () => {
    const server = await start(
      ...['--threads', '2', '--timeout', '0.3', '--timeout-grace', '1.2'],
      ...['--fence-kills', '2', '--fence-window', '1', '--fence-time', '30'],
    );
    // Each takes longer than the window, so no two are within it.
    for (let i = 0; i < 3; i++) {
      const { status, ms } = await ask(server.port, '/loop');
      assert.equal(status, 504, `request ${i}`);
      assert.ok(ms > 1400, `after ${ms} ms, the limit and the grace together`);
    }
    await server.stop();
  });

  it('backlog: so many clients, and one more, get in while nobody accepts; the others when somebody does', async () => {
    const server = await start('--threads', '1', '--backlog', '2');
    /** Connections that wait to be accepted at the port. */
    const waiting = () => {
      const [, queue] = new RegExp(`:${hex(server.port)} 0+:0+ 0A \\w+:(\\w+)`).exec(read('/proc/net/tcp')) ?? [];
      return Number.parseInt(queue, 16);
    };
    const hex = (port: number) => port.toString(16).toUpperCase().padStart(4, '0');
    const read = (path: string) => readFileSync(path, 'latin1');
    /** How often somebody was turned away on this machine. */
    const overflows = () => {
      const [names, values] = read('/proc/net/netstat')
        .split('\n')
        .map((line) => line.split(' '));
      return Number(values[names.indexOf('ListenOverflows')]) + Number(values[names.indexOf('ListenDrops')]);
    };
    await ask(server.port, '/wait/0');
    process.kill(server.worker, 'SIGSTOP');
    await until(() => /^State:\tT/m.test(read(`/proc/${server.worker}/status`)), { what: 'the worker to stop' });
    const before = overflows();
    let late: Promise<RawClient>[] = [];
    try {
      const inTime = await Promise.all([1, 2, 3].map(() => server.connect()));
      assert.equal(waiting(), 3);
      late = [server.connect(), server.connect()];
      await until(() => overflows() > before, { what: 'a client that finds no room' });
      assert.equal(waiting(), 3);
      for (const client of inTime) client.destroy();
    } finally {
      process.kill(server.worker, 'SIGCONT');
    }
    for (const client of await Promise.all(late)) {
      client.write('GET /wait/0 HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.equal((await client.response({ timeoutMs: 20_000 })).status, 200);
      client.destroy();
    }
    await server.stop();
  });

  it('every setting is used by a test with a real server', () => {
    const text = ['integration', 'stress']
      .flatMap((folder) =>
        readdirSync(join(TESTS, folder), { recursive: true, encoding: 'utf8' }).map((f) => [folder, f]),
      )
      .filter(([, file]) => file.endsWith('.ts'))
      .map(([folder, file]) => readFileSync(join(TESTS, folder, file), 'utf8'))
      .join('\n');
    const unused = settingList.filter(({ name, key, flags }) => {
      const uses = [...flags.map((flag) => `['"\`]${flag}['"\`=]`), `\\b(${name}|${key})"?:`, `\\$\\{${key}\\}`];
      return !new RegExp(uses.join('|')).test(text);
    });
    assert.deepEqual(
      unused.map(({ name }) => name),
      [],
    );
  });
});
