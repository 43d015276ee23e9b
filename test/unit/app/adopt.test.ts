/** Adoption by itself: what a server that listens is told, which one is taken, and for how long one is waited for. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import { createServer as createHttpsServer } from 'node:https';
import { createServer as createNetServer } from 'node:net';
import { afterEach, test } from 'node:test';
import { Adoption } from '../../../src/app/adopt.js';
import { loadApp } from '../../../src/app/load.js';
import type { Logger } from '../../../src/log.js';
import { settled } from '../../support/poll.js';
import { project } from './fixtures.js';

let restore: () => void = () => {};
let lines: string[] = [];

/** An installed one; it is taken out after the test. */
function adopt(address = 'http://127.0.0.1:8000', quiet = false): Adoption {
  lines = [];
  const log = {
    info: (text: string) => lines.push(`info ${text}`),
    warning: (text: string) => lines.push(`warning ${text}`),
  } as unknown as Logger;
  const adoption = new Adoption({ address, log, quiet });
  restore = adoption.install();
  return adoption;
}

afterEach(() => {
  restore();
  restore = () => {};
});

const closedBy = (server: Server) => new Promise<Error | undefined>((resolve) => server.close(resolve));

test('listen() in all its forms; one line each', async () => {
  const path = '/run/x.sock';
  const forms: Array<[unknown[], string]> = [
    [[3000], 'port 3000'],
    [['3000', 'localhost'], 'port 3000 of localhost'],
    [[], 'port 0'],
    [[{ port: 3000, host: '::' }], 'port 3000 of ::'],
    [[{ path }], `socket ${path}`],
    [[path], `socket ${path}`],
    [[{ fd: 5 }], 'fd 5'],
    [[{ path: false, port: '3000', host: '::' }], 'port 3000 of ::'],
  ];
  for (const [args, text] of forms) {
    const adoption = adopt();
    const server = createServer();
    const heard = once(server, 'listening');
    const called = new Promise<void>((resolve) => server.listen(...([...args, resolve] as unknown as [])));
    assert.equal(adoption.server, server);
    await Promise.all([heard, called]);
    assert.deepEqual(lines, [
      `info The app listens itself (${text}): ignored, tunicorn listens at http://127.0.0.1:8000`,
    ]);
    restore();
  }
});

test('listening, address() and close() are as they should be, and it may listen again', async () => {
  adopt('http://[::1]:8080');
  const server = createServer().listen(0);
  assert.equal(server.listening, true);
  assert.deepEqual(server.address(), { address: '::1', family: 'IPv6', port: 8080 });
  assert.throws(() => server.listen(1), { code: 'ERR_SERVER_ALREADY_LISTEN' });
  await once(server, 'listening');
  server.ref().unref();
  const close = once(server, 'close');
  assert.equal(await closedBy(server), undefined);
  await close;
  assert.deepEqual([server.listening, server.address()], [false, null]);
  assert.equal(((await closedBy(server)) as NodeJS.ErrnoException).code, 'ERR_SERVER_NOT_RUNNING');
  server.listen(0);
  await once(server, 'listening');
  await closedBy(server);
  // Closed before it could be told.
  server.listen(0, () => assert.fail('called back'));
  await closedBy(server);
});

test('at a unix socket; with a signal', async () => {
  adopt('unix:/run/app.sock');
  const controller = new AbortController();
  const server = createServer().listen({ port: 1, signal: controller.signal });
  assert.equal(server.address(), '/run/app.sock');
  const close = once(server, 'close');
  controller.abort();
  await close;
  const aborted = createServer().listen({ port: 1, signal: controller.signal });
  await once(aborted, 'close');
});

test('the first http.Server is taken; another one of its port is quiet, others are warned of', async () => {
  const adoption = adopt();
  const secure = createHttpsServer().listen(443);
  const http2 = createHttp2Server().listen(8443);
  assert.equal(adoption.server, null);
  const server = createServer().listen(3000);
  assert.equal(adoption.server, server);
  const others = [createServer().listen(3000, '::1'), createServer().listen(8000), createServer().listen(9090)];
  await Promise.all([secure, http2, ...others].map((each) => once(each, 'listening')));
  assert.deepEqual(adoption.foreign, [
    'an https.Server (port 443)',
    'an HTTP/2 server (port 8443)',
    'an http.Server (port 9090)',
  ]);
  assert.equal(lines.filter((line) => line.startsWith('warning')).length, 3);
  restore();
  const quiet = adopt('http://127.0.0.1:8000', true);
  createServer().listen(1);
  createServer().listen(2);
  assert.deepEqual([lines, quiet.foreign], [[], ['an http.Server (port 2)']]);
});

test('a plain net.Server really listens', async () => {
  adopt();
  const server = createNetServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  assert.ok((server.address() as { port: number }).port > 0);
  server.close();
  await once(server, 'close');
  assert.deepEqual(lines, []);
});

test('wait(): until it listens, until nothing is left that could, until the time is up', async () => {
  // What the tests before have closed is gone.
  await settled(() => process.getActiveResourcesInfo().length);
  const adoption = adopt();
  assert.equal(await adoption.wait(10_000), 'idle');
  const busy = setInterval(() => {}, 1000);
  assert.equal(await adoption.wait(300), 'late');
  clearInterval(busy);
  setTimeout(() => createServer().listen(3000), 200);
  assert.equal(await adoption.wait(10_000), 'listening');
});

test('loadApp: a listener, none, one for TLS only', async (t) => {
  const cwd = project(t, {
    'late.mjs': `import http from 'node:http';
      setTimeout(() => http.createServer((req, res) => res.end()).listen(3000), 100);`,
    'none.mjs': 'export const x = 1;',
    'busy.mjs': 'globalThis.busy = setInterval(() => {}, 1000);',
    'tls.mjs': `import https from 'node:https'; https.createServer().listen(443);`,
  });
  const load = async (spec: string, listenMs?: number) => {
    const adoption = adopt();
    try {
      return await loadApp(spec, { cwd, adoption, listenMs });
    } finally {
      restore();
    }
  };
  const app = await load('late.mjs');
  assert.equal(app.source, 'late.mjs:listen()');
  assert.equal(app.hooks?.server?.listening, true);
  await app.close?.();
  assert.equal(app.hooks?.server?.listening, false);
  const fails = async (promise: Promise<unknown>, code: string, message = /./) => {
    await assert.rejects(promise, { name: 'TunicornError', code, exitCode: 4, message });
  };
  await fails(load('none.mjs'), 'ERR_TUNICORN_APP_EXPORT');
  await fails(load('tls.mjs'), 'ERR_TUNICORN_APP_TLS');
  await fails(
    load('busy.mjs', 300),
    'ERR_TUNICORN_APP_LISTEN',
    /busy\.mjs exports no handler, and no http\.Server of it has called listen\(\) within 0\.3 s/,
  );
  clearInterval((globalThis as unknown as { busy: NodeJS.Timeout }).busy);
});

test('the port of the app among several servers', async (t) => {
  const listen = (port: number) => `http.createServer(() => {}).listen(${port});`;
  const one = `import http from 'node:http'; ${listen(9090)}`;
  const cwd = project(t, {
    'one.mjs': one,
    'two.mjs': `${one}
      setTimeout(() => { ${listen(3000)} ${listen(9091)} }, 1100);
      export default () => {};`,
  });
  const load = async (spec: string) => {
    const adoption = adopt();
    try {
      return await loadApp(spec, { cwd, adoption });
    } finally {
      restore();
    }
  };
  const app = await load('two.mjs:3000');
  assert.equal(app.source, 'two.mjs:listen()');
  assert.deepEqual(
    lines.map((line) => line.replace(/ at .*|: a program.*/, '')),
    [
      'warning an http.Server (port 9090) is not served',
      'info The app listens itself (port 3000): ignored, tunicorn listens',
      'warning an http.Server (port 9091) is not served',
    ],
  );
  assert.match(lines[0], /Name the port of its server \(server\.js:3000\)/);
  await assert.rejects(load('one.mjs:4000'), {
    code: 'ERR_TUNICORN_APP_LISTEN',
    message: /No http\.Server of \S+one\.mjs listens at port 4000: it listens with an http\.Server \(port 9090\)\./,
  });
});

test('exported servers and upgrade functions', async (t) => {
  const cwd = project(t, {
    'server.mjs': `import http from 'node:http'; export default http.createServer().on('upgrade', () => {});`,
    'own.cjs': `module.exports = () => {}; module.exports.upgrade = () => 'own';`,
    'named.mjs': `export default { fetch() {} }; export const upgrade = () => 'named';`,
    'plain.mjs': 'export default () => {};',
  });
  const hears = async (spec: string) => {
    const { hooks } = await loadApp(spec, { cwd });
    return hooks && (['upgrade', 'connect', 'checkContinue'] as const).filter((event) => hooks.hears(event));
  };
  assert.deepEqual(await hears('server.mjs'), ['upgrade']);
  assert.deepEqual(await hears('own.cjs'), ['upgrade']);
  assert.deepEqual(await hears('named.mjs'), ['upgrade']);
  assert.equal(await hears('plain.mjs'), undefined);
  assert.equal((await loadApp('named.mjs', { cwd })).hooks?.call('upgrade'), 'named');
});
