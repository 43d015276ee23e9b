/** The life of workers, with real ones: those that cannot boot, hang, serve their time, or are given no more time. */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { AppFolders } from '../support/app-folders.js';
import { ArbiterProcess, isAlive } from '../support/arbiter-process.js';
import { ask, askJson } from '../support/ask.js';
import { until } from '../support/poll.js';
import { cpuSeconds } from '../support/proc.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
const BROKEN = 'export default {';
const app = (version: string) => `export default (req, res) => {
  if (req.url === '/spin') for (;;);
  if (req.url === '/never') return;
  res.end(JSON.stringify({ pid: process.pid, version: ${JSON.stringify(version)} }));
};`;
const folders = new AppFolders('life', app('1'));
const started: ArbiterProcess[] = [];

after(async () => {
  for (const one of started) await one.cleanup();
  folders.remove();
});

function tunicorn(dir: string, ...args: string[]): ArbiterProcess {
  const one = new ArbiterProcess([CLI, '-b', '127.0.0.1:0', '--threads', '1', ...args, 'app.mjs'], {}, dir);
  started.push(one);
  return one;
}

async function serving(dir: string, ...args: string[]): Promise<{ one: ArbiterProcess; port: number; pid: number }> {
  const one = tunicorn(dir, ...args);
  const port = await one.firstPort();
  return { one, port, pid: (await askJson(port)).pid };
}

async function ends(one: ArbiterProcess): Promise<void> {
  one.kill('SIGTERM');
  assert.equal((await one.ended).code, 0, one.log);
  assert.deepEqual(one.workers, [], one.log);
}

describe('life of workers', { concurrency: 2, timeout: 120_000 }, () => {
  for (const kind of ['gthread', 'sync']) {
    it(`an app with a syntax error ends it with status 4 soon, class ${kind}`, async () => {
      const begun = performance.now();
      const one = tunicorn(folders.make({ 'app.mjs': BROKEN }), '-w', '2', '-k', kind);
      assert.equal((await one.ended).code, 4);
      // Less than a second on a quiet machine.
      assert.ok(performance.now() - begun < 20_000, `after ${performance.now() - begun} ms`);
      assert.match(one.log, /SyntaxError/);
      assert.match(one.log, /Reason: App failed to load\.$/m);
      assert.deepEqual(one.workers, []);
    });
  }

  it('HUP with a syntax error, class sync: the old workers serve on, until it is mended', async () => {
    const dir = folders.make();
    const { one, port } = await serving(dir, '-k', 'sync', '-w', '2');
    const old = await one.waitForWorkers(2);
    const seen = new Set<number>();
    await until(async () => seen.add((await askJson(port)).pid).size === 2, { what: 'both to serve' });
    writeFileSync(join(dir, 'app.mjs'), BROKEN);
    for (let n = 1; n <= 2; n++) {
      one.kill('SIGHUP');
      await until(() => one.log.split('The reload has failed: the old workers go on').length === n + 1, {
        what: 'that',
      });
      await until(() => one.workers.length === 2, { what: 'the new ones to go' });
      assert.deepEqual(one.workers, old);
      assert.equal((await askJson(port)).version, '1');
    }
    assert.match(one.log, /SyntaxError/);
    writeFileSync(join(dir, 'app.mjs'), app('2'));
    one.kill('SIGHUP');
    await until(() => !old.some(isAlive), { what: 'the old workers to go' });
    assert.equal((await askJson(port)).version, '2');
    await one.waitForWorkers(2);
    await ends(one);
  });

  it('an app that takes longer to load, or to listen, than a request may take: it starts, and HUP takes up its new code', async () => {
    const wait = 'await new Promise((loaded) => setTimeout(loaded, 800));\n';
    const listens = (version: string) =>
      `import { createServer } from 'node:http'; ${wait}createServer((req, res) => res.end('{"version":"${version}"}')).listen(1);`;
    for (const code of [(version: string) => `${wait}${app(version)}`, listens]) {
      const dir = folders.make();
      writeFileSync(join(dir, 'app.mjs'), code('1'));
      const { one, port } = await serving(dir, '-t', '0.5');
      writeFileSync(join(dir, 'app.mjs'), code('2'));
      one.kill('SIGHUP');
      await until(async () => (await askJson(port)).version === '2', { what: 'the new code' });
      assert.equal(one.spawned.length, 1);
      await ends(one);
    }
  });

  it('HUP with a syntax error, class gthread: the old threads serve on, and so does a worker that would be replaced', async () => {
    const dir = folders.make({ 'tunicorn.conf.mjs': 'export default {};' });
    const { one, port, pid } = await serving(dir);
    writeFileSync(join(dir, 'app.mjs'), BROKEN);
    one.kill('SIGHUP');
    await one.waitFor(/Thread \d+ cannot be replaced \(reload\), it goes on/);
    assert.deepEqual(await askJson(port), { pid, version: '1' });
    writeFileSync(join(dir, 'tunicorn.conf.mjs'), 'export default { backlog: 100 };');
    one.kill('SIGHUP');
    await one.waitFor('The reload has failed: the old workers go on');
    assert.deepEqual(await askJson(port), { pid, version: '1' });
    assert.match(one.log, /SyntaxError/);
    // One that is killed now cannot be replaced, and nobody else serves.
    process.kill(pid, 'SIGKILL');
    assert.equal((await one.ended).code, 4);
  });

  it('a reload that replaces workers has the old ones serve until the new ones do', async () => {
    const dir = folders.make();
    const { one, port, pid } = await serving(dir, '-k', 'sync');
    writeFileSync(join(dir, 'app.mjs'), `await new Promise((resolve) => setTimeout(resolve, 3000));${app('2')}`);
    one.kill('SIGHUP');
    await until(() => one.spawned.length === 2, { what: 'another worker' });
    // No answer waits for the new one.
    for (;;) {
      const { body, ms, error } = await ask(port, '/');
      assert.ok(ms < 2000, `${ms} ms, ${error}`);
      if (JSON.parse(body).pid !== pid) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await ends(one);
  });

  it('a worker that dies while a reload waits for the app is replaced at once, and by one', async () => {
    const waits = `import { existsSync } from 'node:fs';
      while (existsSync('wait')) await new Promise((resolve) => setTimeout(resolve, 20));
      ${app('2')}`;
    const hook = 'export default { preFork: () => new Promise((resolve) => setTimeout(resolve, 1500)) };';
    const dir = folders.make({ 'app.mjs': waits, 'tunicorn.conf.mjs': hook });
    const { one, port, pid } = await serving(dir, '--preload');
    writeFileSync(join(dir, 'wait'), '');
    one.kill('SIGHUP');
    await one.waitFor('Hang up');
    process.kill(pid, 'SIGKILL');
    await one.waitFor(/was sent SIGKILL[\s\S]*Booting worker/);
    assert.doesNotMatch(one.log, /Reloading threads|refused/);
    rmSync(join(dir, 'wait'));
    await one.waitFor('Reloaded 1 threads');
    assert.equal((await askJson(port)).version, '2');
    assert.equal(one.spawned.length, 2, one.log);
    await ends(one);
  });

  it('timeout: a sync worker that hangs is sent ABRT, then KILL, and replaced', async () => {
    const { one, port, pid } = await serving(folders.make(), '-k', 'sync', '-t', '3');
    const lost = ask(port, '/spin');
    await one.waitFor(`[CRITICAL] WORKER TIMEOUT (pid:${pid})`);
    await one.waitFor(`Worker (pid:${pid}) was sent SIGKILL!`);
    assert.notEqual((await lost).error, undefined);
    await until(async () => (await askJson(port)).pid !== pid, { what: 'an answer by another one' });
    await ends(one);
  });

  it('graceful_timeout: requests that are not over then get 503, have their lines in the logs, and the worker ends', async () => {
    const hook = `import { writeSync } from 'node:fs';
      export default { workerExit: () => writeSync(1, 'worker_exit\\n') };`;
    for (const path of ['/never', '/spin']) {
      const dir = folders.make({ 'tunicorn.conf.mjs': hook });
      const { one, port, pid } = await serving(
        dir,
        '--graceful-timeout',
        '1',
        '--access-logfile',
        '-',
        '--threads',
        '2',
      );
      const before = cpuSeconds(pid);
      const late = ask(port, path);
      if (path === '/spin') await until(() => cpuSeconds(pid) > before + 0.3, { what: 'it to spin' });
      else await until(async () => (await askJson(port)).pid === pid);
      const begun = performance.now();
      one.kill('SIGTERM');
      assert.equal((await one.ended).code, 0);
      const took = performance.now() - begun;
      assert.ok(took > 900 && took < 5000, `${took} ms`);
      const { status, error } = await late;
      assert.equal(status, 503, error);
      assert.match(one.log, new RegExp(`Not finished within --graceful-timeout: GET ${path} HTTP/1\\.1 \\(`));
      assert.match(one.stdout, new RegExp(`"GET ${path} HTTP/1\\.1" 503 `));
      assert.match(one.stdout, /^worker_exit$/m);
      assert.match(one.log, new RegExp(`Worker exiting \\(pid: ${pid}\\)`));
      assert.ok(!isAlive(pid));
    }
  });

  it('graceful_timeout: a sync worker that is stuck is killed soon after it', async () => {
    const { one, port, pid } = await serving(folders.make(), '-k', 'sync', '--graceful-timeout', '1');
    const before = cpuSeconds(pid);
    const lost = ask(port, '/spin');
    await until(() => cpuSeconds(pid) > before + 0.3, { what: 'it to spin' });
    const begun = performance.now();
    one.kill('SIGTERM');
    assert.equal((await one.ended).code, 0);
    const took = performance.now() - begun;
    assert.ok(took > 900 && took < 8000, `${took} ms`);
    assert.notEqual((await lost).error, undefined);
    assert.ok(!isAlive(pid));
  });

  it('max_requests and max_requests_jitter, class sync: so many requests, and up to so many more', async () => {
    const { one, port } = await serving(
      folders.make(),
      '-k',
      'sync',
      '--max-requests',
      '3',
      '--max-requests-jitter',
      '4',
    );
    const served = new Map<number, number>([[one.workers[0], 1]]);
    await until(
      async () => {
        const { pid } = await askJson(port);
        served.set(pid, (served.get(pid) ?? 0) + 1);
        // The last one is not over yet.
        const counts = [...served.values()].slice(0, -1);
        assert.ok(
          counts.every((n) => n >= 3 && n <= 7),
          counts.join(),
        );
        return counts.length >= 2 && new Set(counts).size > 1;
      },
      { what: 'different numbers', timeoutMs: 30_000, everyMs: 0 },
    );
    await ends(one);
  });
});
