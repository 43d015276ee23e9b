import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { loadApp } from '../../../src/app/load.js';
import type { App } from '../../../src/app/types.js';
import { TunicornError } from '../../../src/errors.js';
import { FakeExchange, project } from './fixtures.js';

/** Loads spec from files. */
async function load(t: TestContext, spec: string, files: Record<string, string>): Promise<App> {
  return loadApp(spec, { cwd: project(t, files) });
}

/** What a (req, res) app says when called without a request: the fixtures return a name. */
function call(app: App): unknown {
  assert.equal(app.kind, 'node');
  return (app as Extract<App, { kind: 'node' }>).handle(
    null as unknown as IncomingMessage,
    null as unknown as ServerResponse,
  );
}

async function fetched(app: App): Promise<string> {
  assert.equal(app.kind, 'fetch');
  const exchange = new FakeExchange();
  (app as Extract<App, { kind: 'fetch' }>).dispatch(exchange);
  await exchange.done;
  assert.equal(exchange.failure, undefined);
  return exchange.text;
}

async function refused(promise: Promise<App>, code: string, ...texts: (string | RegExp)[]): Promise<TunicornError> {
  const err = await promise.then(
    () => assert.fail('it loaded'),
    (reason: unknown) => reason,
  );
  assert.ok(err instanceof TunicornError, String((err as Error).stack));
  assert.equal(err.code, `ERR_TUNICORN_APP_${code}`, err.message);
  assert.equal(err.exitCode, 4);
  for (const text of texts) {
    if (typeof text === 'string') assert.ok(err.message.includes(text), err.message);
    else assert.match(err.message, text);
  }
  return err;
}

const fn = (name: string) => `() => ${JSON.stringify(name)}`;

test('where a module is found', async (t) => {
  const files = {
    'esm.mjs': `export default ${fn('esm.mjs')};`,
    'cjs.cjs': `module.exports = ${fn('cjs.cjs')};`,
    'plain.js': `module.exports = ${fn('plain.js')};`,
    'dir/index.js': `module.exports = ${fn('dir/index.js')};`,
    'mdir/index.mjs': `export default ${fn('mdir/index.mjs')};`,
    'pdir/package.json': '{"main": "lib/main.js", "type": "module"}',
    'pdir/lib/main.js': `export default ${fn('pdir/lib/main.js')};`,
    'both.js': `module.exports = ${fn('both.js')};`,
    'both/index.js': `module.exports = ${fn('both/index.js')};`,
    'with:colon.cjs': `module.exports = ${fn('with:colon.cjs')};`,
    'node_modules/pkg/package.json': '{"main": "app.js"}',
    'node_modules/pkg/app.js': `exports.app = ${fn('pkg')};`,
  };
  const cwd = project(t, files);
  const cases: [spec: string, says: string, source: string][] = [
    ['esm.mjs', 'esm.mjs', 'esm.mjs:default'],
    ['esm', 'esm.mjs', 'esm.mjs:default'],
    ['./cjs', 'cjs.cjs', 'cjs.cjs:default'],
    [join(cwd, 'plain.js'), 'plain.js', 'plain.js:default'],
    ['dir', 'dir/index.js', 'dir/index.js:default'],
    ['mdir', 'mdir/index.mjs', 'mdir/index.mjs:default'],
    ['pdir', 'pdir/lib/main.js', 'pdir/lib/main.js:default'],
    ['both', 'both.js', 'both.js:default'],
    ['with:colon.cjs', 'with:colon.cjs', 'with:colon.cjs:default'],
    ['pkg', 'pkg', 'node_modules/pkg/app.js:app'],
    ['pkg:app', 'pkg', 'node_modules/pkg/app.js:app'],
  ];
  for (const [spec, says, source] of cases) {
    const app = await loadApp(spec, { cwd });
    assert.equal(call(app), says, spec);
    assert.equal(app.source, source, spec);
  }
});

test('the export that is taken', async (t) => {
  const cases: [name: string, text: string, spec: string, says: string][] = [
    ['a.mjs', `export default ${fn('default')}; export const app = ${fn('app')};`, 'a', 'default'],
    ['b.mjs', `export const handler = ${fn('handler')}; export const app = ${fn('app')};`, 'b', 'app'],
    ['c.mjs', `export const handler = ${fn('handler')};`, 'c', 'handler'],
    ['d.mjs', `export default {}; export const app = ${fn('app')};`, 'd', 'app'],
    ['e.cjs', `exports.app = ${fn('app')};`, 'e', 'app'],
    ['f.cjs', `exports.handler = ${fn('handler')};`, 'f', 'handler'],
    ['g.cjs', `exports.__esModule = true; exports.default = ${fn('default')};`, 'g', 'default'],
    ['h.cjs', `const x = { handler: ${fn('hidden')} }; module.exports = x;`, 'h', 'hidden'],
    ['i.mjs', `export const server = { a: { handler: ${fn('deep')} } };`, 'i:server.a.handler', 'deep'],
    ['j.cjs', `const x = { server: { handler: ${fn('deep')} } }; module.exports = x;`, 'j:server.handler', 'deep'],
    ['k.mjs', `export default Promise.resolve(${fn('promised')});`, 'k', 'promised'],
    ['l.mjs', `export const app = ${fn('named')};`, 'l:app', 'named'],
    ['m.mjs', `await null; export default ${fn('top-level await')};`, 'm:default', 'top-level await'],
  ];
  for (const [name, text, spec, says] of cases) {
    assert.equal(call(await load(t, spec, { [name]: text })), says, `${spec}: ${text}`);
  }
});

test('factories and their arguments', async (t) => {
  const files = {
    'app.mjs': `
      export const create = (...args) => () => JSON.stringify(args);
      export const later = async (x) => () => x;
      export const nested = { prefix: 'p', create(x) { const { prefix } = this; return () => prefix + x; } };
      export const fails = () => { throw new RangeError('no database'); };
      export const nothing = () => {};
      export const value = 7;`,
  };
  const cwd = project(t, files);
  const cases: [spec: string, says: string][] = [
    ['app:create()', '[]'],
    ['app:create( )', '[]'],
    [`app:create('a', "b:c", 'it\\'s \\u0041\\n')`, JSON.stringify(['a', 'b:c', "it's A\n"])],
    ['app:create(1, -2.5, +3, 1e3, 0x10, -0x10, .5)', '[1,-2.5,3,1000,16,-16,0.5]'],
    ['app:create(true, false, null,)', '[true,false,null]'],
    ["app:create(')', ',')", '[")",","]'],
    ["app:later('soon')", 'soon'],
    ["app:nested.create('q')", 'pq'],
  ];
  for (const [spec, says] of cases) {
    const app = await loadApp(spec, { cwd });
    assert.equal(call(app), says, spec);
  }
  assert.equal((await loadApp('app:create(1)', { cwd })).source, 'app.mjs:create()');

  const file = join(cwd, 'app.mjs');
  await refused(loadApp('app:create(port=1)', { cwd }), 'SPEC', 'no keyword arguments', 'port', 'at character 16');
  await refused(loadApp('app:create(port)', { cwd }), 'SPEC', 'port is not a literal');
  await refused(loadApp('app:create(1', { cwd }), 'SPEC', 'expected "," or ")"');
  await refused(loadApp('app:create(', { cwd }), 'SPEC', 'the call is not closed');
  await refused(loadApp("app:create('x)", { cwd }), 'SPEC', 'a string is not closed');
  await refused(loadApp('app:create(1)(2)', { cwd }), 'SPEC', 'text follows the call');
  await refused(loadApp('app:create(12px)', { cwd }), 'SPEC', '12px is not a literal');
  await refused(loadApp('app:create([1])', { cwd }), 'SPEC', 'unexpected [');
  await refused(loadApp('app:', { cwd }), 'SPEC', 'nothing follows the colon');
  await refused(loadApp('app:a-b', { cwd }), 'SPEC', '"a-b" is not an export name');
  await refused(loadApp(':app', { cwd }), 'SPEC', 'names no module');
  await refused(loadApp('app:value()', { cwd }), 'EXPORT', file, 'value', 'number, not a factory', 'create (function)');
  const failed = await refused(loadApp('app:fails()', { cwd }), 'IMPORT', file, 'RangeError: no database');
  assert.match((failed.cause as Error).stack ?? '', /app\.mjs:5/);
  await refused(loadApp('app:nothing()', { cwd }), 'NOT_HANDLER', file, 'nothing() in', 'is undefined');
});

test('what has fetch', async (t) => {
  const body = (name: string) => `() => new Response(${JSON.stringify(name)})`;
  const cases: [name: string, text: string, spec: string, says: string][] = [
    ['a.mjs', `export default { name: 'me', fetch(r) { return new Response(this.name + r.method); } };`, 'a', 'meGET'],
    ['b.mjs', `export const fetch = ${body('module')};`, 'b', 'module'],
    ['c.cjs', `exports.fetch = ${body('cjs')};`, 'c', 'cjs'],
    [
      'd.mjs',
      `class Hono { #x = 'hono'; fetch = async () => new Response(this.#x); }; export default new Hono();`,
      'd',
      'hono',
    ],
    ['e.mjs', `export const app = { fetch: ${body('named')} };`, 'e:app', 'named'],
    ['f.mjs', `export const create = async () => ({ fetch: ${body('made')} });`, 'f:create()', 'made'],
  ];
  for (const [name, text, spec, says] of cases) {
    assert.equal(await fetched(await load(t, spec, { [name]: text })), says, spec);
  }
});

test('a bare function is (req, res), whatever it is called', async (t) => {
  const app = await load(t, 'a:fetch', { 'a.mjs': `export const fetch = ${fn('node')};` });
  assert.equal(call(app), 'node');
});

test('a method is called on what it was found at', async (t) => {
  const text = `class App { name = 'mine'; handle() { return this.name; } } export const app = new App();`;
  assert.equal(call(await load(t, 'a:app.handle', { 'a.mjs': text })), 'mine');
});

test('a program that listens only as the main module is told to export its app', async (t) => {
  const guards = {
    'require.main === module': 'a.cjs',
    'module === require.main': 'a.cjs',
    'import.meta.main': 'a.mjs',
    'process.argv[1]': 'b.mjs',
  };
  for (const [guard, file] of Object.entries(guards)) {
    const condition = guard.includes('argv') ? `import.meta.url === 'file://' + ${guard}` : guard;
    const cwd = project(t, { [file]: `if (${condition}) console.log('listens');` });
    await refused(loadApp(file, { cwd }), 'EXPORT', `as the main module (${guard}), which it is not here: export`);
  }
});

test('errors say the path and the exports', async (t) => {
  const cwd = project(t, {
    'syntax.mjs': 'export default 1;\nexport const a = ;\n',
    'syntax.cjs': 'module.exports = (;\n',
    'throws.mjs': "const boom = () => { throw new Error('at load'); };\nboom();\n",
    'missing.mjs': "import './not-there.mjs';\n",
    'odd.mjs': 'throw null;',
    'types.ts': 'enum E { A }\nexport default () => {};',
    'names.mjs': 'export const create = () => {}; export const port = 1; export default { port };',
    'empty.mjs': '',
    'cls.mjs': 'export default class Server { fetch() {} }',
    'obj.mjs': 'export default new Map();',
    'rejects.mjs': "export default Promise.resolve().then(() => { throw new Error('late'); }); export const x = 1;",
    'fastify.mjs': `export default { routing() {}, ready: async () => { throw new Error('plugin failed'); } };`,
  });
  const path = (name: string) => join(cwd, name);

  await refused(loadApp('nowhere', { cwd }), 'NOT_FOUND', path('nowhere'), '.mjs');
  await refused(loadApp('./lib/nowhere.js:app', { cwd }), 'NOT_FOUND', path('lib/nowhere.js'));
  await refused(loadApp('http', { cwd }), 'NOT_FOUND');
  await refused(loadApp('syntax.mjs', { cwd }), 'IMPORT', `${path('syntax.mjs')}:2`, 'SyntaxError');
  await refused(loadApp('syntax.cjs', { cwd }), 'IMPORT', `${path('syntax.cjs')}:1`);
  const thrown = await refused(loadApp('throws', { cwd }), 'IMPORT', path('throws.mjs'), 'Error: at load');
  assert.match((thrown.cause as Error).stack ?? '', /throws\.mjs:1.*\n.*throws\.mjs:2/);
  await refused(loadApp('missing', { cwd }), 'IMPORT', path('missing.mjs'), 'not-there.mjs');
  await refused(loadApp('odd', { cwd }), 'IMPORT', path('odd.mjs'), 'threw null');
  await refused(
    loadApp('names', { cwd }),
    'NOT_HANDLER',
    path('names.mjs'),
    'is object',
    'create (function), default (object), port (number)',
    'Koa',
  );
  await refused(loadApp('names:app', { cwd }), 'EXPORT', path('names.mjs'), 'no export app', 'create (function)');
  await refused(loadApp('names:port', { cwd }), 'NOT_HANDLER', 'port in', 'is number', '(req, res)');
  await refused(loadApp('names:create.x', { cwd }), 'EXPORT', 'no export create.x');
  await refused(loadApp('empty', { cwd }), 'EXPORT', path('empty.mjs'), 'exports neither', 'It exports nothing.');
  await refused(loadApp('cls', { cwd }), 'NOT_HANDLER', path('cls.mjs'), 'is class Server');
  await refused(loadApp('obj', { cwd }), 'NOT_HANDLER', 'is Map object');
  await refused(loadApp('fastify', { cwd }), 'IMPORT', 'failed to start: Error: plugin failed');
  if (!('typescript' in process.features)) await refused(loadApp('types.ts', { cwd }), 'IMPORT', 'TypeScript');
  await refused(loadApp('rejects', { cwd }), 'IMPORT', 'promise that rejected: Error: late');
});

test("in a thread, with a working directory that is not the process's", async (t) => {
  const cwd = project(t, { 'lib/app.cjs': 'module.exports = () => require("node:worker_threads").isMainThread;' });
  const thread = new Worker(
    `import(process.argv[2]).then(async ({ loadApp }) => {
       const app = await loadApp('lib/app', { cwd: process.argv[3] });
       require('node:worker_threads').parentPort.postMessage([app.source, app.handle()]);
     });`,
    { eval: true, argv: [new URL('../../../src/app/load.js', import.meta.url).href, cwd] },
  );
  t.after(() => thread.terminate());
  const [answer] = await once(thread, 'message');
  assert.deepEqual(answer, ['lib/app.cjs:default', false]);
});

/** Serves app on node:http and asks it for path. */
async function get(t: TestContext, app: App, path: string, init?: RequestInit): Promise<Response> {
  assert.equal(app.kind, 'node');
  const server = createServer((req, res) => (app as Extract<App, { kind: 'node' }>).handle(req, res));
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  t.after(() => server.close());
  return fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`, init);
}

test('Express 5, from the examples', async (t) => {
  const express = await loadApp('examples/express/app.js', { cwd: process.cwd() });
  const echo = await get(t, express, '/json', {
    method: 'POST',
    body: '{"a":[1,2]}',
    headers: { 'content-type': 'application/json', 'x-request-id': 'r1' },
  });
  assert.deepEqual(await echo.json(), { a: [1, 2] });
  assert.equal(echo.headers.get('x-request-id'), 'r1');
  assert.equal(await (await get(t, express, '/')).text(), 'Hello, World!\n');
  assert.equal((await get(t, express, '/cpu?ms=1')).status, 200);
  assert.equal((await get(t, express, '/cpu?ms=x')).status, 400);
  assert.equal((await get(t, express, '/nowhere')).status, 404);
  const complaints = t.mock.method(console, 'error', () => {});
  assert.equal((await get(t, express, '/error')).status, 500);
  assert.equal(complaints.mock.callCount(), 1);
  const bad = await get(t, express, '/json', {
    method: 'POST',
    body: '{',
    headers: { 'content-type': 'application/json' },
  });
  assert.equal(bad.status, 400);
});

test('Fastify 5, from the examples: ready before it serves, closed at the end', async (t) => {
  const app = await loadApp('examples/fastify/app.js:build("Hi")', { cwd: process.cwd() });
  assert.equal(await (await get(t, app, '/')).text(), 'Hi, World!\n');
  const bad = await get(t, app, '/json', {
    method: 'POST',
    body: '{}',
    headers: { 'content-type': 'application/json' },
  });
  assert.equal(bad.status, 400);
  await app.close?.();
  const late = await loadApp('app', {
    cwd: project(t, {
      'app.mjs': `import Fastify from 'fastify';
        const app = Fastify();
        app.register(async (scope) => { scope.get('/', async () => 'plugin'); });
        app.addHook('onClose', async () => { globalThis.tunicornClosed = true; });
        export default app;`,
    }),
  });
  assert.equal(await (await get(t, late, '/')).text(), 'plugin');
  await late.close?.();
  assert.equal((globalThis as { tunicornClosed?: boolean }).tunicornClosed, true);
});

test('Koa 3 and fetch, from the examples', async (t) => {
  const koa = await loadApp('examples/koa/app.cjs', { cwd: process.cwd() });
  const hello = await get(t, koa, '/');
  assert.equal(await hello.text(), 'Hello, World!\n');
  assert.match(hello.headers.get('x-response-time') ?? '', /ms$/);
  assert.equal((await get(t, koa, '/nowhere')).status, 404);
  assert.equal(await fetched(await loadApp('examples/fetch/app', { cwd: process.cwd() })), 'Hello, World!\n');
});

test('files that only require() can load are required', async (t) => {
  const { extensions } = createRequire(import.meta.url);
  extensions['.custom'] = (module, filename) => {
    const text = readFileSync(filename, 'utf8');
    if (text === '') throw new Error('empty, as asked');
    (module as unknown as { exports: unknown }).exports = { app: () => text };
  };
  const files = { 'a.custom': 'from a.custom', 'b.custom': '', 'c.unknown': '' };
  try {
    assert.equal(call(await load(t, 'a.custom', files)), 'from a.custom');
    await refused(load(t, 'b.custom', files), 'IMPORT', 'b.custom: Error: empty, as asked');
    await refused(load(t, 'c.unknown', files), 'IMPORT', 'Unknown file extension');
  } finally {
    delete extensions['.custom'];
  }
});
