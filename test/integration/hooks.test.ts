/**
 * Hooks of a configuration file, each by its effect: in which process and thread it runs, when, and with what. Those around requests are in
 * hooks-requests.test.ts, what becomes of one that fails in hooks-failing.test.ts.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { ask } from '../support/ask.js';
import { cleanUp, conf, type Note, Site } from '../support/hook-site.js';
import { until } from '../support/poll.js';

after(cleanUp);

/** A member of the object for each hook, which notes what it saw of its arguments. */
const WATCH_ALL = `
  on_starting(server) { note('on_starting', see(server)); },
  onReload(server) { note('on_reload', see(server)); },
  when_ready(server) { note('when_ready', see(server)); server.mark = 'kept'; },
  pre_fork(server, worker) {
    worker.mark = 'of ' + worker.age;
    worker.env.AGE = String(worker.age);
    note('pre_fork', { ...see(server), ...seeWorker(worker) });
  },
  post_fork(server, worker) { note('post_fork', { server: see(server), ...seeWorker(worker), env: process.env.AGE }); },
  post_worker_init(worker) { note('post_worker_init', seeWorker(worker)); },
  worker_int(worker) { note('worker_int', seeWorker(worker)); },
  worker_abort(worker) { note('worker_abort', seeWorker(worker)); },
  pre_request(worker, req) { note('pre_request', { ...seeThread(worker), url: req.url }); },
  post_request(worker, req, environ, resp) {
    note('post_request', { ...seeThread(worker), url: req.url, status: resp.status, sent: resp.sent });
  },
  child_exit(server, worker) {
    note('child_exit', { ...seeWorker(worker), has: see(server).has, code: worker.exitCode, signal: worker.exitSignal });
  },
  worker_exit(server, worker) { note('worker_exit', { server: see(server), ...seeWorker(worker) }); },
  nworkers_changed(server, now, before) { note('nworkers_changed', { ...see(server), now, before }); },
  on_exit(server) { note('on_exit', see(server)); },
  post_thread_init(thread) { note('post_thread_init', seeThread(thread)); },
  threadExit(thread) { note('thread_exit', seeThread(thread)); },`;

describe('hooks', { concurrency: 2, timeout: 240_000 }, () => {
  it('come in gunicorn’s order, each in its process or thread, with what there is to see', async () => {
    const site = new Site(WATCH_ALL);
    const { server } = site;
    const port = await site.serves();
    const [first] = server.workers;
    const arbiter = server.pid;
    await site.seen('post_request');
    assert.deepEqual(
      site.notes.map(({ hook }) => hook),
      [
        'nworkers_changed',
        'on_starting',
        'when_ready',
        'pre_fork',
        'post_fork',
        'post_thread_init',
        'post_worker_init',
        'pre_request',
        'post_request',
      ],
    );
    const [changed, starting, ready, preFork, postFork, threadInit, workerInit, preRequest, postRequest] = site.notes;
    for (const note of [changed, starting, ready, preFork]) {
      const { pid, threadId, server, wants, cfg, logs } = note;
      assert.deepEqual([pid, threadId, server, wants, cfg, logs], [arbiter, 0, arbiter, 1, 1, 'function'], note.hook);
    }
    assert.deepEqual([changed.now, changed.before], [1, null]);
    assert.deepEqual(starting.addresses, [], 'it does not listen yet');
    assert.deepEqual(ready.addresses, [`http://127.0.0.1:${port}`]);
    assert.deepEqual(ready.has, []);
    assert.deepEqual([preFork.worker, preFork.age, preFork.booted, preFork.ppid], [null, 0, false, arbiter]);
    assert.equal(preFork.mark, 'of 0');
    for (const note of [postFork, workerInit]) {
      const { pid, threadId, worker, ppid, age, booted, alive, logs } = note;
      const expected = [first, 0, first, arbiter, 0, false, true, 'function'];
      assert.deepEqual([pid, threadId, worker, ppid, age, booted, alive, logs], expected, note.hook);
    }
    const seen = postFork.server as Record<string, unknown>;
    assert.deepEqual([seen.server, seen.addresses], [arbiter, ready.addresses]);
    assert.equal(postFork.env, '0', 'what pre_fork put into its environment');
    assert.ok((threadInit.threadId as number) > 0);
    assert.deepEqual(
      [threadInit.pid, threadInit.worker, threadInit.slot, threadInit.id, threadInit.age, threadInit.ppid],
      [first, first, 1, threadInit.threadId, 0, arbiter],
    );
    assert.deepEqual(
      [preRequest.pid, preRequest.threadId, preRequest.worker, preRequest.slot, preRequest.url],
      [first, threadInit.threadId, first, 1, '/'],
    );
    assert.deepEqual([postRequest.threadId, postRequest.status, postRequest.sent], [threadInit.threadId, 200, 5]);

    server.kill('SIGTTIN');
    const more = await site.seen('nworkers_changed', 2);
    assert.deepEqual([more.now, more.before, more.wants, more.mark], [2, 1, 2, 'kept']);
    await site.seen('post_worker_init', 2);
    const [, second] = server.spawned;
    const fork = site.of('pre_fork')[1];
    assert.deepEqual([fork.has, fork.age, fork.mark], [[first], 1, 'of 1']);
    assert.equal(site.of('post_fork')[1].env, '1');

    server.kill('SIGTTOU');
    const less = await site.seen('nworkers_changed', 3);
    assert.deepEqual([less.now, less.before], [1, 2]);
    const gone = await site.seen('child_exit');
    assert.deepEqual(
      [gone.pid, gone.worker, gone.age, gone.mark, gone.code, gone.signal, gone.has],
      [arbiter, first, 0, 'of 0', 0, null, [second]],
      'the arbiter knows it as the one that pre_fork saw',
    );
    const last = site.of('worker_exit')[0];
    assert.deepEqual([last.pid, last.worker, last.booted, last.alive, last.threadId], [first, first, true, false, 0]);
    assert.ok(site.notes.findIndex(({ hook }) => hook === 'worker_exit') > site.notes.findIndex(isHook('thread_exit')));

    // The worker lives on with fresh threads.
    server.kill('SIGHUP');
    const reload = await site.seen('on_reload');
    assert.deepEqual([reload.pid, reload.wants, reload.has], [arbiter, 1, [second]]);
    const exit = await site.seen('thread_exit', 2);
    assert.equal(exit.pid, second);
    assert.equal(site.of('post_thread_init').filter(({ pid }) => pid === second).length, 2);
    assert.equal(site.of('post_fork').length, 2);

    await site.ends();
    const tail = site.notes.slice(-4);
    assert.deepEqual(
      tail.map(({ hook, pid }) => [hook, pid]),
      [
        ['thread_exit', second],
        ['worker_exit', second],
        ['child_exit', arbiter],
        ['on_exit', arbiter],
      ],
    );
    assert.deepEqual([site.of('worker_int'), site.of('worker_abort')], [[], []]);
  });

  it('class sync: worker and thread are one, and so is the module', async () => {
    const hooks = ['post_fork', 'post_thread_init', 'post_worker_init', 'pre_request', 'thread_exit', 'worker_exit'];
    const site = new Site(hooks.map((hook) => `${hook}() { note('${hook}'); },`).join('\n'), { worker_class: 'sync' });
    await site.serves();
    await site.ends();
    assert.deepEqual(
      site.notes.map(({ hook, threadId }) => [hook, threadId]),
      hooks.map((hook) => [hook, 0]),
    );
    assert.equal(new Set(site.notes.map(({ copy }) => copy)).size, 1);
    const [pid] = site.server.spawned;
    assert.ok(site.notes.every((note) => note.pid === pid));

    // worker_exit comes also where nobody has planned the end.
    const exits = new Site(
      `
      worker_exit() { note('worker_exit'); },
      child_exit(server, worker) { note('child_exit', { code: worker.exitCode }); },`,
      { worker_class: 'sync' },
    );
    const port = await exits.serves();
    const [worker] = exits.server.workers;
    assert.notEqual((await ask(port, '/exit')).error, undefined);
    assert.equal((await exits.seen('worker_exit')).pid, worker);
    assert.equal((await exits.seen('child_exit')).code, 7);
    await exits.serves();
    await exits.ends();
  });

  it('INT and QUIT: worker_int, then worker_exit, in the worker', async () => {
    const site = new Site(`
      worker_int(worker) {
        note('worker_int', { worker: worker.pid, alive: worker.alive });
        return wait(50).then(() => note('waited'));
      },
      worker_exit() { note('worker_exit'); },
      child_exit(server, worker) { note('child_exit', { code: worker.exitCode }); },`);
    await site.serves();
    const [worker] = site.server.workers;
    // Sent to the worker alone: another one takes its place.
    process.kill(worker, 'SIGINT');
    assert.equal((await site.seen('child_exit')).code, 0);
    const expected = ['worker_int', 'waited', 'worker_exit', 'child_exit'];
    assert.deepEqual(
      site.notes.map(({ hook, pid }) => [hook, pid === worker]),
      expected.map((hook) => [hook, hook !== 'child_exit']),
    );
    assert.deepEqual([site.notes[0].worker, site.notes[0].alive], [worker, false]);
    await until(() => site.server.spawned.length === 2, { what: 'another worker' });
    await site.serves();
    await site.ends('SIGQUIT');
    assert.deepEqual(
      site.notes.slice(4).map(({ hook }) => hook),
      expected,
      'the arbiter ends its workers by QUIT',
    );
  });

  it('ABRT: worker_abort in the worker, whose exit status is 1', async () => {
    const site = new Site(`
      worker_abort(worker) { note('worker_abort', { worker: worker.pid }); },
      worker_exit() { note('worker_exit'); },
      child_exit(server, worker) { note('child_exit', { exitCode: worker.exitCode, signal: worker.exitSignal }); },`);
    await site.serves();
    const [worker] = site.server.workers;
    process.kill(worker, 'SIGABRT');
    const gone = await site.seen('child_exit');
    assert.deepEqual([gone.exitCode, gone.signal], [1, null]);
    assert.deepEqual(
      site.notes.slice(0, 2).map(({ hook, pid }) => [hook, pid]),
      [
        ['worker_abort', worker],
        ['worker_exit', worker],
      ],
    );
    await until(() => site.server.spawned.length === 2, { what: 'another worker' });
    await site.serves();
    await site.ends();

    // The arbiter sends it to a worker that does not boot; on a busy machine perhaps before that can hear it: then to the next.
    const hangs = { 'app.mjs': 'await new Promise(() => {});' };
    const slow = new Site(
      `worker_abort(worker) { note('worker_abort', seeWorker(worker)); },`,
      { worker_class: 'sync', timeout: 3 },
      hangs,
    );
    const { pid, booted, alive } = await slow.seen('worker_abort', 1, 40_000);
    assert.deepEqual([slow.server.spawned.includes(pid), booted, alive], [true, false, false]);
    assert.match(slow.server.log, new RegExp(`WORKER TIMEOUT \\(pid:${pid}\\)`));
    await slow.ends();
  });

  it('USR2 and WINCH: pre_exec in the old arbiter, which may forbid the new one; nworkers_changed', async () => {
    const site = new Site(`
      pre_exec(server) {
        note('pre_exec', see(server));
        if (!existsSync('allowed')) fail('pre_exec');
      },
      on_starting() { note('on_starting'); },
      nworkers_changed(server, now, before) { note('nworkers_changed', { now, before }); },
      on_exit() { note('on_exit'); },`);
    const { server } = site;
    await site.serves();
    server.kill('SIGUSR2');
    await server.waitFor(/Exception in pre_exec hook\n +Error: pre_exec is broken/);
    await site.serves();
    assert.deepEqual(server.successors, []);

    writeFileSync(join(site.dir, 'allowed'), '');
    server.kill('SIGUSR2');
    const starting = await site.seen('on_starting', 2);
    const [next] = server.successors;
    assert.equal(starting.pid, next);
    const [, preExec] = site.of('pre_exec');
    const { pid, server: told, wants, has, logs } = preExec;
    assert.deepEqual([pid, told, wants, has, logs], [server.pid, server.pid, 1, [server.spawned[0]], 'function']);

    await server.waitForWorkers(2);
    server.kill('SIGWINCH');
    const left = await site.seen('nworkers_changed', 3);
    assert.deepEqual([left.pid, left.now, left.before], [server.pid, 0, 1]);
    process.kill(next, 'SIGTERM');
    assert.equal((await site.seen('on_exit')).pid, next);
    await site.seen('nworkers_changed', 4);
    await site.serves();
    await site.ends();
    assert.deepEqual(
      site.notes.map(({ hook, pid, now, before }) => [hook, pid === next ? 'new' : 'old', now, before]),
      [
        ['nworkers_changed', 'old', 1, null],
        ['on_starting', 'old', undefined, undefined],
        ['pre_exec', 'old', undefined, undefined],
        ['pre_exec', 'old', undefined, undefined],
        ['nworkers_changed', 'new', 1, null],
        ['on_starting', 'new', undefined, undefined],
        ['nworkers_changed', 'old', 0, 1],
        ['on_exit', 'new', undefined, undefined],
        ['nworkers_changed', 'old', 1, 0],
        ['on_exit', 'old', undefined, undefined],
      ],
    );
  });

  it('HUP: arbiter, workers and threads have the hooks of the file as it is then', async () => {
    const versioned = (n: number) => `
      on_reload() { note('on_reload', { n: ${n} }); },
      worker_exit() { note('worker_exit', { n: ${n} }); },
      ${n === 2 ? `worker_abort() { note('worker_abort'); },` : ''}
      pre_request(worker, req) { req.marked = ${n}; },
      thread_exit() { note('thread_exit', { n: ${n} }); },
      on_exit() { note('on_exit', { n: ${n} }); },`;
    const site = new Site(versioned(1));
    const port = await site.serves();
    const handled = async () => (await ask(port, '/')).headers['x-handled'];
    assert.equal(await handled(), '1');
    const path = join(site.dir, 'conf.mjs');
    writeFileSync(path, `${conf(versioned(3))} syntax error`);
    site.server.kill('SIGHUP');
    await site.server.waitFor('Hang up: nothing is changed');
    assert.equal(await handled(), '1');
    writeFileSync(path, conf(`${versioned(1)} post_thread_init() { fail('post_thread_init'); },`));
    site.server.kill('SIGHUP');
    await site.server.waitFor('cannot be replaced (reload), it goes on: The hook post_thread_init failed');
    assert.equal(await handled(), '1');
    writeFileSync(path, conf(versioned(2)));
    site.server.kill('SIGHUP');
    await until(async () => (await handled()) === '2', { what: 'the new pre_request' });
    assert.equal(site.server.spawned.length, 1);
    await site.seen('thread_exit');
    process.kill(site.server.workers[0], 'SIGABRT');
    await site.seen('worker_abort');
    await until(() => site.server.spawned.length === 2, { what: 'another worker' });
    await site.serves();
    await site.ends();
    assert.deepEqual(
      site.notes.map(({ hook, n }) => [hook, n]),
      [
        ['on_reload', 1],
        ['on_reload', 2],
        ['thread_exit', 1],
        ['worker_abort', undefined],
        ['worker_exit', 2],
        ['thread_exit', 2],
        ['worker_exit', 2],
        ['on_exit', 2],
      ],
    );
  });

  it('HUP: a worker that lives on has the new settings, as the arbiter sees it, too', async () => {
    const hooks =
      'child_exit(server, worker) { note("child_exit", { cfg: worker.cfg.timeout, server: server.cfg.timeout }); },';
    const site = new Site(hooks, { timeout: 40 });
    await site.serves();
    writeFileSync(join(site.dir, 'conf.mjs'), conf(hooks, { timeout: 50 }));
    site.server.kill('SIGHUP');
    await site.server.waitFor('Reloaded 1 threads');
    assert.equal(site.server.spawned.length, 1);
    await site.ends();
    assert.deepEqual(
      site.of('child_exit').map(({ cfg, server }) => [cfg, server]),
      [[50, 50]],
    );
  });

  it('promises are awaited: nothing listens before on_starting, no worker starts before pre_fork', async () => {
    const site = new Site(`
      async on_starting(server) { await wait(30); note('on_starting', { addresses: server.addresses }); },
      async when_ready() { await wait(30); note('when_ready'); },
      async pre_fork(server, worker) { await wait(30); worker.env.PORT_OF_MINE = '4711'; note('pre_fork', { worker: worker.pid }); },
      async post_fork() { await wait(30); note('post_fork', { env: process.env.PORT_OF_MINE }); },
      async post_thread_init() { await wait(30); note('post_thread_init'); },
      async post_worker_init() { await wait(30); note('post_worker_init'); },
      async thread_exit() { await wait(30); note('thread_exit'); },
      async worker_exit() { await wait(30); note('worker_exit'); },
      async child_exit() { await wait(30); note('child_exit'); },
      async on_exit() { await wait(30); note('on_exit'); },`);
    await site.serves();
    await site.ends();
    assert.deepEqual(
      site.notes.map(({ hook }) => hook),
      [
        'on_starting',
        'when_ready',
        'pre_fork',
        'post_fork',
        'post_thread_init',
        'post_worker_init',
        'thread_exit',
        'worker_exit',
        'child_exit',
        'on_exit',
      ],
    );
    assert.deepEqual([site.notes[0].addresses, site.notes[2].worker, site.notes[3].env], [[], null, '4711']);
  });

  it('a signal ends the waiting for a promise that never resolves', async () => {
    const site = new Site(
      `on_starting() { note('on_starting'); return new Promise(() => {}); }, on_exit() { note('on_exit'); },`,
    );
    await site.seen('on_starting');
    await site.ends();
    assert.deepEqual(site.of('on_exit'), [], 'it had not started');
    const stuck = new Site(`worker_exit() { note('worker_exit'); return new Promise(() => {}); },`, {
      graceful_timeout: 0.3,
    });
    await stuck.serves();
    process.kill(stuck.server.workers[0], 'SIGTERM');
    await stuck.server.waitFor('worker_exit has not ended within 0.3 s');
    await until(() => stuck.server.spawned.length === 2, { what: 'another worker' });
    stuck.server.kill('SIGKILL');
    await stuck.server.ended;
  });
});

function isHook(name: string): (note: Note) => boolean {
  return ({ hook }) => hook === name;
}
