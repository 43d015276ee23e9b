/** The configuration file: which one is read, its forms, what is refused, and that it is read anew. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { readCommand } from '../../../src/config/argv.js';
import { findConfigFile, loadConfigFile } from '../../../src/config/file.js';
import { loadConfig } from '../../../src/config/load.js';
import { formatConfig } from '../../../src/config/print.js';
import { TunicornError } from '../../../src/errors.js';

const root = mkdtempSync(join(tmpdir(), 'tunicorn-config-'));
after(() => rmSync(root, { recursive: true, force: true }));
let folders = 0;

/** A new folder with these files. */
function folder(files: Record<string, string>): string {
  const dir = join(root, String(folders++));
  mkdirSync(dir);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
  return dir;
}

function write(name: string, text: string): string {
  return join(folder({ [name]: text }), name);
}

async function refused(promise: Promise<unknown>, message: RegExp, status = 1): Promise<void> {
  await assert.rejects(promise, (err) => {
    assert.ok(err instanceof TunicornError);
    assert.equal(err.code, status === 1 ? 'ERR_TUNICORN_CONFIG_FILE' : 'ERR_TUNICORN_CONFIG');
    assert.equal(err.exitCode, status);
    assert.match(err.message, message);
    return true;
  });
}

async function load(cwd: string, argv: string[], env: Record<string, string> = {}) {
  const command = readCommand(argv, env);
  assert.ok('layers' in command);
  return await loadConfig(command, { env, cwd });
}

describe('findConfigFile', () => {
  it('takes the usual names, none, or what is named', () => {
    for (const name of ['tunicorn.conf.js', 'tunicorn.conf.mjs', 'tunicorn.conf.cjs', 'tunicorn.conf.ts']) {
      const dir = folder({ [name]: '' });
      assert.equal(findConfigFile(null, dir), join(dir, name));
    }
    const dir = folder({ 'x.mjs': '' });
    assert.equal(findConfigFile(null, dir), null);
    for (const named of ['x.mjs', './x.mjs', 'file:x.mjs', join(dir, 'x.mjs'), `file:${dir}/x.mjs`]) {
      assert.equal(findConfigFile(named, dir), join(dir, 'x.mjs'));
    }
  });

  it('refuses several of the usual names, a missing file, other kinds of file', async () => {
    const dir = folder({ 'tunicorn.conf.js': '', 'tunicorn.conf.cjs': '', 'x.py': '', x: '' });
    const find = async (named: string | null) => findConfigFile(named, dir);
    await refused(find(null), /^tunicorn\.conf\.js and tunicorn\.conf\.cjs are both in .*: say which one by --config$/);
    await refused(find('no.js'), /^--config: there is no file \/.*\/no\.js$/);
    await refused(find(''), /^--config: there is no file/);
    await refused(find('x.py'), /x\.py is no configuration file: its name has to end in \.js, /);
    await refused(find('python:conf'), /no Python modules/, 2);
  });
});

describe('loadConfigFile', () => {
  for (const [what, name, text] of [
    ['an object', 'a.mjs', 'export default { workers: 3 }'],
    ['a function of the environment', 'a.mjs', 'export default (env) => ({ workers: env.N })'],
    ['an async function', 'a.mjs', 'export default async function ({ N }) { return { workers: N }; }'],
    ['a promise', 'a.mjs', 'export default Promise.resolve({ workers: 3 })'],
    ['CommonJS', 'a.cjs', 'module.exports = { workers: 3 }'],
    ['a CommonJS function', 'a.cjs', 'module.exports = (env) => ({ workers: env.N })'],
    [
      'an ES module compiled to CommonJS',
      'a.cjs',
      'Object.defineProperty(exports, "__esModule", { value: true }); exports.default = { workers: 3 }',
    ],
    ['.js without a package.json', 'a.js', 'module.exports = { workers: 3 }'],
  ] as const) {
    it(`reads ${what}`, async () => {
      const { workers } = (await loadConfigFile(write(name, text), { N: '3' })) as { workers: unknown };
      assert.equal(Number(workers), 3);
    });
  }

  it('reads an ES module named .js where the package says so', async () => {
    const dir = folder({ 'package.json': '{"type":"module"}', 'a.js': 'export default { workers: 3 }' });
    assert.deepEqual(await loadConfigFile(join(dir, 'a.js'), {}), { workers: 3 });
  });

  it('reads TypeScript where this Node can, and says so where it cannot', async () => {
    const file = write('a.ts', 'const workers: number = 3; export default { workers };');
    const { features } = process as { features: { typescript?: string | false } };
    if (features.typescript) assert.deepEqual(await loadConfigFile(file, {}), { workers: 3 });
    else await refused(loadConfigFile(file, {}), /a\.ts: Node v[\d.]+ cannot read TypeScript by itself/);
  });

  for (const [name, text] of [
    ['again.mjs', (n: number) => `export default { workers: ${n} }`],
    ['again.cjs', (n: number) => `module.exports = { workers: ${n} }`],
  ] as const) {
    it(`reads ${name} anew each time`, async () => {
      const file = write(name, text(1));
      for (let n = 1; n < 4; n++) {
        writeFileSync(file, text(n));
        assert.deepEqual(await loadConfigFile(file, {}), { workers: n });
      }
    });
  }

  it('reads a file behind a symbolic link anew each time, and another one that the link points to later', async () => {
    for (const [kind, text] of [
      ['.mjs', (n: number) => `export default { workers: ${n} }`],
      ['.cjs', (n: number) => `module.exports = { workers: ${n} }`],
    ] as const) {
      const dir = folder({ [`one${kind}`]: text(1), [`two${kind}`]: text(3) });
      const link = join(dir, `link${kind}`);
      symlinkSync(`one${kind}`, link);
      const seen = [await loadConfigFile(link, {})];
      writeFileSync(join(dir, `one${kind}`), text(2));
      seen.push(await loadConfigFile(link, {}));
      rmSync(link);
      symlinkSync(`two${kind}`, link);
      seen.push(await loadConfigFile(link, {}));
      assert.deepEqual(seen, [{ workers: 1 }, { workers: 2 }, { workers: 3 }], kind);
    }
  });

  it('gives a function a copy of the environment', async () => {
    const env = { A: '1' };
    await loadConfigFile(write('a.mjs', 'export default (env) => { env.A = "2"; return {}; }'), env);
    assert.equal(env.A, '1');
  });

  for (const [what, name, text, message] of [
    [
      'an error',
      'a.mjs',
      '\nthrow new TypeError("boom");',
      /^cannot read \S+a\.mjs: TypeError: boom \(at \/\S+a\.mjs:2:7\)$/,
    ],
    ['an error of a function', 'a.mjs', 'export default () => {\n  null.x;\n};', /\(at \/\S+a\.mjs:2:8\)$/],
    [
      'a rejected promise',
      'a.mjs',
      'export default Promise.reject(new Error("no"))',
      /Error: no \(at \/\S+a\.mjs:1:31\)$/,
    ],
    ['an error in CommonJS', 'a.cjs', '\n\nthrow new Error("x")', /\(at \/\S+a\.cjs:3:7\)$/],
    ['what is thrown, no Error', 'a.mjs', 'throw "x"', /a\.mjs: it threw "x" \(at \/\S+a\.mjs\)$/],
    ['a syntax error', 'a.mjs', 'export default {\n  a b\n}', /SyntaxError: .* \(at \/\S+a\.mjs:2\)$/],
    ['a syntax error in CommonJS', 'a.cjs', 'module.exports = {\n  a b\n}', /SyntaxError: .* \(at \/\S+a\.cjs:2\)$/],
    [
      'a missing import',
      'a.mjs',
      'import "./none.mjs"',
      /^cannot read \S+a\.mjs: Error: Cannot find module .*none\.mjs/,
    ],
    ['no default export', 'a.mjs', 'export const workers = 1', /a\.mjs has no default export: an object/],
    ['another export', 'a.mjs', 'export default 3', /a\.mjs exports 3 by default: an object/],
    ['a list', 'a.mjs', 'export default [1]', /exports \[1\] by default/],
    ['null', 'a.mjs', 'export default () => null', /exports null by default/],
  ] as const) {
    it(`refuses ${what}, with the place`, async () => {
      await refused(loadConfigFile(write(name, text), {}), message);
    });
  }

  it('gives up on a file that never finishes', async () => {
    await refused(loadConfigFile(write('a.mjs', 'await new Promise(() => {})'), {}, 200), /takes longer than 0\.2 s$/);
  });
});

describe('loadConfig', () => {
  it("has gunicorn's precedence: default, environment, file, TUNICORN_CMD_ARGS, command line", async () => {
    const text = (keys: string) => `export default { app: 'app.js', ${keys} }`;
    const env: Record<string, string> = { WEB_CONCURRENCY: '2' };
    const none = folder({});
    const dir = folder({ 'tunicorn.conf.mjs': text('workers: 3') });
    assert.equal((await load(none, ['a'])).config.workers, 1);
    assert.equal((await load(none, ['a'], env)).config.workers, 2);
    assert.equal((await load(dir, [], env)).config.workers, 3);
    env.TUNICORN_CMD_ARGS = '-w 4 -b :1';
    assert.equal((await load(dir, [], env)).config.workers, 4);
    const { config, sources, file } = await load(dir, ['-w5'], env);
    assert.equal(config.workers, 5);
    assert.deepEqual(config.bind, [':1']);
    assert.equal(config.app, 'app.js');
    assert.equal(file, join(dir, 'tunicorn.conf.mjs'));
    assert.deepEqual(
      (['workers', 'bind', 'app', 'timeout'] as const).map((key) => sources.get(key)),
      ['--workers', '$TUNICORN_CMD_ARGS: --bind', `${file}: app`, 'default'],
    );
    assert.equal((await load(none, ['a'], { PORT: '9' })).sources.get('bind'), '$PORT');
  });

  it('the app: command line before TUNICORN_CMD_ARGS before the file, which may call it wsgi_app', async () => {
    const dir = folder({ 'tunicorn.conf.mjs': 'export default { wsgi_app: "in-file" }' });
    assert.equal((await load(dir, [])).config.app, 'in-file');
    assert.equal((await load(dir, [], { TUNICORN_CMD_ARGS: 'in-variable' })).config.app, 'in-variable');
    assert.equal((await load(dir, ['argument'], { TUNICORN_CMD_ARGS: 'in-variable' })).config.app, 'argument');
    await refused(load(folder({}), []), /no app given/, 2);
  });

  it('--config: that of the command line counts, and its own folder does not matter', async () => {
    const dir = folder({ 'one.mjs': 'export default { workers: 1 }', 'two.mjs': 'export default { workers: 2 }' });
    const other = folder({ 'tunicorn.conf.mjs': 'export default { workers: 9 }' });
    const env = { TUNICORN_CMD_ARGS: `-c ${dir}/two.mjs` };
    assert.equal((await load(other, ['a'], env)).config.workers, 2);
    assert.equal((await load(other, ['a', '-c', `${dir}/one.mjs`], env)).config.workers, 1);
  });

  it('leaves the current folder as it is', async () => {
    const before = process.cwd();
    const dir = folder({ 'tunicorn.conf.mjs': 'export default { chdir: "sub", timeout: -1 }' });
    await assert.rejects(load(dir, ['a']));
    assert.equal(process.cwd(), before);
    mkdirSync(join(dir, 'sub'));
    writeFileSync(join(dir, 'tunicorn.conf.mjs'), 'export default { chdir: "sub" }');
    assert.equal((await load(dir, ['a'])).config.chdir, join(dir, 'sub'));
    assert.equal(process.cwd(), before);
  });

  it('passes hooks through untouched, in either spelling', async () => {
    const dir = folder({
      'tunicorn.conf.cjs': 'module.exports = { app: "a", on_starting: function first() {}, workerExit() {} }',
    });
    const loaded = await load(dir, []);
    assert.deepEqual(Object.keys(loaded.hooks).sort(), ['onStarting', 'workerExit']);
    assert.equal(loaded.hooks.onStarting?.name, 'first');
    assert.match(formatConfig(loaded), /^on_starting += <first\(\)> {2}# \S+: on_starting$/m);
    assert.ok(!Object.keys(loaded.config).some((key) => key === 'onStarting'), 'a Config is plain data');
  });

  for (const [text, message] of [
    ['wrokers: 2', /conf\.mjs: unknown setting "wrokers" \(did you mean workers\?\)$/],
    ['worker_clas: 2', /did you mean worker_class\?/],
    ['workerClas: 2', /did you mean workerClass\?/],
    ['onStartin() {}', /did you mean onStarting\?/],
    ['nothing_like_it_at_all: 2', /conf\.mjs: unknown setting "nothing_like_it_at_all"$/],
    ['workers: 0', /conf\.mjs: workers: 0 is not a whole number from 1 to 1024$/],
    ['keep_alive: 1, keepalive: "soon"', /unknown setting "keep_alive" \(did you mean keepalive\?\)/],
    ['keepalive: "soon"', /conf\.mjs: keepalive: "soon" is not a number of seconds from 0 to 2000000$/],
    ['worker_class: "gevent"', /conf\.mjs: worker_class: unknown worker class "gevent": choose from gthread, sync$/],
    ['maxRequests: 1, max_requests: 1', /conf\.mjs: maxRequests and max_requests are the same setting/],
    ['app: "a", wsgi_app: "a"', /app and wsgi_app are the same setting/],
    ['on_exit: "x"', /conf\.mjs: on_exit: "x" is not a function, which a hook has to be$/],
    ['chdir: "/no/such"', /conf\.mjs: chdir: "\/no\/such" is not a folder$/],
    ['bind: ":1", statusBind: ":1"', /conf\.mjs: statusBind: ":1" is an address of --bind already$/],
    ['pythonpath: "x"', /conf\.mjs: gunicorn's setting "pythonpath" does not exist here\. Node finds modules/],
    ['tmpUploadDir: "x"', /gunicorn's setting "tmpUploadDir" does not exist here\. Request bodies are streamed/],
    ['config: "x"', /"config" is for the command line alone: --config$/],
    ['check_config: true', /"check_config" is for the command line alone: --check-config$/],
  ] as const) {
    it(`refuses { ${text} }`, async () => {
      const dir = folder({ 'tunicorn.conf.mjs': `export default { ${text} }` });
      await refused(load(dir, ['app.js']), message);
    });
  }

  it('refuses a bad value in the file even if the command line has a good one', async () => {
    const dir = folder({ 'tunicorn.conf.mjs': 'export default { workers: "x" }' });
    await refused(load(dir, ['a', '-w', '2']), /workers: "x"/);
  });

  it('names TUNICORN_CMD_ARGS where that is wrong', async () => {
    for (const [args, message] of [
      ['--wrokers 2', /^\$TUNICORN_CMD_ARGS: unknown option '--wrokers' \(did you mean --workers\?\)$/],
      ['-w x', /^\$TUNICORN_CMD_ARGS: --workers: "x" is not/],
      ["-w '2", /^\$TUNICORN_CMD_ARGS: a ' is not closed$/],
      ['a b', /^\$TUNICORN_CMD_ARGS: one app is expected/],
      ['--paste x', /^\$TUNICORN_CMD_ARGS: gunicorn's option '--paste' does not exist here\. It is about Paste/],
    ] as const) {
      await refused((async () => await load(folder({}), ['a'], { TUNICORN_CMD_ARGS: args }))(), message, 2);
    }
  });
});
