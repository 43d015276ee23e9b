/** Sockets that are inherited: systemd's socket activation with its real protocol, and fd://N. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { activating, passing } from '../support/activation.js';
import { AppFolders } from '../support/app-folders.js';
import { ArbiterProcess, fetchText, isAlive } from '../support/arbiter-process.js';
import { ask, askJson } from '../support/ask.js';
import { NotifySocket } from '../support/notify-socket.js';
import { until } from '../support/poll.js';
import { children } from '../support/proc.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
/** Answers with what a worker should not have from systemd. */
const APP = `export default (req, res) => res.end(JSON.stringify({ pid: process.pid,
  env: Object.keys(process.env).filter((name) => /^(LISTEN_|NOTIFY_|WATCHDOG_)/.test(name)) }));`;

const started: ArbiterProcess[] = [];
const daemons: number[] = [];
const folders = new AppFolders('systemd', APP);

after(async () => {
  for (const one of started) await one.cleanup();
  for (const pid of daemons) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  folders.remove();
});

function tunicorn(via: readonly string[], cwd: string, args: readonly string[] = []): ArbiterProcess {
  const one = new ArbiterProcess([CLI, '--threads', '1', ...args], {}, cwd, false, via);
  started.push(one);
  return one;
}

async function ends(one: ArbiterProcess, code = 0, told = code === 0): Promise<void> {
  if (told) one.kill('SIGTERM');
  assert.equal((await one.ended).code, code, one.log);
}

const GET = 'GET / HTTP/1.0\r\n\r\n';
const ASK_ABSTRACT = `
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect('\\0' + sys.argv[1])
s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
print(s.makefile().read())`;
const answered = async (address: string) => assert.match(await fetchText(address, GET), /^HTTP\/1\.1 200 /);

const link = (pid: number, fd: number) => readlinkSync(`/proc/${pid}/fd/${fd}`);
/** Numbers of the descriptors by which a process has this file or socket. */
function holding(pid: number, what: string): number[] {
  const fds = readdirSync(`/proc/${pid}/fd`).map(Number);
  return fds.filter((fd) => {
    try {
      return link(pid, fd) === what;
    } catch {
      return false;
    }
  });
}

const conf = (settings: object) => `export default ${JSON.stringify({ app: 'app.mjs', ...settings })}`;

describe('inherited sockets', { concurrency: 2, timeout: 120_000 }, () => {
  it('systemd: its sockets are used instead of bind, by nobody else, through HUP, and their files stay', async () => {
    const dir = folders.make({ 'tunicorn.conf.mjs': conf({ bind: ['127.0.0.1:1'] }) });
    const path = join(dir, 'unit.sock');
    const name = `tunicorn-test-${process.pid}`;
    const one = tunicorn(
      activating(['tcp', `unix:${path}`, 'tcp6', `abstract:${name}`], { LISTEN_FDNAMES: 'web:file:v6:abstract' }),
      dir,
    );
    const addresses = await one.addresses();
    assert.match(addresses[0], /^http:\/\/127\.0\.0\.1:\d+$/);
    assert.match(addresses[2], /^http:\/\/\[::1\]:\d+$/);
    assert.deepEqual([addresses.length, addresses[1], addresses[3]], [4, `unix:${path}`, `unix:@${name}`]);
    assert.match(one.log, /Sockets from systemd: fd 3 \(web\), fd 4 \(file\), fd 5 \(v6\), fd 6 \(abstract\)$/m);
    for (const address of addresses.slice(0, 3)) await answered(address);
    // Node 20 cannot connect to an abstract name.
    const text = execFileSync('python3', ['-c', ASK_ABSTRACT, name], { encoding: 'utf8' });
    assert.match(text, /^HTTP\/1\.1 200 /);
    const port = Number(new URL(addresses[0]).port);
    const { pid, env } = await askJson(port);
    assert.deepEqual(env, [], 'the variables reach no worker');

    const sockets = [3, 4, 5, 6].map((fd) => link(one.pid, fd));
    for (const [i, socket] of sockets.entries()) {
      assert.match(socket, /^socket:/);
      assert.deepEqual(holding(one.pid, socket), [3 + i]);
      assert.deepEqual(holding(pid, socket), [4 + i], 'a worker has each socket once, behind its IPC channel');
      const flags = Number(`0o${/flags:\s+(\d+)/.exec(readFileSync(`/proc/${one.pid}/fdinfo/${3 + i}`, 'utf8'))![1]}`);
      assert.equal(flags & 0o2004000, 0o2004000, 'close-on-exec and non-blocking');
    }

    // Another bind, and a setting that wants another process.
    writeFileSync(join(dir, 'tunicorn.conf.mjs'), conf({ bind: ['127.0.0.1:2'], proc_name: 'later' }));
    one.kill('SIGHUP');
    await until(async () => (await askJson(port)).pid !== pid && one.workers.length === 1, { what: 'the new worker' });
    assert.deepEqual(
      [3, 4, 5, 6].map((fd) => link(one.pid, fd)),
      sockets,
    );
    assert.deepEqual(holding(one.workers[0], sockets[0]), [4]);
    for (const address of addresses.slice(0, 3)) await answered(address);
    await ends(one);
    assert.ok(existsSync(path), 'the file is the unit’s');
  });

  it('systemd: USR2 hands its sockets on, twice; who is the main process is said by that one itself', async () => {
    const dir = folders.make();
    const path = join(dir, 'unit.sock');
    const systemd = new NotifySocket(join(dir, 'notify.sock'));
    const env = { NOTIFY_SOCKET: systemd.address, WATCHDOG_USEC: '1000000' };
    const one = tunicorn(activating(['tcp', `unix:${path}`], env), dir, ['-b', '127.0.0.1:1', 'app.mjs']);
    try {
      const [address] = await one.addresses();
      const port = Number(new URL(address).port);
      const mainPids = () => systemd.of('MAINPID').map((each) => `${'READY' in each ? 'READY ' : ''}${each.MAINPID}`);
      await systemd.next('READY');
      const expected = [`READY ${one.pid}`];
      let main = one.pid;
      for (const n of [1, 2]) {
        process.kill(main, 'SIGUSR2');
        const next = await until(() => one.successors[n - 1], { what: 'a new arbiter' });
        // Its worker has come up: it would be ready, and says nothing.
        await until(async () => {
          const { pid } = await askJson(port);
          return children(next).some((child) => child.pid === pid);
        });
        assert.deepEqual(mainPids(), expected);
        process.kill(main, 'SIGTERM');
        expected.push(String(next), `READY ${next}`);
        await systemd.next('MAINPID', expected.length);
        assert.deepEqual(mainPids(), expected);
        const heard = systemd.of('WATCHDOG').length;
        await systemd.next('WATCHDOG', heard + 1);
        assert.deepEqual(systemd.of('STOPPING'), []);
        main = next;
        await answered(address);
        await answered(`unix:${path}`);
      }
      process.kill(main, 'SIGTERM');
      await systemd.next('STOPPING');
      assert.equal((await one.ended).code, 0);
      assert.equal(systemd.of('MAINPID').length, 5);
      assert.equal(one.log.match(/Listening at: .*127\.0\.0\.1:1\b/), null);
      assert.ok(existsSync(path));
    } finally {
      systemd.close();
    }
  });

  it('systemd: sockets for another process are let alone, and the variables are taken away all the same', async () => {
    const dir = folders.make();
    const one = tunicorn(activating(['tcp'], { LISTEN_PID: '1' }), dir, ['-b', 'unix:own.sock', 'app.mjs']);
    assert.deepEqual(await one.addresses(), ['unix:own.sock']);
    const text = await fetchText(`unix:${join(dir, 'own.sock')}`, GET);
    assert.deepEqual(JSON.parse(text.slice(text.indexOf('{'))).env, []);
    assert.doesNotMatch(one.log, /systemd/);
    await ends(one);
  });

  it('systemd: a socket that status_bind names is not for requests', async () => {
    const one = tunicorn(activating(['tcp', 'tcp']), folders.make(), ['--status-bind', 'fd://4', 'app.mjs']);
    const port = await one.firstPort();
    assert.equal((await one.addresses()).length, 1);
    assert.deepEqual((await askJson(port)).env, []);
    const [, status] = /Status at: http:\/\/127\.0\.0\.1:(\d+)/.exec(one.log)!;
    assert.equal((await ask(Number(status), '/live')).status, 200);
    assert.equal((await ask(port, '/live')).body.includes('"pid"'), true, 'the app');
    await ends(one);
  });

  it('systemd: a connection (Accept=yes) or datagrams: exit 1, told', async () => {
    const one = tunicorn(activating(['tcp', 'connected']), folders.make(), ['app.mjs']);
    const two = tunicorn(activating(['datagram']), folders.make(), ['app.mjs']);
    await ends(one, 1);
    assert.match(one.log, /Reason: cannot listen at fd:\/\/4: the socket does not listen/);
    await ends(two, 1);
    assert.match(two.log, /Reason: cannot listen at fd:\/\/3: it is no stream socket/);
  });

  it('fd://N: beside other addresses; HUP keeps it, and can let it go; its file stays', async () => {
    const file = (bind: string[]) => conf({ bind });
    const both = ['unix:own.sock', 'fd://3'];
    const dir = folders.make({ 'tunicorn.conf.mjs': file(both) });
    const [path, own] = ['given.sock', 'own.sock'].map((name) => join(dir, name));
    const one = tunicorn(passing([`unix:${path}`]), dir);
    assert.deepEqual(await one.addresses(), ['unix:own.sock', `unix:${path}`]);
    await answered(`unix:${path}`);
    await answered(`unix:${own}`);
    // An address that cannot be had: everything stays, also what was inherited.
    writeFileSync(join(dir, 'tunicorn.conf.mjs'), file([...both, 'unix:no/such/folder.sock']));
    one.kill('SIGHUP');
    await one.waitFor('The new settings are refused');
    await answered(`unix:${path}`);
    writeFileSync(join(dir, 'tunicorn.conf.mjs'), file(['unix:own.sock']));
    one.kill('SIGHUP');
    await until(
      () =>
        fetchText(`unix:${path}`, GET).then(
          () => false,
          () => true,
        ),
      { what: 'the socket to close' },
    );
    assert.ok(existsSync(path));
    await until(() => answered(`unix:${own}`).then(() => true), { what: 'an answer' });
    await ends(one);
    assert.deepEqual([existsSync(path), existsSync(own)], [true, false]);
  });

  it('fd://N: a daemon has it too', async () => {
    const dir = folders.make();
    const args = ['-D', '-p', 'pid', '--log-file', 'log', '-b', 'fd://4', 'app.mjs'];
    const one = tunicorn(passing(['tcp', 'unix:s.sock']), dir, args);
    await ends(one, 0, false);
    const pid = await until(() => Number(readFileSync(join(dir, 'pid'), 'utf8')), { what: 'the pid file' });
    daemons.push(pid);
    await until(() => answered(`unix:${join(dir, 's.sock')}`).then(() => true), { what: 'an answer' });
    assert.equal(holding(pid, link(pid, 4)).length, 1);
    assert.ok(!existsSync(`/proc/${pid}/fd/3`) || !link(pid, 3).startsWith('socket:'), 'nothing else is passed on');
    process.kill(pid, 'SIGTERM');
    await until(() => !isAlive(pid), { what: 'its end' });
  });

  it('fd://N: told where nothing is inherited', async () => {
    const one = tunicorn([], folders.make(), ['-b', 'fd://99', 'app.mjs']);
    await ends(one, 1);
    assert.match(one.log, /Reason: cannot listen at fd:\/\/99: no such descriptor is open \(EBADF\)/);
  });
});
