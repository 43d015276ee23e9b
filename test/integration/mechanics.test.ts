/** Settings about the processes themselves, each by its effect: names, environment, files, identity. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { AppFolders } from '../support/app-folders.js';
import { ArbiterProcess, fetchText, isAlive } from '../support/arbiter-process.js';
import { ask, askJson } from '../support/ask.js';
import { until } from '../support/poll.js';
import { readableCopy } from '../support/readable-copy.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));

const started: ArbiterProcess[] = [];
const daemons: number[] = [];

after(async () => {
  for (const one of started) await one.cleanup();
  for (const pid of daemons) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  folders.remove();
});

/** Answers with what a process knows of itself. */
const APP = `export default (req, res) => res.end(JSON.stringify({
  pid: process.pid, cwd: process.cwd(), env: process.env,
  ids: [process.getuid(), process.getgid(), process.getgroups()] }));`;
const folders = new AppFolders('mechanics', APP);
const { root } = folders;

/** A tunicorn with one thread at a free port. */
function tunicorn(
  cwd: string,
  args: readonly string[] = [],
  env: Record<string, string> = {},
  cli = CLI,
): ArbiterProcess {
  const one = new ArbiterProcess([cli, '-b', '127.0.0.1:0', '--threads', '1', ...args], env, cwd);
  started.push(one);
  return one;
}

async function ends(one: ArbiterProcess, code = 0): Promise<void> {
  if (code === 0) one.kill('SIGTERM');
  assert.equal((await one.ended).code, code, one.log);
}

/** A file of settings, to be changed before a HUP. */
const conf = (settings: object) => `export default ${JSON.stringify({ app: 'app.mjs', ...settings })}`;

const title = (pid: number) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').replace(/\0+$/, '');

describe('process settings', { concurrency: 2, timeout: 120_000 }, () => {
  it('proc_name: ps shows it for the arbiter and the workers, and HUP changes it', async () => {
    const dir = folders.make({ 'tunicorn.conf.mjs': conf({ proc_name: 'shop' }) });
    const one = tunicorn(dir);
    const { pid } = await askJson(await one.firstPort());
    assert.equal(title(one.pid), 'tunicorn: master [shop]');
    assert.equal(title(pid), 'tunicorn: worker [shop]');
    writeFileSync(join(dir, 'tunicorn.conf.mjs'), conf({}));
    one.kill('SIGHUP');
    await until(() => title(one.pid) === 'tunicorn: master [app.mjs]', { what: 'another title' });
    await until(() => one.workers.some((w) => title(w) === 'tunicorn: worker [app.mjs]'), { what: 'a worker with it' });
    await ends(one);
  });

  it('proc_name: a long one is shown whole, however short the command line was; the environment stays', async () => {
    const name = 'a-name-that-says-all-there-is-to-say-about-it '.repeat(8).trim();
    const dir = folders.make({ 'tunicorn.conf.mjs': conf({ proc_name: name, raw_env: ['TUNI_ONE=1'] }) });
    symlinkSync(CLI, join(dir, 't'));
    const one = new ArbiterProcess(['t', '-b', ':0'], { TUNI_TWO: '2' }, dir);
    started.push(one);
    const { pid, env } = await askJson(await one.firstPort());
    assert.deepEqual([title(one.pid), title(pid)], [`tunicorn: master [${name}]`, `tunicorn: worker [${name}]`]);
    assert.deepEqual([env.TUNI_ONE, env.TUNI_TWO, env.PATH], ['1', '2', process.env.PATH]);
    writeFileSync(join(dir, 'tunicorn.conf.mjs'), conf({ proc_name: 'x', raw_env: ['TUNI_TWO=3'] }));
    one.kill('SIGHUP');
    await until(() => title(one.pid) === 'tunicorn: master [x]', { what: 'a short title' });
    await until(() => one.workers.length === 1 && one.workers[0] !== pid, { what: 'the new worker alone' });
    const [later] = one.workers;
    await until(() => title(later) === 'tunicorn: worker [x]', { what: 'a short title of the worker' });
    const { env: now } = await askJson(await one.firstPort());
    assert.deepEqual([now.TUNI_ONE, now.TUNI_TWO, now.PATH], [undefined, '3', process.env.PATH]);
    await ends(one);
  });

  it('raw_env: the app sees it, HUP changes it and gives back what was there', async () => {
    const file = (raw_env: string[]) => conf({ raw_env });
    const dir = folders.make({ 'tunicorn.conf.mjs': file(['TUNI_A=1=2', 'TUNI_B=', 'TUNI_OLD=new']) });
    const one = tunicorn(dir, [], { TUNI_OLD: 'old' });
    const at = await one.firstPort();
    const { env } = await askJson(at);
    assert.deepEqual([env.TUNI_A, env.TUNI_B, env.TUNI_OLD], ['1=2', '', 'new']);
    writeFileSync(join(dir, 'tunicorn.conf.mjs'), file(['TUNI_C=3']));
    one.kill('SIGHUP');
    await until(async () => (await askJson(at)).env.TUNI_C === '3', { what: 'the new environment' });
    await until(() => one.workers.length === 1, { what: 'the old worker to leave' });
    const { env: later } = await askJson(at);
    assert.deepEqual([later.TUNI_A, later.TUNI_B, later.TUNI_OLD], [undefined, undefined, 'old']);
    await ends(one);
  });

  it('raw_env: --env, more than once, also for --check-config', async () => {
    const dir = folders.make({
      'needs.mjs': `if (process.env.TUNI_A !== "x y" || process.env.TUNI_B !== "2") throw new Error("missing");${APP}`,
    });
    const one = tunicorn(dir, ['-e', 'TUNI_A=x y', '--env=TUNI_B=2', '--check-config', 'needs.mjs']);
    assert.equal((await one.ended).code, 0, one.log);
    const two = tunicorn(dir, ['-e', 'TUNI_A=x y', '--check-config', 'needs.mjs']);
    assert.equal((await two.ended).code, 1, two.log);
    const three = tunicorn(dir, ['-e', 'TUNI_A', 'needs.mjs']);
    assert.equal((await three.ended).code, 2);
    assert.match(three.log, /--env: "TUNI_A" is not NAME=VALUE/);
  });

  it('pidfile: there while it runs, moved by HUP, gone at the end', async () => {
    const dir = folders.make({ 'tunicorn.conf.mjs': conf({ pidfile: 'one.pid' }) });
    const pidIn = (name: string) => readFileSync(join(dir, name), 'utf8');
    const one = tunicorn(dir);
    await one.firstPort();
    assert.equal(pidIn('one.pid'), `${one.pid}\n`);
    assert.equal(statSync(join(dir, 'one.pid')).mode & 0o777, 0o644);
    writeFileSync(join(dir, 'tunicorn.conf.mjs'), conf({ pidfile: 'two.pid' }));
    one.kill('SIGHUP');
    await until(() => pidIn('two.pid') === `${one.pid}\n`, { what: 'the other file' });
    await until(() => !existsSync(join(dir, 'one.pid')), { what: 'the first file to go' });
    await ends(one);
    assert.deepEqual(readdirSync(dir).sort(), ['app.mjs', 'tunicorn.conf.mjs']);
  });

  it('pidfile: HUP makes it again where somebody has deleted or broken it, and respects that of another process', async () => {
    const dir = folders.make({ 'tunicorn.conf.mjs': conf({ pidfile: 'one.pid' }) });
    const path = join(dir, 'one.pid');
    const one = tunicorn(dir);
    const port = await one.firstPort();
    // A worker whose app breaks before it has ever been up is another matter.
    await until(async () => (await ask(port, '/')).status === 200, { what: 'the app' });
    const ours = `${one.pid}\n`;
    rmSync(path);
    one.kill('SIGHUP');
    await until(() => readFileSync(path, 'utf8') === ours, { what: 'the file' });
    writeFileSync(path, '');
    one.kill('SIGHUP');
    await until(() => readFileSync(path, 'utf8') === ours, { what: 'the whole file' });
    writeFileSync(path, `${process.pid}\n`);
    one.kill('SIGHUP');
    await one.waitFor(`already running on pid ${process.pid}, or the pid file ${path} is stale`);
    assert.equal(readFileSync(path, 'utf8'), `${process.pid}\n`);
    // A reload that fails leaves everything as it was.
    rmSync(path);
    const app = readFileSync(join(dir, 'app.mjs'));
    writeFileSync(join(dir, 'app.mjs'), 'export default {');
    writeFileSync(join(dir, 'tunicorn.conf.mjs'), conf({ pidfile: 'one.pid', preloadApp: true }));
    one.kill('SIGHUP');
    await one.waitFor('The app does not load');
    await until(() => !existsSync(path), { what: 'the file to go again' });
    writeFileSync(join(dir, 'app.mjs'), app);
    writeFileSync(join(dir, 'tunicorn.conf.mjs'), conf({ pidfile: 'one.pid' }));
    one.kill('SIGHUP');
    await until(() => existsSync(path), { what: 'the file again' });
    await ends(one);
    assert.deepEqual(readdirSync(dir).sort(), ['app.mjs', 'tunicorn.conf.mjs']);
  });

  it('pidfile: that of a living process is respected, a stale one replaced, a foreign one left', async () => {
    const dir = folders.make();
    const path = join(dir, 'pid');
    const args = ['-p', 'pid', 'app.mjs'];
    writeFileSync(path, `${process.pid}\n`);
    const refused = tunicorn(dir, args);
    await ends(refused, 1);
    assert.ok(
      refused.log.includes(`already running on pid ${process.pid}, or the pid file ${path} is stale`),
      refused.log,
    );
    assert.equal(readFileSync(path, 'utf8'), `${process.pid}\n`);
    writeFileSync(path, `${refused.pid}\n`);
    const one = tunicorn(dir, args);
    await one.firstPort();
    assert.equal(readFileSync(path, 'utf8'), `${one.pid}\n`);
    writeFileSync(path, '1\n');
    await ends(one);
    assert.equal(readFileSync(path, 'utf8'), '1\n');
    const nowhere = tunicorn(dir, ['-p', 'no/such/pid', 'app.mjs']);
    await ends(nowhere, 1);
    assert.match(nowhere.log, /Reason: cannot write the pid file \/.*no\/such\/pid: ENOENT/);
  });

  it('preload_app: an app that does not load starts no worker, status 4', async () => {
    const dir = folders.make({ 'throws.mjs': 'throw new Error("no database");' });
    const one = tunicorn(dir, ['--preload', 'throws.mjs']);
    await ends(one, 4);
    assert.match(one.log, /\[ERROR\] The app does not load: Cannot load .*throws\.mjs: Error: no database$/m);
    assert.match(one.log, /Reason: App failed to load\.$/m);
    assert.doesNotMatch(one.log, /Listening at|Booting worker/);
  });

  it('preload_app: an app that breaks changes nothing at HUP, and serves again when it is repaired', async () => {
    const dir = folders.make();
    const one = tunicorn(dir, ['--preload', 'app.mjs']);
    const at = await one.firstPort();
    const { pid } = await askJson(at);
    writeFileSync(join(dir, 'app.mjs'), 'export default {');
    one.kill('SIGHUP');
    await one.waitFor(/\[ERROR\] The app does not load: Cannot load .*SyntaxError.*app\.mjs:1/);
    await one.waitFor('[ERROR] The new settings are refused');
    assert.equal((await askJson(at)).pid, pid);
    writeFileSync(join(dir, 'app.mjs'), 'export default (req, res) => res.end(`{"mended":true}`)');
    one.kill('SIGHUP');
    await until(async () => (await askJson(at)).mended, { what: 'the new app' });
    assert.deepEqual(one.spawned, [pid]);
    await ends(one);
  });

  it('preload_app: TERM does not wait for an app that never finishes loading', async () => {
    const dir = folders.make({
      'slow.mjs': 'console.log("loading " + process.pid); setInterval(() => {}, 1000); await new Promise(() => {});',
    });
    const one = tunicorn(dir, ['--preload', 'slow.mjs']);
    const loader = await until(() => /loading (\d+)/.exec(one.stdout), { what: 'the app to load' });
    await ends(one);
    assert.equal(one.spawned.length, 0);
    await until(() => !isAlive(Number(loader![1])), { what: 'the loading process to end' });
  });

  it('preload_app, --check-config: the loading process does not outlive the one that started it', async () => {
    const dir = folders.make({
      'spins.mjs': 'import fs from "node:fs"; fs.writeSync(1, "loading " + process.pid + " "); for (;;);',
    });
    for (const [flag, signal] of [
      ['--preload', 'SIGKILL'],
      ['--check-config', 'SIGTERM'],
    ] as const) {
      const one = tunicorn(dir, [flag, 'spins.mjs']);
      const loader = await until(() => /loading (\d+) /.exec(one.stdout), { what: 'the app to load' });
      // Its output ends with the last of both.
      one.kill(signal);
      await until(() => !isAlive(Number(loader![1])), { what: 'the loading process to end' });
      await one.ended;
    }
  });

  it('daemon: the command ends, and serves on in its own session without a terminal', async () => {
    for (const [flags, output] of [
      [[], '/dev/null'],
      [['-R'], 'socket:'],
    ] as const) {
      const dir = folders.make();
      const args = ['-D', '-p', 'pid', '-b', 'unix:s.sock', '--threads', '1', '--log-file', 'log', ...flags, 'app.mjs'];
      // No wait for the end of its output: a daemon that inherits it keeps it open.
      const command = spawn(process.execPath, [CLI, ...args], { cwd: dir, stdio: ['ignore', 'pipe', 'pipe'] });
      const [code] = await once(command, 'exit');
      assert.equal(code, 0);
      const pid = await until(() => Number(readFileSync(join(dir, 'pid'), 'utf8')), { what: 'the pid file' });
      daemons.push(pid);
      assert.notEqual(pid, command.pid);
      // After the name in parentheses: state, parent, group, session, terminal.
      const [, , , session, terminal] = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /, '')
        .split(' ');
      assert.deepEqual([Number(session), Number(terminal)], [pid, 0]);
      assert.equal(readlinkSync(`/proc/${pid}/fd/0`), '/dev/null');
      for (const fd of [1, 2]) assert.ok(readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith(output));
      const socket = `unix:${join(dir, 's.sock')}`;
      const text = await until(() => fetchText(socket, 'GET / HTTP/1.0\r\n\r\n'), { what: 'an answer' });
      assert.equal(JSON.parse(text.slice(text.indexOf('\r\n\r\n') + 4)).env.TUNICORN_DAEMON, undefined);
      process.kill(pid, 'SIGTERM');
      await until(() => !isAlive(pid), { what: 'its end' });
      assert.ok(!existsSync(join(dir, 'pid')));
      assert.match(readFileSync(join(dir, 'log'), 'utf8'), /Shutting down: Master/);
    }
  });

  it('daemon: a wrong setting is told before the command ends', async () => {
    const one = tunicorn(folders.make(), ['-D', '-w', '0', 'app.mjs']);
    await ends(one, 2);
    assert.match(one.log, /--workers: "0"/);
  });

  it("umask: the permissions of a unix socket's file; the app's own umask stays", async () => {
    const dir = folders.make({ 'mask.mjs': 'export default (req, res) => res.end(String(process.umask()));' });
    for (const [args, mode] of [
      [[], 0o777],
      [['-m', '007'], 0o770],
      [['--umask', '0x3f'], 0o700],
    ] as const) {
      const one = new ArbiterProcess([CLI, '-b', 'unix:s.sock', '--threads', '1', ...args, 'mask.mjs'], {}, dir);
      started.push(one);
      await one.addresses();
      assert.equal(statSync(join(dir, 's.sock')).mode & 0o777, mode);
      const text = await fetchText(`unix:${join(dir, 's.sock')}`, 'GET / HTTP/1.0\r\n\r\n');
      assert.ok(text.endsWith(`\r\n\r\n${process.umask()}`), text);
      await ends(one);
    }
  });

  it('umask and reuse_port: HUP gives them to new sockets, and says that open ones keep theirs', async () => {
    const paths = ['one.sock', 'two.sock'].map((name) => `unix:${name}`);
    const dir = folders.make({ 'tunicorn.conf.mjs': conf({ bind: paths.slice(0, 1) }) });
    const mode = (name: string) => statSync(join(dir, name)).mode & 0o777;
    const one = new ArbiterProcess([CLI, '--threads', '1'], {}, dir);
    started.push(one);
    await one.addresses();
    writeFileSync(join(dir, 'tunicorn.conf.mjs'), conf({ bind: paths, umask: 0o77 }));
    one.kill('SIGHUP');
    await one.waitFor(/\[WARNING\] Sockets that are open keep what they have of: umask$/m);
    await until(() => existsSync(join(dir, 'two.sock')), { what: 'the new socket' });
    assert.deepEqual([mode('one.sock'), mode('two.sock')], [0o777, 0o700]);
    await ends(one);
  });

  it('reuse_port: two servers at one port, both answer', async () => {
    const dir = folders.make();
    const one = tunicorn(dir, ['--reuse-port', 'app.mjs']);
    const at = await one.firstPort();
    await askJson(at);
    const start = (...args: string[]) => {
      const another = new ArbiterProcess([CLI, '-b', `127.0.0.1:${at}`, '--threads', '1', ...args, 'app.mjs'], {}, dir);
      started.push(another);
      return another;
    };
    const two = start('--reuse-port');
    const three = start();
    await two.waitForWorkers(1);
    const pids = new Set<number>();
    await until(async () => pids.add((await askJson(at)).pid).size === 2, { what: 'answers of both' });
    await three.waitFor('Connection in use');
    await ends(one);
    assert.equal((await askJson(at)).pid, two.workers[0]);
    await ends(two);
  });

  const asRoot = { skip: process.getuid!() !== 0 && 'only root may change users' };
  /** The command and a folder with the app, both readable for anybody. */
  const forAnybody = () => {
    const dir = folders.make();
    for (const each of [root, dir]) chmodSync(each, 0o755);
    copy ??= readableCopy(folders.make());
    return { dir, cli: copy };
  };
  let copy: string | undefined;
  /** Ids of an account in /etc/passwd or /etc/group. */
  const idOf = (file: string, name: string) =>
    Number(readFileSync(`/etc/${file}`, 'utf8').match(new RegExp(`^${name}:[^:]*:(\\d+):`, 'm'))![1]);

  it(
    'user and group: the workers run as these and no other, and can write their logs and sockets',
    asRoot,
    async () => {
      const { dir, cli } = forAnybody();
      const [uid, gid] = [idOf('passwd', 'daemon'), idOf('group', 'games')];
      const args = ['-b', 'unix:s.sock', '--threads', '1', '--access-logfile', 'access.log', '--log-file', 'error.log'];
      const one = new ArbiterProcess([cli, ...args, '-u', 'daemon', '-g', String(gid), 'app.mjs'], {}, dir);
      started.push(one);
      const get = 'GET /x HTTP/1.0\r\n\r\n';
      const text = await until(() => fetchText(`unix:${join(dir, 's.sock')}`, get), { what: 'an answer' });
      assert.match(text, /^HTTP\/1\.1 200 /);
      const { ids } = JSON.parse(text.slice(text.indexOf('\r\n\r\n') + 4));
      assert.deepEqual(ids, [uid, gid, [gid]]);
      const status = readFileSync(`/proc/${one.pid}/status`, 'utf8');
      assert.match(status, /^Uid:\t0\t0/m, 'the arbiter is still root');
      for (const name of ['access.log', 'error.log', 's.sock']) {
        const { uid: owner, gid: group } = statSync(join(dir, name));
        assert.deepEqual([owner, group], [uid, gid], name);
      }
      await until(() => readFileSync(join(dir, 'access.log'), 'utf8').includes('"GET /x HTTP/1.0" 200'), {
        what: 'a line',
      });
      const pids = [...readFileSync(join(dir, 'error.log'), 'utf8').matchAll(/Booting worker with pid: (\d+)/g)];
      await ends(one);
      for (const [, pid] of pids) assert.ok(!isAlive(Number(pid)));
    },
  );

  /** An account that /etc/group lists as a member of another group: [account, its groups there]. */
  const members = readFileSync('/etc/group', 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(':'))
    .filter(([, , , users]) => users);
  const member = members[0]?.[3].split(',')[0];
  const needsMember = { skip: asRoot.skip || (member === undefined && 'no account is a member of a second group') };

  it('initgroups: the workers are in every group of the user, and without it in none', needsMember, async () => {
    const { dir, cli } = forAnybody();
    const uid = idOf('passwd', member);
    const gid = idOf('group', 'games');
    const second = members.filter(([, , , users]) => users.split(',').includes(member)).map(([, , id]) => Number(id));
    for (const [flags, groups] of [
      [['--initgroups'], [gid, ...second]],
      [[], [gid]],
    ] as const) {
      const one = tunicorn(dir, ['-u', String(uid), '-g', 'games', ...flags, 'app.mjs'], {}, cli);
      const { ids } = await askJson(await one.firstPort());
      assert.deepEqual([ids[0], ids[1]], [uid, gid]);
      assert.deepEqual(new Set(ids[2]), new Set(groups));
      await ends(one);
    }
  });

  it('user: one that this process may not become ends it with status 3', asRoot, async () => {
    const { dir, cli } = forAnybody();
    const uid = idOf('passwd', 'daemon');
    // An arbiter that is not root.
    const one = new ArbiterProcess(
      [
        '-e',
        `process.setgid(${uid}); process.setuid(${uid}); process.argv.splice(1, 0, 'x'); import(${JSON.stringify(cli)})`,
        '--',
        '-b',
        '127.0.0.1:0',
        '-u',
        'games',
        'app.mjs',
      ],
      {},
      dir,
    );
    started.push(one);
    await ends(one, 3);
    assert.match(one.log, /ERR_TUNICORN_IDENTITY: cannot run as user \d+, group \d+: .*EPERM/);
  });

  it('user and group: unknown ones are refused by name', async () => {
    for (const flag of ['--user', '--group']) {
      const one = tunicorn(folders.make(), [flag, 'no-such-one', 'app.mjs']);
      await ends(one, 2);
      assert.match(one.log, new RegExp(`${flag}: "no-such-one" is not a ${flag.slice(2)} of this system`));
    }
  });
});
