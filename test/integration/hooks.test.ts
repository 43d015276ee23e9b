/**
 * Hooks of a configuration file, each by its effect: in which process and thread it runs, when, with what, and what becomes of
 * one that fails. Every hook of the files here notes what it saw in a file, which so has the order over all processes.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { AppFolders } from '../support/app-folders.js';
import { ArbiterProcess } from '../support/arbiter-process.js';
import { ask } from '../support/ask.js';
import { until } from '../support/poll.js';
import { RawClient } from '../support/raw-client.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
const APP = `import { appendFileSync } from 'node:fs';
export default (req, res) => {
  if (req.url === '/throw') throw new Error('thrown by the app');
  if (req.url === '/exit') process.exit(7);
  if (req.url === '/left') appendFileSync(process.env.NOTES, '{"hook":"handler"}\\n');
  res.setHeader('X-Handled', String(req.marked ?? 'by the app'));
  res.end('hello');
};`;

const folders = new AppFolders('hooks', APP);
const started: Site[] = [];

after(async () => {
  for (const { server } of started) await server.cleanup();
  folders.remove();
});

interface Note {
  hook: string;
  pid: number;
  threadId: number;
  [fact: string]: unknown;
}

/**
 * Text of a configuration file: `hooks` are members of its object, which may call note(hook, facts). Notes have the process, the
 * thread, and a number for the copy of the module.
 */
function conf(hooks: string, settings: object = {}): string {
  return `import { appendFileSync, existsSync } from 'node:fs';
    import { threadId } from 'node:worker_threads';
    const copy = Math.random();
    const note = (hook, facts) =>
      appendFileSync(process.env.NOTES, JSON.stringify({ hook, pid: process.pid, threadId, copy, ...facts }) + '\\n');
    const see = (server) => ({
      server: server.pid, wants: server.numWorkers, has: server.workers?.map((w) => w.pid), addresses: server.addresses,
      cfg: server.cfg.threads, logs: typeof server.log.info, mark: server.mark,
    });
    const seeWorker = (worker) => ({
      worker: worker.pid, ppid: worker.ppid, age: worker.age, cfg: worker.cfg.threads, logs: typeof worker.log.info,
      booted: worker.booted, alive: worker.alive, mark: worker.mark,
    });
    const seeThread = (thread) => ({
      worker: thread.pid, ppid: thread.ppid, age: thread.age, slot: thread.slot, id: thread.threadId,
      cfg: thread.cfg.threads, logs: typeof thread.log.info,
    });
    const wait = (ms) => new Promise((done) => setTimeout(done, ms));
    const fail = (what) => { throw new Error(what + ' is broken'); };
    export default {
      app: 'app.mjs', bind: '127.0.0.1:0', workers: 1, threads: 1,
      ...${JSON.stringify(settings)},
      ${hooks}
    };`;
}

class Site {
  readonly dir: string;
  readonly server: ArbiterProcess;

  constructor(hooks: string, settings: object = {}, files: Record<string, string> = {}) {
    this.dir = folders.make({ 'conf.mjs': conf(hooks, settings), notes: '', ...files });
    this.server = new ArbiterProcess([CLI, '-c', 'conf.mjs'], { NOTES: join(this.dir, 'notes') }, this.dir, true);
    started.push(this);
  }

  get notes(): Note[] {
    const lines = readFileSync(join(this.dir, 'notes'), 'utf8').trimEnd();
    return lines === '' ? [] : lines.split('\n').map((line) => JSON.parse(line));
  }

  /** Notes of a hook. */
  of(hook: string): Note[] {
    return this.notes.filter((note) => note.hook === hook);
  }

  /** Waits for the n-th note of a hook. */
  async seen(hook: string, n = 1, timeoutMs = 10_000): Promise<Note> {
    const what = `note ${n} of ${hook}`;
    await until(() => this.of(hook).length >= n, { what, timeoutMs }).catch((err) => {
      throw new Error(`${err.message}; the log:\n${this.server.log}\n${JSON.stringify(this.notes)}`);
    });
    return this.of(hook)[n - 1];
  }

  async port(): Promise<number> {
    return await this.server.firstPort();
  }

  /** Waits until it serves. */
  async serves(): Promise<number> {
    const port = await this.port();
    const { status, error } = await ask(port, '/');
    assert.equal(status, 200, `${error}; the log:\n${this.server.log}`);
    return port;
  }

  async ends(signal: NodeJS.Signals | null = 'SIGTERM', status = 0): Promise<void> {
    if (signal !== null) this.server.kill(signal);
    const { code } = await this.server.ended;
    assert.equal(code, status, this.server.log);
    assert.deepEqual(this.server.workers, [], 'no worker is left');
  }
}

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

  it('requests: pre_request before the handler, post_request with the response; each fails in its own way', async () => {
    const hooks = `
      pre_request(worker, req) {
        note('pre_request', { url: req.url });
        if (req.url === '/refused') fail('pre_request');
        req.marked = 'by pre_request';
        if (req.url === '/slow') return wait(50).then(() => { req.marked = 'late'; });
        if (req.url === '/rejected') return wait(1).then(() => fail('the promise'));
        if (req.url === '/left') return new Promise((done) => req.on('close', done)).then(() => note('waited'));
      },
      post_request(worker, req, environ, resp) {
        note('post_request', { url: req.url, environ, status: resp.status, sent: resp.sent, headers: resp.headers });
        if (req.url === '/bad') fail('post_request');
        if (req.url === '/badly') return wait(1).then(() => fail('late post_request'));
      },`;
    const site = new Site(hooks);
    const { server } = site;
    const port = await site.serves();
    const get = async (path: string) => {
      const answer = await ask(port, path, { headers: { 'X-Two': ['a', 'b'] } });
      const find = () => site.of('post_request').find(({ url }) => url === path) ?? null;
      return { ...answer, post: (await until(find, { what: `post_request of ${path}` }))! };
    };
    const plain = await get('/a%20b?c=d');
    assert.deepEqual([plain.status, plain.headers['x-handled']], [200, 'by pre_request']);
    assert.deepEqual([plain.post.status, plain.post.sent], [200, 5]);
    assert.equal((plain.post.headers as Record<string, string>)['x-handled'], 'by pre_request');
    const environ = plain.post.environ as Record<string, string>;
    assert.deepEqual(
      [environ.REQUEST_METHOD, environ.PATH_INFO, environ.QUERY_STRING, environ.RAW_URI, environ.SERVER_PROTOCOL],
      ['GET', '/a b', 'c=d', '/a%20b?c=d', 'HTTP/1.1'],
    );
    assert.deepEqual(
      [environ.REMOTE_ADDR, environ.HTTP_HOST, environ.HTTP_X_TWO, environ.SERVER_PORT],
      ['127.0.0.1', `127.0.0.1:${port}`, 'a,b', String(port)],
    );

    assert.equal((await get('/slow')).headers['x-handled'], 'late', 'the handler has waited for the promise');
    for (const path of ['/refused', '/rejected']) {
      const { status, headers, post } = await get(path);
      assert.deepEqual([status, headers['x-handled'], post.status], [500, undefined, 500]);
      assert.match(server.log, new RegExp(`Error handling request GET ${path}\\n +Error: .* is broken`));
    }
    const thrown = await get('/throw');
    assert.deepEqual([thrown.status, thrown.post.status, thrown.post.headers], [500, 500, {}]);
    for (const path of ['/bad', '/badly']) {
      assert.equal((await get(path)).status, 200);
      await server.waitFor(/Exception in post_request hook\n +Error: .*post_request is broken/);
    }

    // The client leaves while pre_request waits: the handler is not called for nobody.
    const client = await RawClient.connect(port);
    await client.send('GET /left HTTP/1.1\r\nHost: x\r\n\r\n');
    await until(() => site.of('pre_request').some(({ url }) => url === '/left'));
    client.destroy();
    await until(() => site.of('post_request').some(({ url }) => url === '/left'));
    assert.equal(site.of('post_request').find(({ url }) => url === '/left')?.status, 0);
    await site.seen('waited');

    // What is refused before it reaches the app is none of the hooks' business.
    const before = site.notes.length;
    const bad = await RawClient.connect(port);
    bad.write('GET / HTTP/1.1\r\n\r\n');
    assert.match(await bad.end(), /^HTTP\/1\.1 400 /);
    assert.equal(site.notes.length, before);
    await site.serves();
    assert.deepEqual(site.of('handler'), []);
    assert.equal(server.spawned.length, 1);
    await site.ends();
  });

  it('requests of a fetch handler and of an http.Server: the hooks see Node’s view of them', async () => {
    const hooks = `
      pre_request(worker, req) {
        if (req.url === '/refused') fail('pre_request');
        return req.url === '/slow' ? wait(20) : undefined;
      },
      post_request(worker, req, environ, resp) {
        note('post_request', { url: req.url, status: resp.status, sent: resp.sent, type: resp.headers['content-type'], length: environ.CONTENT_LENGTH });
      },`;
    const fetchApp = `export default { async fetch(request) {
      return new Response(request.method === 'POST' ? (await request.text()).toUpperCase() : 'fetched');
    } };`;
    const serverApp = `import { createServer } from 'node:http';
      const server = createServer((req, res) => res.end('plain'));
      server.on('checkContinue', (req, res) => { res.writeContinue(); req.resume(); res.end('continued'); });
      server.listen(3000);`;
    const fetched = new Site(hooks, {}, { 'app.mjs': fetchApp });
    const served = new Site(hooks, {}, { 'app.mjs': serverApp });
    const post = async (site: Site, url: string) => {
      const find = () => site.of('post_request').find((note) => note.url === url) ?? null;
      return (await until(find, { what: `post_request of ${url}` }))!;
    };
    const one = await RawClient.connect(await fetched.serves());
    for (const [head, status, body] of [
      ['GET /a HTTP/1.1\r\nHost: x\r\n\r\n', 200, 'fetched'],
      ['POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody', 200, 'BODY'],
      ['POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nquick', 200, 'QUICK'],
      ['GET /refused HTTP/1.1\r\nHost: x\r\n\r\n', 500, 'Internal Server Error'],
    ] as const) {
      one.write(head);
      const answer = await one.response();
      assert.equal(answer.status, status, head);
      assert.ok(answer.body.includes(body), answer.body);
    }
    one.destroy();
    const a = await post(fetched, '/a');
    assert.deepEqual([a.status, a.sent, a.type], [200, 7, 'text/plain;charset=UTF-8']);
    const slow = await post(fetched, '/slow');
    assert.deepEqual([slow.status, slow.sent, slow.length], [200, 4, '4']);
    assert.equal((await post(fetched, '/refused')).status, 500);
    await fetched.ends();

    const two = await RawClient.connect(await served.serves());
    two.write('POST /c HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n');
    assert.equal((await two.response()).status, 100);
    two.write('body');
    assert.equal((await two.response()).body, 'continued');
    two.destroy();
    assert.equal((await post(served, '/c')).status, 200);
    await served.ends();
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

  it('a file that can no longer be read: a new worker does not boot', async () => {
    const site = new Site('post_fork() {},');
    await site.serves();
    writeFileSync(join(site.dir, 'conf.mjs'), 'export default {');
    process.kill(site.server.workers[0], 'SIGKILL');
    await site.ends(null, 3);
    assert.match(site.server.log, /ERR_TUNICORN_CONFIG_FILE: cannot read \S+conf\.mjs: SyntaxError/);
  });
});

function isHook(name: string): (note: Note) => boolean {
  return ({ hook }) => hook === name;
}
