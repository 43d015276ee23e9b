/** Programs that listen themselves: their listener is adopted, their port ignored. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ArbiterProcess } from '../support/arbiter-process.js';
import { HttpServer } from '../support/http-server.js';
import { until } from '../support/poll.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
const FIXTURES = fileURLToPath(new URL('../../../test/integration/fixtures/adopt/', import.meta.url));

async function withServer<T>(app: string, use: (server: HttpServer) => Promise<T>, args: string[] = []): Promise<T> {
  const server = await HttpServer.start(`test/integration/fixtures/adopt/${app}`, ['--threads', '1', ...args]);
  try {
    return await use(server);
  } finally {
    await server.stop();
  }
}

async function get(server: HttpServer, path = '/'): Promise<string> {
  const client = await server.connect();
  client.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
  const { status, body } = await client.response();
  client.destroy();
  return status === 200 ? body : `${status}`;
}

const ADOPTED = /\[INFO\] The app listens itself \((.*?)\): ignored, tunicorn listens at (\S+)\n/g;

describe('http, an http.Server that listens is adopted', () => {
  let server: HttpServer;
  before(async () => {
    server = await HttpServer.start('test/integration/fixtures/adopt/http.mjs', ['--threads', '2']);
  });
  after(() => server?.stop());

  it('it is told that it listens, at our address, after listen() has returned; its settings are taken', async () => {
    const info = JSON.parse(await get(server, '/info'));
    assert.deepEqual(info.events, ['ERR_SERVER_ALREADY_LISTEN', 'listening true', 'callback']);
    assert.equal(info.listening, true);
    assert.deepEqual(info.address, { address: '127.0.0.1', family: 'IPv4', port: server.port });
    assert.equal(info.connections, 0);
    assert.equal(info.requestTimeout, 1);
    assert.ok(info.heard > 0, 'this or req.socket.server was not the server');
  });

  it('one line in the log, for all threads', () => {
    const lines = [...server.log.matchAll(ADOPTED)];
    assert.deepEqual(
      lines.map((m) => [m[1], m[2]]),
      [['port 3000 of 0.0.0.0', server.url]],
    );
  });

  it('bodies reach it', async () => {
    const text = await server.talk(
      'POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello',
    );
    assert.match(text, /^HTTP\/1\.1 200 OK\r\n.*hello/s);
  });

  it('a listener that throws, or whose promise rejects, is answered 500, and the thread stays', async () => {
    for (const path of ['/throw', '/reject']) {
      const client = await server.connect();
      client.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
      assert.equal((await client.response()).status, 500, path);
      client.destroy();
    }
    await server.waitFor('later, as asked');
    await server.stillServes('/info');
    assert.doesNotMatch(server.log, /replaced by/);
  });

  it('Expect: its listeners decide', async () => {
    const client = await server.connect();
    const head = 'POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n';
    await client.send(`${head}Expect: 100-continue\r\n\r\n`);
    assert.equal((await client.response()).status, 100);
    client.write('hi');
    assert.equal((await client.response()).body, 'hi');
    client.write('GET /x HTTP/1.1\r\nHost: x\r\nExpect: wonders\r\n\r\n');
    const refused = await client.response();
    assert.deepEqual([refused.status, refused.body], [417, 'not wonders']);
    await client.send(`${head}Expect: 100-continue\r\nX-Refuse: 1\r\n\r\n`);
    assert.equal((await client.response()).status, 413);
    client.destroy();
  });

  it('CONNECT reaches its listener, with the bytes behind the head', async () => {
    const client = await server.connect();
    client.write('CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\nearly');
    await client.when(() => client.data.toString().includes('a.example:443 early') || null, 'the answer');
    client.write(' and late');
    await client.when(() => client.data.toString().endsWith(' and late') || null, 'the echo');
    client.socket.end();
    await client.closed();
  });
});

it('http, options of createServer: its classes of request and response, and what they do with fields', () =>
  withServer('options.mjs', async (server) => {
    const client = await server.connect();
    client.write('HEAD / HTTP/1.1\r\nHost: x\r\n\r\n');
    await client.response({ head: true });
    client.write('GET /?q HTTP/1.1\r\nHost: x\r\nUser-Agent: a\r\nUser-Agent: b\r\n\r\n');
    const { body, headers } = await client.response();
    assert.deepEqual(JSON.parse(body), {
      query: 'q',
      joinDuplicateHeaders: true,
      agent: 'a, b',
      marks: [1000, 1000, 1000],
      own: true,
      refused: 'ERR_HTTP_BODY_NOT_ALLOWED',
    });
    assert.equal(headers['x-many'], 'a; b');
    client.write('GET /?u HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: y\r\n\r\n');
    assert.match(await client.end(), /\r\n\r\nu$/);
    client.destroy();
  }));

describe('http, adopted frameworks', () => {
  it('Express 5, from an asynchronous start', () =>
    withServer('express.mjs', async (server) => {
      await server.waitFor(`express listens at ${server.port}\n`);
      const text = await server.talk(
        'POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 7\r\nConnection: close\r\n\r\n{"a":1}',
      );
      assert.match(text, /\{"got":\{"a":1\},"server":true\}$/);
    }));

  it('Koa 3', () =>
    withServer('koa.cjs', async (server) => {
      assert.equal(await get(server, '/x'), 'koa /x');
    }));

  it('Fastify 5: its servers for the addresses of localhost are one', () =>
    withServer('fastify.mjs', async (server) => {
      assert.equal(await get(server), '{"hello":"127.0.0.1"}');
      await server.waitFor(new RegExp(`\nhttp://.*:${server.port}\n`));
      assert.doesNotMatch(server.log, /WARNING/);
    }));

  it("Hono's node-server goes before its export, unless the spec names one", async () => {
    await withServer('hono.mjs', async (server) => {
      assert.equal(await get(server), 'hono node');
      await server.waitFor(`hono listens at ${server.port}\n`);
    });
    await withServer('hono.mjs:default', async (server) => {
      assert.equal(await get(server), 'hono fetch');
    });
  });
});

describe('http, which server is the app', { concurrency: 2 }, () => {
  it('the listener goes before an export, a named export before the listener', async () => {
    await withServer('both.mjs', async (server) => assert.equal(await get(server), 'listener'));
    await withServer('both.mjs:app', async (server) => assert.equal(await get(server), 'export'));
    await withServer('both.mjs:server', async (server) => assert.equal(await get(server), 'exported server'));
    await withServer('start.mjs:start("from start")', async (server) => assert.equal(await get(server), 'from start'));
  });

  it('one that listens after the app is served already takes over', () =>
    withServer('late.mjs', async (server) => {
      assert.equal(await get(server), 'server false');
      assert.equal(await get(server, '/listen'), 'server false');
      await until(async () => (await get(server)) === 'server true', { what: 'the late listener' });
    }));

  it('a second http.Server is told that it listens and is not served; a plain TCP server listens', () =>
    withServer('second.mjs', async (server) => {
      const port = Number(await get(server));
      let text = '';
      for await (const chunk of connect(port, '127.0.0.1').setEncoding('utf8')) text += chunk;
      assert.equal(text, 'tcp');
      assert.match(server.log, /\[WARNING\] an http\.Server \(port 9090\) is not served: .*program of its own/);
      assert.equal([...server.log.matchAll(ADOPTED)].length, 1);
    }));

  it('a plain TCP server listens in every thread, at one port, and goes on behind a reload', async () => {
    const found = createServer().listen(0);
    await once(found, 'listening');
    const { port } = found.address() as AddressInfo;
    const env = { TCP: `${port}` };
    const taken = new HttpServer([CLI, '-b', '127.0.0.1:0', '--threads', '1', `${FIXTURES}tcp.mjs`], env);
    try {
      await taken.waitFor('tcp EADDRINUSE');
    } finally {
      await taken.cleanup();
      found.close();
      await once(found, 'close');
    }
    const server = await HttpServer.start('test/integration/fixtures/adopt/tcp.mjs', ['--threads', '2'], {
      TCP: `${port}`,
    });
    try {
      assert.equal(await get(server), 'http');
      const threads = new Set<string>();
      const ask = async () => {
        let text = '';
        for await (const chunk of connect(port, 'localhost').setEncoding('utf8')) text += chunk;
        assert.match(text, /^tcp \d+$/);
        threads.add(text);
      };
      await until(() => ask().then(() => threads.size === 2), { what: 'both threads' });
      process.kill(server.pid, 'SIGHUP');
      await until(() => ask().then(() => threads.size === 4), { what: 'fresh threads' });
      await until(() => /Reloaded 2 threads/.test(server.log), { what: 'the reload' });
      assert.doesNotMatch(server.log, /ERROR/);
    } finally {
      await server.stop();
    }
  });

  it('one that listens only for TLS: the error says so', async () => {
    const arbiter = new ArbiterProcess([CLI, '-b', '127.0.0.1:0', '--threads', '1', `${FIXTURES}https.mjs`]);
    assert.deepEqual(await arbiter.ended, { code: 4, signal: null }, arbiter.log);
    assert.match(
      arbiter.log,
      /https\.mjs exports no handler and listens with an https\.Server \(port 8443\), which tunicorn cannot serve/,
    );
    await arbiter.cleanup();
  });

  it('one that changes to the folder in which it is may do so, another one is told of --chdir', async () => {
    const folder = FIXTURES.replace(/\/$/, '');
    await withServer(
      'chdir.mjs',
      async (server) => {
        assert.equal(await get(server), folder);
      },
      ['--chdir', folder],
    );
    const arbiter = new ArbiterProcess([CLI, '-b', '127.0.0.1:0', '--threads', '1', `${FIXTURES}chdir.mjs`]);
    assert.deepEqual(await arbiter.ended, { code: 4, signal: null }, arbiter.log);
    assert.match(arbiter.log, /chdir\.mjs: TunicornError: process\.chdir\(\) cannot leave \S+ in a thread/);
    assert.ok(arbiter.log.includes(`start tunicorn with --chdir ${folder}.`), arbiter.log);
    await arbiter.cleanup();
  });

  it('one that changes its user or its umask is told of the settings for that', async () => {
    await withServer('identity.mjs', async (server) => assert.match(await get(server), /^umask \d+$/));
    const told = {
      umask:
        'TunicornError: process.umask() cannot change it in a thread: start tunicorn with it (umask 077 in a shell, UMask= in systemd).',
      setuid: 'TunicornError: process.setuid() cannot change it in a thread: start tunicorn with --user nobody.',
      setegid: 'TunicornError: process.setegid() cannot change it in a thread: start tunicorn with --group 65534.',
      setgroups:
        'TunicornError: process.setgroups() cannot change it in a thread: start tunicorn with --user and --group.',
    };
    for (const [call, text] of Object.entries(told)) {
      const arbiter = new ArbiterProcess([CLI, '-b', '127.0.0.1:0', '--threads', '1', `${FIXTURES}identity.mjs`], {
        CALL: call,
      });
      assert.deepEqual(await arbiter.ended, { code: 4, signal: null }, arbiter.log);
      assert.ok(arbiter.log.includes(text), arbiter.log);
      await arbiter.cleanup();
    }
  });

  it('one that sets its time zone is told that it has no effect, once, and what has', async () => {
    const warning =
      /The app sets TZ to Asia\/Tokyo, which has no effect in threads: start tunicorn with --env TZ=Asia\/Tokyo/g;
    await withServer(
      'zone.mjs',
      async (server) => {
        await get(server);
        await server.waitFor('The app sets TZ');
        assert.equal([...server.log.matchAll(warning)].length, 1, server.log);
      },
      ['--threads', '2', '--env', 'TZ=UTC'],
    );
    await withServer(
      'zone.mjs',
      async (server) => {
        assert.equal(await get(server), 'hour 9');
        assert.doesNotMatch(server.log, /WARNING/);
      },
      ['--env', 'TZ=Asia/Tokyo'],
    );
  });

  it('one that forks workers itself is told so', async () => {
    for (const kind of ['gthread', 'sync']) {
      const arbiter = new ArbiterProcess([CLI, '-b', '127.0.0.1:0', '--worker-class', kind, `${FIXTURES}cluster.mjs`]);
      assert.deepEqual(await arbiter.ended, { code: 4, signal: null }, arbiter.log);
      assert.match(arbiter.log, /cluster\.mjs: TunicornError: cluster\.fork\(\) is not for an app of tunicorn/);
      await arbiter.cleanup();
    }
  });

  it('one that exits while it is loaded is told so, with the place', async () => {
    for (const kind of ['gthread', 'sync']) {
      const arbiter = new ArbiterProcess([CLI, '-b', '127.0.0.1:0', '--worker-class', kind, `${FIXTURES}exit.cjs`]);
      assert.deepEqual(await arbiter.ended, { code: 4, signal: null }, arbiter.log);
      assert.match(arbiter.log, /DATABASE_URL is missing/);
      assert.match(
        arbiter.log,
        /ERR_TUNICORN_APP_EXIT: \S+exit\.cjs called process\.exit\(1\) while it was loaded\..*exit\.cjs:3:/s,
      );
      await arbiter.cleanup();
    }
  });

  it('one that takes longer to listen than --timeout, which is for requests: at the start and at HUP', () =>
    withServer(
      'slow.mjs',
      async (server) => {
        assert.equal(await get(server), 'slow');
        process.kill(server.pid, 'SIGHUP');
        await until(() => /Reloaded 1 threads/.test(server.log), { what: 'the reload' });
        assert.doesNotMatch(server.log, /cannot be replaced/);
      },
      ['--timeout', '0.5'],
    ));

  it('server.close() ends it: 503 from then on', () =>
    withServer('http.mjs', async (server) => {
      assert.equal(await get(server, '/close'), 'closing');
      assert.equal(await get(server, '/x'), '503');
    }));
});

it("http, 'close' of the adopted server: when its thread ends in peace", async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tunicorn-'));
  try {
    const notes = join(folder, 'notes');
    process.env.NOTES = notes;
    const server = await HttpServer.start('test/integration/fixtures/adopt/http.mjs', ['--threads', '2']);
    await server.stillServes('/info');
    await server.stop();
    assert.equal(readFileSync(notes, 'utf8'), 'close\nclose\n');
  } finally {
    delete process.env.NOTES;
    rmSync(folder, { recursive: true });
  }
});
