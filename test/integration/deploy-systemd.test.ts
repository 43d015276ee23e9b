/**
 * The units of examples/deploy under a real systemd: a user's instance in a mount namespace of its own, where it can be made to
 * believe that the machine was booted with it. What such an instance may not do (another user, hardening) is left out.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { AppFolders } from '../support/app-folders.js';
import { until } from '../support/poll.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
const DEPLOY = fileURLToPath(new URL('../../../examples/deploy/', import.meta.url));
const SYSTEMD = '/usr/lib/systemd/systemd';
const NAMESPACE = ['--mount', '--propagation', 'private', 'sh', '-c'];
const BOOTED = 'mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system';

const app = (version: number) => `export default (req, res) => res.end('${version}');`;
const folders = new AppFolders('units', app(1));

const possible = existsSync(SYSTEMD) && spawnSync('unshare', [...NAMESPACE, BOOTED]).status === 0;

describe('the units under systemd', { skip: !possible && 'no systemd or no namespaces here', timeout: 120_000 }, () => {
  const dir = folders.make({ 'package.json': '{"type":"module"}', 'app.js': app(1) });
  const socketPath = join(dir, 'app.sock');
  const env = {
    ...process.env,
    XDG_RUNTIME_DIR: dir,
    XDG_CONFIG_HOME: join(dir, 'config'),
    SYSTEMD_LOG_TARGET: 'console',
  };
  let systemd: ChildProcess;
  let log = '';

  const systemctl = async (...args: string[]): Promise<string> => {
    const { stdout } = await promisify(execFile)('systemctl', ['--user', ...args], { env, timeout: 60_000 });
    return stdout.trim();
  };
  const property = (name: string) => systemctl('show', 'tunicorn.service', '--value', '-p', name);
  const serviceLog = () => (existsSync(join(dir, 'log')) ? readFileSync(join(dir, 'log'), 'utf8') : '');

  /** The body of the answer; an error's code in its place. */
  const ask = (): Promise<string> =>
    new Promise((resolve) => {
      const failed = (err: NodeJS.ErrnoException) => resolve(err.code ?? err.message);
      const req = request({ socketPath, agent: false }, async (res) => {
        let body = '';
        for await (const piece of res.setEncoding('utf8')) body += piece;
        resolve(body);
      });
      req.on('error', failed).end();
    });
  const answers = async (body: string, what: string) => {
    await until(async () => (await ask()) === body, { what, timeoutMs: 30_000 }).catch((err) => {
      throw new Error(`${err.message}; the logs:\n${log}\n${serviceLog()}`);
    });
  };

  before(async () => {
    const units = join(dir, 'config/systemd/user');
    mkdirSync(units, { recursive: true });
    const service = readFileSync(join(DEPLOY, 'tunicorn.service'), 'utf8')
      .replace(
        /^ExecStart=\S+/m,
        `StandardError=append:${join(dir, 'log')}\nExecStart=${process.execPath} ${CLI} --threads 2`,
      )
      .replaceAll('/srv/app', dir)
      .replace('WatchdogSec=30', 'WatchdogSec=3')
      .replace(/^(User|Group|(Private|Protect|Restrict|NoNew)\w+)=.*\n/gm, '');
    writeFileSync(join(units, 'tunicorn.service'), service);
    const socket = readFileSync(join(DEPLOY, 'tunicorn.socket'), 'utf8')
      .replace('/run/tunicorn/app.sock', socketPath)
      .replace(/^SocketUser=.*\n/m, '');
    writeFileSync(join(units, 'tunicorn.socket'), socket);
    systemd = spawn('unshare', [...NAMESPACE, `${BOOTED} && exec ${SYSTEMD} --user`], { env });
    systemd.stderr!.setEncoding('utf8').on('data', (text) => (log += text));
    await until(() => existsSync(join(dir, 'systemd/private')), { what: 'systemd', timeoutMs: 30_000 });
  });

  after(async () => {
    await systemctl('stop', 'tunicorn.service', 'tunicorn.socket').catch(() => {});
    systemd?.kill('SIGKILL');
    folders.remove();
  });

  it('a connection starts the service, which says when it serves', async () => {
    await systemctl('start', 'tunicorn.socket');
    assert.equal(await property('ActiveState'), 'inactive');
    await answers('1', 'the first answer');
    await until(async () => (await property('ActiveState')) === 'active', { what: 'READY=1' });
    assert.equal(await property('StatusText'), 'Serving with 1 of 1 workers');
  });

  it('reload: new code, the same arbiter', async () => {
    const main = await property('MainPID');
    writeFileSync(join(dir, 'app.js'), app(2));
    await systemctl('reload', 'tunicorn.service');
    await until(() => /Reloaded 2 threads/.test(serviceLog()), { what: 'the reload', timeoutMs: 30_000 });
    assert.equal(await ask(), '2');
    assert.equal(await property('MainPID'), main);
  });

  it('restart: another arbiter, and nobody is refused', async () => {
    const main = await property('MainPID');
    let restarting = true;
    const load = (async () => {
      const seen = new Map<string, number>();
      for (let n = 0; restarting || n < 3; n++) {
        const body = await ask();
        seen.set(body, (seen.get(body) ?? 0) + 1);
      }
      return [...seen.keys()];
    })();
    await systemctl('restart', 'tunicorn.service').finally(() => {
      restarting = false;
    });
    assert.deepEqual(await load, ['2']);
    assert.notEqual(await property('MainPID'), main);
  });

  it('an arbiter that hangs is replaced by the watchdog', async () => {
    const main = await property('MainPID');
    process.kill(Number(main), 'SIGSTOP');
    await until(async () => (await property('NRestarts')) === '1', { what: 'the watchdog', timeoutMs: 30_000 });
    await answers('2', 'an answer');
  });

  it('stop: a peaceful end', async () => {
    await systemctl('stop', 'tunicorn.service');
    assert.deepEqual([await property('ActiveState'), await property('Result')], ['inactive', 'success'], serviceLog());
  });
});
