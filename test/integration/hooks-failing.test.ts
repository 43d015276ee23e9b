/** Hooks that fail, by a throw or by their promise, and what the server does then: what gunicorn does. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { cleanUp, Site } from '../support/hook-site.js';
import { until } from '../support/poll.js';

after(cleanUp);

describe('hooks that fail', { concurrency: 2, timeout: 240_000 }, () => {
  const notBooted = 'Worker failed to boot.';
  for (const [name, how, status, reason] of [
    ['nworkers_changed', 'throw', 1, ''],
    ['on_starting', 'throw', 1, ''],
    ['when_ready', 'rejection', 1, ''],
    ['pre_fork', 'throw', 1, ''],
    ['pre_fork', 'rejection', 1, ''],
    ['post_fork', 'throw', 3, notBooted],
    ['post_thread_init', 'throw', 3, notBooted],
    ['post_worker_init', 'rejection', 3, notBooted],
  ] as const) {
    it(`${name} that fails by a ${how} ends the start with status ${status}`, async () => {
      const hook =
        how === 'throw' ? `${name}() { fail('${name}'); }` : `async ${name}() { await wait(1); fail('${name}'); }`;
      const site = new Site(`${hook}, on_exit() { note('on_exit'); }, worker_exit() { note('worker_exit'); },`);
      await site.ends(null, status);
      assert.match(site.server.log, new RegExp(`Error: ${name} is broken\\n +at .*conf\\.mjs`));
      assert.ok(site.server.log.includes(`Reason: ${reason || `The hook ${name} failed: ${name} is broken`}\n`));
      // As in gunicorn, the hooks at the end are called where a worker did not boot, and not where a hook of the arbiter's broke.
      assert.equal(site.of('on_exit').length, status === 3 ? 1 : 0);
      assert.equal(site.of('worker_exit').length, status === 3 ? 1 : 0);
      if (name === 'pre_fork') assert.deepEqual(site.server.spawned, []);
    });
  }

  it('on_reload or child_exit that fails ends the server, quickly and with status 1', async () => {
    const reload = new Site(`on_reload() { fail('on_reload'); }, on_exit() { note('on_exit'); },`);
    await reload.serves();
    await reload.ends('SIGHUP', 1);
    assert.match(reload.server.log, /Exception in on_reload hook[\s\S]*Reason: The hook on_reload failed/);
    const child = new Site(`async child_exit() { fail('child_exit'); }, on_exit() { note('on_exit'); },`, {
      workers: 2,
    });
    await child.serves();
    await child.server.waitForWorkers(2);
    process.kill(child.server.workers[0], 'SIGKILL');
    await child.ends(null, 1);
    assert.match(child.server.log, /Exception in child_exit hook[\s\S]*Reason: The hook child_exit failed/);
    assert.deepEqual([...reload.notes, ...child.notes], []);
  });

  it('what fails while the server ends does not keep it from ending', async () => {
    const site = new Site(`
      thread_exit() { fail('thread_exit'); },
      worker_exit() { fail('worker_exit'); },
      child_exit() { fail('child_exit'); },
      on_exit() { note('on_exit'); fail('on_exit'); },`);
    await site.serves();
    await site.ends('SIGTERM', 1);
    for (const line of [
      'Exception during thread exit',
      'Exception during worker exit',
      'Exception in child_exit hook',
      'Exception in on_exit hook',
    ]) {
      assert.ok(site.server.log.includes(line), site.server.log);
    }
    assert.match(site.server.log, /Worker exiting \(pid: \d+\)/, 'its exit status was 0');
    assert.equal(site.of('on_exit').length, 1);
    const quick = new Site(`worker_int() { fail('worker_int'); }, worker_abort() { fail('worker_abort'); },`);
    await quick.serves();
    for (const signal of ['SIGINT', 'SIGABRT'] as const) {
      const worker = quick.server.spawned.at(-1)!;
      process.kill(worker, signal);
      await quick.server.waitFor(`Worker (pid:${worker}) exited with code 255`);
      await until(() => quick.server.workers.some((pid) => pid !== worker), { what: 'another worker' });
      await quick.serves();
    }
    assert.match(quick.server.log, /Exception in worker_int hook\n +Error: worker_int is broken/);
    assert.match(quick.server.log, /Exception in worker_abort hook\n +Error: worker_abort is broken/);
    await quick.ends();
  });

  it('what a hook leaves running and what fails only later is logged, and everything goes on', async () => {
    const site = new Site(`
      when_ready() { Promise.reject(new Error('promise of when_ready')); setTimeout(() => fail('timer of when_ready'), 1); },
      post_worker_init() { Promise.reject('promise of post_worker_init'); setTimeout(() => fail('timer of post_worker_init'), 1); },`);
    await site.serves();
    for (const text of [
      'Error: promise of when_ready',
      'Error: timer of when_ready is broken',
      'not an Error: promise of post_worker_init',
      'Error: timer of post_worker_init is broken',
    ]) {
      await site.server.waitFor(new RegExp(`\\[ERROR\\] (Uncaught exception|Unhandled rejection).*\\n +${text}`));
    }
    await site.serves();
    assert.equal(site.server.spawned.length, 1);
    await site.ends();
  });

  it('a file that can no longer be read: a new worker does not boot', async () => {
    const site = new Site('post_fork() {},');
    await site.serves();
    writeFileSync(join(site.dir, 'conf.mjs'), 'export default {');
    process.kill(site.server.workers[0], 'SIGKILL');
    await site.ends(null, 3);
    assert.match(site.server.log, /ERR_TUNICORN_CONFIG_FILE: cannot read \S+conf\.mjs: SyntaxError/);
  });
});
