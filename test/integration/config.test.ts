/** The configuration file and the command, with real processes: start, --check-config, --print-config, HUP. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { AppFolders } from '../support/app-folders.js';
import { ArbiterProcess, isAlive } from '../support/arbiter-process.js';
import { ask, askJson } from '../support/ask.js';
import { until } from '../support/poll.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
const PACKAGE = fileURLToPath(new URL('../../../', import.meta.url));

const started: ArbiterProcess[] = [];

after(async () => {
  for (const one of started) await one.cleanup();
  folders.remove();
});

/** An app that answers with what a setting may change. */
const APP = `export default (req, res) => res.end(JSON.stringify({
  pid: process.pid, cwd: process.cwd(), env: process.env.FROM_FILE ?? null }));`;
const folders = new AppFolders('conf', APP);

const conf = (settings: object) =>
  `export default ${JSON.stringify({ app: 'app.mjs', bind: '127.0.0.1:0', threads: 1, ...settings })}`;

function tunicorn(cwd: string, args: string[] = [], env: Record<string, string> = {}): ArbiterProcess {
  const one = new ArbiterProcess([CLI, ...args], { TUNICORN_CMD_ARGS: '', ...env }, cwd);
  started.push(one);
  return one;
}

/** HUP, and the line that says it is done with. */
async function hangUp(one: ArbiterProcess, line: RegExp): Promise<void> {
  const before = one.log.length;
  one.kill('SIGHUP');
  await until(() => line.test(one.log.slice(before)), { what: `${line} in the log` }).catch((err) => {
    throw new Error(`${err.message}; the log:\n${one.log}`);
  });
}

async function ends(one: ArbiterProcess): Promise<void> {
  one.kill('SIGTERM');
  assert.equal((await one.ended).code, 0, one.log);
}

describe('configuration', { concurrency: 2, timeout: 180_000 }, () => {
  it('the usual file in the current folder, typed by defineConfig, is enough to serve', async () => {
    const dir = folders.make({
      'tunicorn.conf.mjs': `import { defineConfig } from 'tunicorn';
        export default defineConfig((env) => ({ app: 'app.mjs', bind: '127.0.0.1:0', workers: Number(env.COUNT), worker_class: 'sync' }));`,
    });
    mkdirSync(join(dir, 'node_modules'));
    symlinkSync(PACKAGE, join(dir, 'node_modules/tunicorn'));
    const one = tunicorn(dir, [], { COUNT: '2' });
    const at = await one.firstPort();
    assert.equal((await askJson(at)).cwd, dir);
    await one.waitForWorkers(2);
    assert.match(one.log, /Using worker: sync/);
    await ends(one);
  });

  for (const [what, text, status, message] of [
    ['an unknown setting', 'export default { wrokers: 1 }', 1, /^tunicorn: error: \/.*unknown setting "wrokers" .*\n$/],
    ['a refused value', 'export default { workers: 0 }', 1, /^tunicorn: error: \/.*: workers: 0 is not .*\n$/],
    ['its own error', '\nthrow new Error("boom")', 1, /^tunicorn: error: .*Error: boom \(at \/.*conf\.mjs:2:7\)\n$/],
    ['a syntax error', 'export default {', 1, /^tunicorn: error: .*SyntaxError: .* \(at \/.*conf\.mjs:1\)\n$/],
    ['no app', 'export default {}', 2, /^tunicorn: error: no app given.*\nTry 'tunicorn --help'\.\n$/],
  ] as const) {
    it(`a file with ${what}: one message without a stack, status ${status}`, async () => {
      const one = tunicorn(folders.make({ 'tunicorn.conf.mjs': text }));
      assert.equal((await one.ended).code, status, one.log);
      assert.equal(one.stdout, '');
      assert.match(one.log, message);
    });
  }

  it('--check-config: 0 if the settings are good and the app loads, otherwise 1 and why', async () => {
    const dir = folders.make({
      'tunicorn.conf.mjs': conf({}),
      'throws.mjs': 'throw new Error("no such database");',
      'exits.mjs': 'process.exit(0);',
      'leaves.mjs': 'process.chdir("/"); export default () => {};',
      'forks.mjs': 'import cluster from "node:cluster"; cluster.fork();',
      'stays.mjs': 'setInterval(() => {}, 1000); console.log("loaded"); export default () => {};',
    });
    for (const [args, code, log] of [
      [[], 0, /^tunicorn: the configuration is good and the app loads\.\n$/],
      [['stays.mjs'], 0, /good/],
      [['none.mjs'], 1, /^tunicorn: error: the app does not load: No app at \S+none\.mjs: /],
      [['throws.mjs'], 1, /the app does not load: Cannot load \S+: Error: no such database\n[\s\S]*throws\.mjs:1:7/],
      [['exits.mjs'], 1, /the app does not load: its process ended while it loaded: exit status 0\n$/],
      [['leaves.mjs'], 1, /process\.chdir\(\) cannot leave \S+ in a thread: start tunicorn with --chdir \/\.\n/],
      [['--worker-class', 'sync', 'leaves.mjs'], 0, /good/],
      [['forks.mjs'], 1, /cluster\.fork\(\) is not for an app of tunicorn/],
      [['-w', 'x'], 2, /--workers: "x"/],
    ] as const) {
      const one = tunicorn(dir, ['--check-config', ...args]);
      assert.equal((await one.ended).code, code, one.log);
      assert.match(one.log, log);
      assert.doesNotMatch(one.log, /Listening/);
    }
  });

  it('--print-config: every setting, sorted, with its value and source', async () => {
    const dir = folders.make({ 'tunicorn.conf.mjs': conf({ keepalive: 7 }) });
    const one = tunicorn(dir, ['--print-config', '-t', '9'], {
      WEB_CONCURRENCY: '3',
      TUNICORN_CMD_ARGS: '--backlog 5',
    });
    assert.equal((await one.ended).code, 0, one.log);
    const lines = one.stdout.trimEnd().split('\n');
    const names = lines.map((line) => line.split(' ')[0]);
    assert.deepEqual(names, [...names].sort());
    for (const line of [
      /^app += "app\.mjs" {2}# \/.*tunicorn\.conf\.mjs: app$/,
      /^backlog += 5 {2}# \$TUNICORN_CMD_ARGS: --backlog$/,
      /^bind += \["127\.0\.0\.1:0"\] {2}# /,
      /^graceful_timeout += 30 {2}# default$/,
      /^keepalive += 7 {2}# \/.*tunicorn\.conf\.mjs: keepalive$/,
      /^timeout += 9 {2}# --timeout$/,
      /^workers += 3 {2}# \$WEB_CONCURRENCY$/,
    ]) {
      assert.ok(
        lines.some((text) => line.test(text)),
        `${line} in\n${one.stdout}`,
      );
    }
  });

  it('HUP reads the file again: what workers can take they take, and the number of them changes', async () => {
    const dir = folders.make({ 'tunicorn.conf.mjs': conf({ workers: 1, accesslog: null }) });
    const file = join(dir, 'tunicorn.conf.mjs');
    const one = tunicorn(dir, ['--graceful-timeout', '5']);
    const at = await one.firstPort();
    const { pid } = await askJson(at);
    writeFileSync(file, conf({ workers: 2 }));
    await hangUp(one, /Booting worker/);
    await one.waitForWorkers(2);
    assert.ok(one.workers.includes(pid), 'the first one lives on');
    writeFileSync(file, conf({ workers: 1 }));
    await hangUp(one, /Worker exiting/);
    await one.waitForWorkers(1);
    await askJson(at);
    await ends(one);
  });

  it('HUP: a setting that needs a new process gets one, and no request is lost', async () => {
    const dir = folders.make({ 'tunicorn.conf.mjs': conf({}) });
    mkdirSync(join(dir, 'sub'));
    writeFileSync(join(dir, 'sub', 'app.mjs'), APP);
    const one = tunicorn(dir);
    const at = await one.firstPort();
    const { pid, cwd } = await askJson(at);
    assert.equal(cwd, dir);
    writeFileSync(join(dir, 'tunicorn.conf.mjs'), conf({ chdir: 'sub' }));
    await hangUp(one, /Booting worker/);
    await until(async () => (await askJson(at)).cwd === join(dir, 'sub'), { what: 'an answer from the new folder' });
    await until(() => !isAlive(pid), { what: 'the old worker to leave' });
    // The file is still looked for where the command was given.
    writeFileSync(join(dir, 'tunicorn.conf.mjs'), conf({ chdir: '.' }));
    await hangUp(one, /Booting worker/);
    await until(async () => (await askJson(at)).cwd === dir, { what: 'an answer from the first folder' });
    await ends(one);
  });

  it('HUP: the command line and the environment of the start still win', async () => {
    const dir = folders.make({ 'tunicorn.conf.mjs': conf({ workers: 1 }) });
    const one = tunicorn(dir, ['-w', '2'], { TUNICORN_CMD_ARGS: '--log-level debug' });
    await one.firstPort();
    await one.waitForWorkers(2);
    writeFileSync(join(dir, 'tunicorn.conf.mjs'), conf({ workers: 3, loglevel: 'error' }));
    await hangUp(one, /Hang up: Master/);
    // A signal that is handled after it: the reload is over, and its own line still passes the level.
    await hangUp(one, /Handling signal: hup[\s\S]*Hang up: Master/);
    assert.equal(one.workers.length, 2);
    await ends(one);
  });

  it('HUP: a link in the path by which the shell knows the folder is followed anew', async () => {
    const dirs = [1, 2].map((n) => folders.make({ 'tunicorn.conf.mjs': conf({ raw_env: [`FROM_FILE=${n}`] }) }));
    const current = join(folders.make(), 'current');
    symlinkSync(dirs[0], current);
    const one = tunicorn(current, [], { PWD: current });
    const at = await one.firstPort();
    const seen = async () => {
      const { cwd, env } = await askJson(at);
      return [cwd, env];
    };
    assert.deepEqual(await seen(), [dirs[0], '1']);
    rmSync(current);
    symlinkSync(dirs[1], current);
    one.kill('SIGHUP');
    await until(async () => (await seen())[1] === '2', { what: 'the other folder' });
    assert.deepEqual(await seen(), [dirs[1], '2']);
    await ends(one);
  });

  it('HUP: bind and status_bind change: the new addresses answer, the old ones are closed', async () => {
    const dir = folders.make({ 'tunicorn.conf.mjs': conf({ status_bind: '127.0.0.1:0' }) });
    const one = tunicorn(dir);
    const first = await one.firstPort();
    await askJson(first);
    await one.waitFor(/Status at: /);
    const status = Number(/Status at: http:\/\/127\.0\.0\.1:(\d+)/.exec(one.log)![1]);
    assert.equal((await ask(status, '/live')).status, 200);
    writeFileSync(join(dir, 'tunicorn.conf.mjs'), conf({ bind: '127.0.0.2:0', status_bind: [] }));
    await hangUp(one, /Listening at: http:\/\/127\.0\.0\.2:\d+/);
    const second = Number(/Listening at: http:\/\/127\.0\.0\.2:(\d+)/.exec(one.log)![1]);
    await until(async () => (await ask(second, '/', { host: '127.0.0.2' })).status === 200, { what: 'an answer' });
    for (const old of [first, status]) {
      await until(async () => (await ask(old, '/')).error?.startsWith('ECONNREFUSED'), { what: `${old} to be closed` });
    }
    await ends(one);
  });

  it('HUP: to every address of the same port and back, with an answer at any time', async () => {
    const dir = folders.make({ 'tunicorn.conf.mjs': conf({ bind: '127.0.0.1:0' }) });
    const one = tunicorn(dir);
    const port = await one.firstPort();
    await askJson(port);
    for (const [bind, other] of [
      [`0.0.0.0:${port}`, 200],
      [`127.0.0.1:${port}`, 0],
      [`[::]:${port}`, 200],
    ] as const) {
      writeFileSync(join(dir, 'tunicorn.conf.mjs'), conf({ bind }));
      const from = one.log.length;
      const refused: unknown[] = [];
      one.kill('SIGHUP');
      await until(
        async () => {
          const answer = await ask(port, '/');
          if (answer.status !== 200) refused.push(answer);
          return one.log.indexOf(`Listening at: http://${bind}`, from) >= 0;
        },
        { what: bind },
      );
      assert.deepEqual(refused, []);
      await until(async () => (await ask(port, '/', { host: '127.0.0.2' })).status === other, {
        what: `${bind} alone`,
      });
    }
    assert.doesNotMatch(one.log, /in use/);
    await ends(one);
  });

  it('HUP: the error log moves to another file and another level', async () => {
    const dir = folders.make({ 'tunicorn.conf.mjs': conf({ errorlog: 'one.log' }) });
    const log = (name: string) => readFileSync(join(dir, name), 'utf8');
    const one = tunicorn(dir);
    await until(() => /Listening at/.test(log('one.log')) && /Booting worker/.test(log('one.log')), {
      what: 'the log',
    });
    writeFileSync(join(dir, 'tunicorn.conf.mjs'), conf({ errorlog: 'two.log', loglevel: 'error' }));
    one.kill('SIGHUP');
    await until(() => log('two.log') === '' && /Hang up: Master/.test(log('one.log')), { what: 'another log' });
    writeFileSync(join(dir, 'tunicorn.conf.mjs'), 'export default {');
    one.kill('SIGHUP');
    await until(() => /\[ERROR\] Hang up: nothing is changed: cannot read/.test(log('two.log')), { what: 'the error' });
    assert.doesNotMatch(log('two.log'), /INFO/);
    one.kill('SIGTERM');
    assert.equal((await one.ended).code, 0);
    for (const pid of [...log('one.log').matchAll(/Booting worker with pid: (\d+)/g)]) {
      assert.ok(!isAlive(Number(pid[1])));
    }
  });

  for (const [what, text, message] of [
    [
      'broken',
      'export default {\n  a b }',
      /\[ERROR\] Hang up: nothing is changed: cannot read .*SyntaxError.*conf\.mjs:2/,
    ],
    [
      'that throws',
      'throw new Error("boom")',
      /\[ERROR\] Hang up: nothing is changed: .*Error: boom \(at .*conf\.mjs:1:7\)/,
    ],
    ['with a refused value', conf({ workers: 0 }), /\[ERROR\] Hang up: nothing is changed: .*workers: 0 is not/],
    [
      'with an address of no machine',
      conf({ bind: '192.0.2.1:1', workers: 2 }),
      /\[ERROR\] The new settings are refused/,
    ],
    [
      'with an impossible log',
      conf({ errorlog: '/no/such/log', workers: 2 }),
      /\[ERROR\] The new settings are refused/,
    ],
    [
      'with an impossible access log',
      conf({ accesslog: '/no/such/log', workers: 2 }),
      /\[ERROR\] The new settings are refused/,
    ],
  ] as const) {
    it(`HUP with a file ${what}: an error in the log, all stays as it is`, async () => {
      const dir = folders.make({ 'tunicorn.conf.mjs': conf({}) });
      const one = tunicorn(dir);
      const at = await one.firstPort();
      const { pid } = await askJson(at);
      writeFileSync(join(dir, 'tunicorn.conf.mjs'), text);
      await hangUp(one, message);
      assert.equal((await askJson(at)).pid, pid);
      assert.deepEqual(one.spawned, [pid]);
      // And a good one helps again.
      writeFileSync(join(dir, 'tunicorn.conf.mjs'), conf({ workers: 2 }));
      await hangUp(one, /Booting worker/);
      await one.waitForWorkers(2);
      await ends(one);
    });
  }
});
