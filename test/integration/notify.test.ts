/** What the service manager is told (sd_notify), at a real datagram socket. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ServiceNotifier } from '../../src/arbiter/notify.js';
import { AppFolders } from '../support/app-folders.js';
import { ArbiterProcess, startArbiter } from '../support/arbiter-process.js';
import { askJson } from '../support/ask.js';
import { NotifySocket } from '../support/notify-socket.js';
import { until } from '../support/poll.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'tunicorn-notify-'));
const folders = new AppFolders(
  'notify',
  `export default (req, res) => res.end(JSON.stringify(
    Object.keys(process.env).filter((name) => /^(NOTIFY_|WATCHDOG_)/.test(name))));`,
);
const started: ArbiterProcess[] = [];
const sockets: NotifySocket[] = [];

after(async () => {
  for (const one of started) await one.cleanup();
  for (const socket of sockets) socket.close();
  folders.remove();
  rmSync(dir, { recursive: true });
});

function manager(address = join(dir, `${sockets.length}.sock`)): NotifySocket {
  const socket = new NotifySocket(address);
  sockets.push(socket);
  return socket;
}

/** An arbiter with fake workers. */
function arbiter(NOTIFY_SOCKET: string, settings: object = {}, behaviour = '', env: Record<string, string> = {}) {
  const one = startArbiter(settings, behaviour, { NOTIFY_SOCKET, ...env });
  started.push(one);
  return one;
}

async function ends(one: ArbiterProcess, code = 0): Promise<void> {
  if (code === 0) one.kill('SIGTERM');
  assert.equal((await one.ended).code, code, one.log);
}

describe('sd_notify', { concurrency: 2, timeout: 120_000 }, () => {
  it('READY with the pid, the status, RELOADING and READY at HUP, STOPPING; nothing reaches a worker', async () => {
    const conf = folders.make({ 'tunicorn.conf.mjs': 'export default { app: "app.mjs", workers: 2, threads: 1 }' });
    const systemd = manager();
    const one = new ArbiterProcess(
      [CLI, '-b', '127.0.0.1:0'],
      { NOTIFY_SOCKET: systemd.address, WATCHDOG_USEC: '60000000' },
      conf,
    );
    started.push(one);
    const ready = await systemd.next('READY');
    assert.equal(ready.MAINPID, String(one.pid));
    assert.match(ready.STATUS, /^Serving with [12] of 2 workers$/);
    // It is true: a request is answered, and by a process that cannot speak for the service.
    assert.deepEqual(await askJson(await one.firstPort()), []);
    const status = (text: string) => until(() => systemd.of('STATUS').at(-1)?.STATUS === text, { what: text });
    await status('Serving with 2 of 2 workers');
    one.kill('SIGTTIN');
    await status('Serving with 3 of 3 workers');

    const before = process.hrtime.bigint() / 1000n;
    one.kill('SIGHUP');
    const reloading = await systemd.next('RELOADING');
    const usec = BigInt(reloading.MONOTONIC_USEC);
    assert.ok(usec >= before && usec <= process.hrtime.bigint() / 1000n, 'the time of the monotonic clock');
    await systemd.next('READY', 2);
    writeFileSync(join(conf, 'tunicorn.conf.mjs'), 'broken');
    one.kill('SIGHUP');
    await systemd.next('READY', 3);
    assert.match(one.log, /nothing is changed/);
    const order = systemd.all.flatMap((each) => Object.keys(each).filter((name) => /READY|RELOADING/.test(name)));
    assert.deepEqual(order, ['READY', 'RELOADING', 'READY', 'RELOADING', 'READY']);
    assert.deepEqual(systemd.of('STOPPING'), []);
    await ends(one);
    assert.equal(systemd.of('STOPPING').length, 1);
    assert.ok('STOPPING' in systemd.all.at(-1)!);
  });

  it('READY does not come before a worker has booted, and not at all from one that cannot listen', async () => {
    const systemd = manager();
    const one = arbiter(systemd.address, {}, 'unbooted');
    await one.waitForWorkers(1);
    // A message that is there for certain has come, and READY was not before it.
    one.kill('SIGHUP');
    await one.waitFor('Hang up: Master');
    await ends(one);
    await systemd.next('STOPPING');
    assert.deepEqual([systemd.of('READY'), systemd.of('RELOADING')], [[], []]);
    const two = arbiter(systemd.address, { bind: ['192.0.2.1:8000'] });
    await ends(two, 1);
    assert.deepEqual(systemd.of('READY'), []);
  });

  it('an abstract name; the watchdog hears of it twice in its time, and nothing while the arbiter is held up', async () => {
    const systemd = manager(`@tunicorn-test-notify-${process.pid}`);
    const one = arbiter(systemd.address, {}, '', { WATCHDOG_USEC: '200000' });
    assert.equal((await systemd.next('READY')).MAINPID, String(one.pid));
    await systemd.next('WATCHDOG', 3);
    one.kill('SIGSTOP');
    await until(() => /^State:\s+T/m.test(readFileSync(`/proc/${one.pid}/status`, 'utf8')), { what: 'it to stop' });
    const last = systemd.of('WATCHDOG').length;
    // Meanwhile there come five of somebody else.
    const other = manager();
    const notifier = new ServiceNotifier(() => assert.fail(), false, {
      NOTIFY_SOCKET: other.address,
      WATCHDOG_USEC: '200000',
    });
    notifier.begin();
    await other.next('WATCHDOG', 5);
    await notifier.close();
    assert.equal(systemd.of('WATCHDOG').length, last);
    one.kill('SIGCONT');
    await systemd.next('WATCHDOG', last + 1);
    await ends(one);
    await systemd.next('STOPPING');
  });
});
