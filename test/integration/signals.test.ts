/** Signals of the arbiter and of workers, each by its effect on a server started from its command line. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { AppFolders } from '../support/app-folders.js';
import { ArbiterProcess, fetchText, isAlive } from '../support/arbiter-process.js';
import { type Answer, ask, askJson } from '../support/ask.js';
import { until } from '../support/poll.js';
import { children } from '../support/proc.js';
import { RawClient } from '../support/raw-client.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));

/** Answers with its process and environment; /slow says when it begins, and answers once there is a file `go`. */
const APP = `import { existsSync, writeSync } from 'node:fs';
export default (req, res) => {
  const answer = () => res.end(JSON.stringify({ pid: process.pid, env: process.env }));
  if (req.url !== '/slow') return answer();
  writeSync(1, 'slow begins\\n');
  const timer = setInterval(() => existsSync('go') && (clearInterval(timer), answer()), 20);
};`;
const SLOW = /slow begins/;
const BROKEN = 'export default {';
const folders = new AppFolders('signals', APP);
const started: ArbiterProcess[] = [];

after(async () => {
  for (const one of started) await one.cleanup();
  folders.remove();
});

function tunicorn(dir: string, ...args: string[]): ArbiterProcess {
  const all = [
    CLI,
    '-b',
    '127.0.0.1:0',
    '--threads',
    '1',
    ...args,
    ...(args.at(-1)?.endsWith('.mjs') ? [] : ['app.mjs']),
  ];
  const one = new ArbiterProcess(all, { TUNI_HERE: 'yes' }, dir, true);
  started.push(one);
  return one;
}

/** Starts one and waits until it answers. @returns its port, too, and the pid of the worker that has answered. */
async function serving(dir: string, ...args: string[]): Promise<{ one: ArbiterProcess; port: number; pid: number }> {
  const one = tunicorn(dir, ...args);
  const port = await one.firstPort();
  return { one, port, pid: (await askJson(port)).pid };
}

interface Slow {
  asked: Promise<Answer>;
  /** Lets the handler answer. */
  answer(): Promise<Answer>;
}

/** Asks for /slow and waits until a handler has it. */
async function slowly(dir: string, one: ArbiterProcess, port: number): Promise<Slow> {
  const asked = ask(port, '/slow');
  await until(() => SLOW.test(one.stdout), { what: 'the request' });
  return {
    asked,
    answer() {
      writeFileSync(join(dir, 'go'), '');
      return asked;
    },
  };
}

async function gone(...pids: number[]): Promise<void> {
  await until(() => !pids.some(isAlive), { what: `the end of ${pids.join(', ')}` });
}

async function ends(one: ArbiterProcess): Promise<void> {
  one.kill('SIGTERM');
  assert.equal((await one.ended).code, 0, one.log);
  assert.deepEqual(one.workers, [], one.log);
}

const parentOf = (pid: number) =>
  Number(
    readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ')[1],
  );
const title = (pid: number) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').replace(/\0+$/, '');
const pidIn = (...path: string[]) => Number(readFileSync(join(...path), 'utf8'));
const count = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].length;

/** Sends USR2 and waits until the new arbiter has a worker that serves. @returns the new arbiter's pid. */
async function upgrade(one: ArbiterProcess, from: number): Promise<number> {
  const before = one.successors.length;
  process.kill(from, 'SIGUSR2');
  const next = await until(() => one.successors[before], { what: 'a new arbiter' });
  await until(() => workersOf(one, next).length > 0, { what: `a worker of it\n${one.log}` });
  return next;
}

const workersOf = (one: ArbiterProcess, arbiter: number) => one.workers.filter((pid) => parentOf(pid) === arbiter);

/** Asks until another arbiter's worker answers. */
async function answeredBy(port: number, arbiter: number) {
  return await until(
    async () => {
      const answer = await askJson(port);
      return parentOf(answer.pid) === arbiter && answer;
    },
    { what: `an answer by ${arbiter}` },
  );
}

describe('signals of the arbiter', { concurrency: 2, timeout: 120_000 }, () => {
  it('USR2: both serve; TERM to the old arbiter promotes the new one, which has its files then', async () => {
    const dir = folders.make();
    const socket = join(dir, 's.sock');
    const { one, port, pid } = await serving(dir, '-p', 'pid', '-b', 'unix:s.sock', '--status-bind', 'unix:st.sock');
    const next = await upgrade(one, one.pid);
    assert.equal(pidIn(dir, 'pid'), one.pid);
    assert.equal(pidIn(dir, 'pid.2'), next);
    assert.equal(title(next), 'tunicorn: master [app.mjs.2]');
    const { env } = await answeredBy(port, next);
    assert.equal(env.TUNI_HERE, 'yes');
    assert.deepEqual(
      Object.keys(env).filter((name) => /^TUNICORN_(PID|FD|BIND)$/.test(name)),
      [],
    );
    await answeredBy(port, one.pid);
    assert.equal(pid, one.workers[0]);
    for (const [arbiter, why] of [
      [one.pid, 'Child'],
      [next, 'Parent'],
    ] as const) {
      process.kill(arbiter, 'SIGUSR2');
      await one.waitFor(`USR2 signal ignored. ${why} exists.`);
    }
    assert.equal(one.successors.length, 1);

    one.kill('SIGTERM');
    await gone(one.pid, pid);
    await one.waitFor('Master has been promoted.');
    await until(() => !existsSync(join(dir, 'pid.2')), { what: 'the pid file to be renamed' });
    assert.equal(pidIn(dir, 'pid'), next);
    assert.equal(title(next), 'tunicorn: master [app.mjs]');
    assert.equal(parentOf((await askJson(port)).pid), next);
    assert.match(await fetchText(`unix:${socket}`, 'GET / HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 /);
    assert.match(await fetchText(`unix:${join(dir, 'st.sock')}`, 'GET /ready HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 /);

    // Now it may be told itself.
    const third = await upgrade(one, next);
    process.kill(next, 'SIGTERM');
    await gone(next);
    await until(() => pidIn(dir, 'pid') === third, { what: 'the pid file' });
    process.kill(third, 'SIGTERM');
    assert.equal((await one.ended).code, 0);
    assert.deepEqual(one.workers, []);
    for (const name of ['s.sock', 'st.sock', 'pid', 'pid.2']) assert.ok(!existsSync(join(dir, name)), name);
  });

  it('USR2: a new arbiter that cannot start is noticed, the old one serves on and may try again', async () => {
    const dir = folders.make();
    const { one, port, pid } = await serving(dir, '-p', 'pid', '-b', 'unix:s.sock');
    writeFileSync(join(dir, 'app.mjs'), BROKEN);
    one.kill('SIGUSR2');
    await one.waitFor(/\[ERROR\] The new arbiter has ended \(pid: \d+, status 4\): this one goes on/);
    assert.equal((await askJson(port)).pid, pid);
    assert.ok(existsSync(join(dir, 's.sock')));
    assert.equal(pidIn(dir, 'pid'), one.pid);
    assert.ok(!existsSync(join(dir, 'pid.2')));
    writeFileSync(join(dir, 'app.mjs'), APP);
    const next = await upgrade(one, one.pid);
    // The old workers leave, then the new arbiter is told to go: they come again.
    one.kill('SIGWINCH');
    await gone(pid);
    assert.equal(parentOf((await askJson(port)).pid), next);
    process.kill(next, 'SIGTERM');
    await one.waitFor(`The new arbiter has ended (pid: ${next}, status 0): this one goes on`);
    await answeredBy(port, one.pid);
    assert.ok(existsSync(join(dir, 's.sock')));
    await ends(one);
    assert.ok(!existsSync(join(dir, 's.sock')));
  });

  it('USR2: other addresses in the settings, and a link to the folder that points elsewhere', async () => {
    const root = folders.make();
    const dirs = [folders.make(), folders.make()];
    const conf = (bind: string[]) => `export default ${JSON.stringify({ app: 'app.mjs', bind, threads: 1 })}`;
    const sockets = ['one.sock', 'two.sock'].map((name) => `unix:${join(root, name)}`);
    writeFileSync(join(dirs[0], 'tunicorn.conf.mjs'), conf([sockets[0], '127.0.0.1:0']));
    writeFileSync(join(dirs[1], 'tunicorn.conf.mjs'), conf(['127.0.0.1:0', sockets[1]]));
    const current = join(root, 'current');
    symlinkSync(dirs[0], current);
    const one = new ArbiterProcess([CLI], { PWD: current }, current, true);
    started.push(one);
    const [, address] = await one.addresses();
    const port = Number(new URL(address).port);
    await askJson(port);
    rmSync(current);
    symlinkSync(dirs[1], current);
    const next = await upgrade(one, one.pid);
    assert.equal(parentOf((await answeredBy(port, next)).pid), next);
    assert.match(await fetchText(sockets[1], 'GET / HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 /);
    // The old one has it still.
    assert.match(await fetchText(sockets[0], 'GET / HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 /);
    one.kill('SIGQUIT');
    await gone(one.pid);
    await until(() => !existsSync(join(root, 'one.sock')), { what: "the first one's file to go" });
    await askJson(port);
    process.kill(next, 'SIGTERM');
    await one.ended;
    assert.ok(!existsSync(join(root, 'two.sock')));
  });

  it('USR2: the last of the two arbiters removes the socket files, whatever the other one did', async () => {
    const conf = (name: string) => `export default { bind: ['127.0.0.1:0', 'unix:${name}.sock'] };`;
    const dir = folders.make({ 'tunicorn.conf.mjs': conf('one') });
    const here = (name: string) => existsSync(join(dir, `${name}.sock`));
    const one = new ArbiterProcess([CLI, '--threads', '1', 'app.mjs'], {}, dir, true);
    started.push(one);
    const port = await one.firstPort();
    await askJson(port);
    // The old one moves away from an address of both, and stays.
    const first = await upgrade(one, one.pid);
    writeFileSync(join(dir, 'tunicorn.conf.mjs'), conf('two'));
    one.kill('SIGHUP');
    await until(() => here('two'), { what: 'another socket' });
    assert.ok(here('one'));
    process.kill(first, 'SIGTERM');
    await until(() => !here('one'), { what: 'the first one to go' });
    // The new one dies while the old one is about to end.
    const slow = await slowly(dir, one, port);
    const second = await upgrade(one, one.pid);
    one.kill('SIGTERM');
    await one.waitFor('Handling signal: term');
    assert.ok(here('two'));
    process.kill(second, 'SIGKILL');
    await gone(second);
    assert.equal((await slow.answer()).status, 200);
    await one.ended;
    assert.ok(!here('two'));
  });

  it('WINCH: the workers leave, who comes waits, HUP brings the workers back', async () => {
    const dir = folders.make();
    const { one, port, pid } = await serving(dir, '-w', '2');
    await one.waitForWorkers(2);
    const slow = await slowly(dir, one, port);
    one.kill('SIGWINCH');
    await one.waitFor('graceful stop of workers');
    assert.equal((await slow.answer()).status, 200);
    await one.waitForWorkers(0);
    assert.ok(!isAlive(pid) && isAlive(one.pid));
    const waiting = ask(port, '/');
    one.kill('SIGHUP');
    assert.equal((await waiting).status, 200);
    await one.waitForWorkers(2);
    await ends(one);
  });

  it("WINCH: the size of a terminal's window is nobody's business", async () => {
    const dir = folders.make();
    // A terminal of its own, whose size changes: the kernel sends WINCH to all of the foreground group.
    const script = `
import fcntl, os, pty, struct, sys, termios
pid, fd = pty.fork()
if pid == 0: os.execv(sys.argv[1], sys.argv[1:])
rows = 20
while True:
    try: text = os.read(fd, 4096)
    except OSError: break
    os.write(1, text)
    if b'Booting worker' in text or b'SIGWINCH ignored' in text and rows < 23:
        rows += 1
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', rows, 80, 0, 0))
`;
    const args = ['-c', script, process.execPath, CLI, '-b', '127.0.0.1:0', '--threads', '1', '--log-level', 'debug'];
    const python = spawn('python3', [...args, join(dir, 'app.mjs')], {
      cwd: dir,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let log = '';
    python.stdout.setEncoding('utf8').on('data', (text) => (log += text));
    try {
      await until(() => count(log, /SIGWINCH ignored: it may come from the terminal/g) >= 2, { what: `WINCH\n${log}` });
      const port = Number(/127\.0\.0\.1:(\d+)/.exec(log)![1]);
      const { pid } = await askJson(port);
      assert.equal(log.match(/Booting worker with pid: (\d+)/)?.[1], String(pid));
      process.kill(Number(/Listening at: .*\((\d+)\)/.exec(log)![1]), 'SIGTERM');
      await until(() => python.exitCode !== null, { what: 'the end' });
    } finally {
      for (const [, pid] of log.matchAll(/\[(\d+)\] \[INFO\] Starting/g))
        if (isAlive(Number(pid))) process.kill(Number(pid), 'SIGKILL');
      python.kill('SIGKILL');
    }
  });

  it('USR1: the error log is opened again, and the workers live on', async () => {
    const dir = folders.make();
    const file = join(dir, 'log');
    const one = tunicorn(dir, '--log-file', 'log', '-w', '2');
    const text = () => readFileSync(file, 'utf8');
    await until(() => count(text(), /Booting worker/g) === 2, { what: 'the log' });
    // One that comes while workers boot must not wake node's debugger in them.
    one.kill('SIGUSR1');
    await until(() => text().includes('Handling signal: usr1'));
    const port = Number(/Listening at: http:\/\/127\.0\.0\.1:(\d+)/.exec(text())![1]);
    await askJson(port);
    renameSync(file, `${file}.1`);
    one.kill('SIGUSR1');
    await until(() => existsSync(file), { what: 'a new file' });
    one.kill('SIGTTOU');
    await until(() => text().includes('Handling signal: ttou'), { what: 'a line in it' });
    await askJson(port);
    one.kill('SIGTERM');
    assert.equal((await one.ended).code, 0);
    assert.doesNotMatch(one.log + text() + readFileSync(`${file}.1`, 'utf8'), /Debugger|exited with|was sent/);
  });

  it('CHLD: a child that is no worker is waited for, and harms nobody', async () => {
    const dir = folders.make();
    const shell = spawn(
      'sh',
      [
        '-c',
        `sleep 0.2 & exec "$0" "$@"`,
        process.execPath,
        CLI,
        '-b',
        'unix:s.sock',
        '--log-file',
        'log',
        '--threads',
        '1',
        'app.mjs',
      ],
      { cwd: dir },
    );
    try {
      const socket = `unix:${join(dir, 's.sock')}`;
      const sleeper = await until(() => children(shell.pid!)[0]?.pid, { what: 'the sleeper' });
      await until(() => fetchText(socket, 'GET / HTTP/1.0\r\n\r\n'), { what: 'an answer' });
      await until(() => !existsSync(`/proc/${sleeper}`), { what: 'the sleeper to be waited for' });
      assert.match(await fetchText(socket, 'GET / HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 /);
      shell.kill('SIGTERM');
      await until(() => shell.exitCode === 0, { what: 'the end' });
    } finally {
      shell.kill('SIGKILL');
    }
  });

  it('SIGKILL: the workers finish what they hold and go, and the port is free', async () => {
    const dir = folders.make();
    const { one, port } = await serving(dir, '-w', '2');
    await one.waitForWorkers(2);
    const { workers } = one;
    const idle = await RawClient.connect(port);
    idle.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await idle.response();
    const slow = await slowly(dir, one, port);
    one.kill('SIGKILL');
    await until(() => free(port), { what: 'the port to be free' });
    assert.ok(workers.some(isAlive), 'the port is free before the last answer is out');
    const answer = await slow.answer();
    assert.equal(answer.status, 200, answer.error);
    const begun = performance.now();
    await gone(...workers);
    assert.ok(performance.now() - begun < 2000, `gone after ${performance.now() - begun} ms`);
    idle.destroy();
  });
});

/** True if somebody else can listen there. */
function free(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

describe('signals of a worker', { concurrency: 2, timeout: 120_000 }, () => {
  it('TERM: it finishes what it has, and another one takes its place meanwhile', async () => {
    const dir = folders.make();
    const { one, port, pid } = await serving(dir);
    const slow = await slowly(dir, one, port);
    process.kill(pid, 'SIGTERM');
    await until(async () => (await askJson(port)).pid !== pid, { what: 'an answer by another one' });
    assert.ok(isAlive(pid), 'the other one serves before it has gone');
    const { status, body } = await slow.answer();
    assert.equal(status, 200);
    assert.equal(JSON.parse(body).pid, pid);
    await gone(pid);
    await ends(one);
  });

  it('TERM: a connection that waits is answered once more, with Connection: close', async () => {
    const { one, port, pid } = await serving(folders.make(), '--keep-alive', '30');
    const client = await RawClient.connect(port);
    client.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.equal((await client.response()).headers.connection, 'keep-alive');
    process.kill(pid, 'SIGTERM');
    await one.waitForWorkers(2);
    await until(async () => (await askJson(port)).pid !== pid);
    client.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    const { body, headers } = await client.response();
    assert.equal(JSON.parse(body).pid, pid);
    assert.equal(headers.connection, 'close');
    await client.end();
    await gone(pid);
    // Where the whole server ends, nobody is waited for.
    const idle = await RawClient.connect(port);
    idle.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await idle.response();
    const begun = performance.now();
    await ends(one);
    assert.ok(performance.now() - begun < 10_000, `${performance.now() - begun} ms`);
    await idle.end();
  });

  it('QUIT and INT: it ends at once with status 0; ABRT: with 1; it is replaced', async () => {
    const dir = folders.make();
    const { one, port } = await serving(dir);
    for (const [signal, status] of [
      ['SIGQUIT', 0],
      ['SIGINT', 0],
      ['SIGABRT', 1],
    ] as const) {
      one.stdout = '';
      const slow = await slowly(dir, one, port);
      const pid = one.workers[0];
      process.kill(pid, signal);
      assert.notEqual((await slow.asked).error, undefined);
      await one.waitFor(status === 0 ? `Worker exiting (pid: ${pid})` : `Worker (pid:${pid}) exited with code 1`);
      assert.notEqual((await askJson(port)).pid, pid);
    }
    await ends(one);
  });

  it('SIGKILL: only its own requests fail, and it is replaced within a second', async () => {
    const dir = folders.make();
    const { one, port } = await serving(dir, '-w', '2');
    await one.waitForWorkers(2);
    // Connections until both have one.
    const held = new Map<number, RawClient>();
    await until(
      async () => {
        const client = await RawClient.connect(port);
        client.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
        held.set(JSON.parse((await client.response()).body).pid, client);
        return held.size === 2;
      },
      { what: 'a connection to each worker' },
    );
    const [[victim, lost], [other, kept]] = held;
    for (const client of held.values()) client.write('GET /slow HTTP/1.1\r\nHost: x\r\n\r\n');
    await until(() => count(one.stdout, new RegExp(SLOW, 'g')) === 2, { what: 'both requests' });
    const begun = performance.now();
    process.kill(victim, 'SIGKILL');
    await until(() => one.spawned.length === 3, { what: 'another worker' });
    assert.ok(performance.now() - begun < 1000, `after ${performance.now() - begun} ms`);
    writeFileSync(join(dir, 'go'), '');
    assert.equal(JSON.parse((await kept.response()).body).pid, other);
    await assert.rejects(lost.response());
    for (const client of held.values()) client.destroy();
    await ends(one);
  });
});
