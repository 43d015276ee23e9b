/** ServiceNotifier at a real datagram socket, without an arbiter: what is said when, and what happens if it is not taken. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { ServiceNotifier } from '../../../src/arbiter/notify.js';
import type { Logger } from '../../../src/log.js';
import { NotifySocket } from '../../support/notify-socket.js';
import { until } from '../../support/poll.js';

const dir = mkdtempSync(join(tmpdir(), 'tunicorn-notifier-'));
const sockets: NotifySocket[] = [];
after(() => {
  for (const socket of sockets) socket.close();
  rmSync(dir, { recursive: true });
});

function manager(): NotifySocket {
  const socket = new NotifySocket(join(dir, `${sockets.length}.sock`));
  sockets.push(socket);
  return socket;
}

const lines: string[] = [];
const log = { debug: (text: string) => lines.push(text) } as unknown as Logger;
const me = String(process.pid);

function notifier(env: NodeJS.ProcessEnv, replaces = false): ServiceNotifier {
  return new ServiceNotifier(() => log, replaces, env);
}

describe('ServiceNotifier', () => {
  it('takes its variables out of the environment, and is silent without an address', () => {
    const env = { NOTIFY_SOCKET: '', WATCHDOG_USEC: '1000', WATCHDOG_PID: me, OTHER: 'x' };
    const one = notifier(env);
    assert.deepEqual(env, { OTHER: 'x' });
    one.begin();
    one.serving(1, 1);
    one.stopping();
    assert.deepEqual(lines, []);
  });

  it('says READY once, the status when it changes, and nothing after STOPPING', () => {
    const systemd = manager();
    const one = notifier({ NOTIFY_SOCKET: systemd.address });
    one.serving(0, 2);
    one.reloading();
    one.reloaded();
    assert.equal(systemd.all.length, 0);
    for (const booted of [1, 1, 2, 3, 2, 0]) one.serving(booted, 2);
    one.reloading();
    one.reloaded();
    one.stopping();
    one.stopping();
    one.serving(1, 2);
    one.reloading();
    one.reloaded();
    const usec = systemd.all[3].MONOTONIC_USEC;
    assert.match(usec, /^\d+$/);
    assert.deepEqual(systemd.all, [
      { READY: '1', MAINPID: me, STATUS: 'Serving with 1 of 2 workers' },
      { STATUS: 'Serving with 2 of 2 workers' },
      { STATUS: 'Serving with 0 of 2 workers' },
      { RELOADING: '1', MONOTONIC_USEC: usec, STATUS: 'Reloading' },
      { READY: '1', STATUS: 'Serving with 0 of 2 workers' },
      { STOPPING: '1', STATUS: 'Stopping' },
    ]);
  });

  it('one that replaces another arbiter is silent until it is promoted; the other one names it at its end', async () => {
    const systemd = manager();
    const env = () => ({ NOTIFY_SOCKET: systemd.address, WATCHDOG_USEC: '20000', WATCHDOG_PID: me });
    const first = notifier(env());
    const second = notifier({ ...env(), WATCHDOG_PID: '1' }, true);
    first.begin();
    first.serving(1, 1);
    second.begin();
    second.serving(1, 1);
    second.serving(2, 2);
    await systemd.next('WATCHDOG', 2);
    first.handOver(4711);
    assert.deepEqual(systemd.of('READY').length, 1);
    const before = systemd.all.length;
    assert.deepEqual(systemd.all[before - 1], { MAINPID: '4711' });
    first.stopping();
    second.promoted();
    assert.deepEqual(systemd.all.slice(before), [
      { READY: '1', MAINPID: me, STATUS: 'Serving with 2 of 2 workers' },
      { WATCHDOG: '1' },
    ]);
    const heard = systemd.of('WATCHDOG').length;
    await systemd.next('WATCHDOG', heard + 2);
    await second.close();
  });

  it('no watchdog: another process is meant, or no time is given', async () => {
    const systemd = manager();
    const env = { NOTIFY_SOCKET: systemd.address };
    const silent = [
      notifier({ ...env, WATCHDOG_USEC: '2000', WATCHDOG_PID: '1' }),
      notifier({ ...env, WATCHDOG_USEC: '0' }),
      notifier({ ...env, WATCHDOG_USEC: 'soon' }),
      notifier(env),
    ];
    for (const one of silent) one.begin();
    const other = manager();
    const one = notifier({ NOTIFY_SOCKET: other.address, WATCHDOG_USEC: '2000', WATCHDOG_PID: me });
    one.begin();
    await other.next('WATCHDOG', 20);
    await one.close();
    assert.deepEqual(systemd.all, []);
  });

  it('keeps what the receiver has no room for, in order, and no watchdog beside it', async () => {
    const systemd = manager();
    systemd.fill();
    const one = notifier({ NOTIFY_SOCKET: systemd.address, WATCHDOG_USEC: '2000' });
    one.begin();
    for (let n = 1; n <= 5; n++) one.serving(n, 5);
    const said = () => systemd.all.filter((each) => !('FILL' in each) && !('WATCHDOG' in each));
    await until(() => said().length === 5, { what: 'what waits' });
    assert.deepEqual(
      said().map(({ STATUS }) => STATUS),
      [1, 2, 3, 4, 5].map((n) => `Serving with ${n} of 5 workers`),
    );
    await systemd.next('WATCHDOG');
    await one.close();
    assert.deepEqual(lines, []);
  });

  it('its last word waits for room, for a while', async () => {
    const systemd = manager();
    systemd.fill();
    const one = notifier({ NOTIFY_SOCKET: systemd.address });
    one.stopping();
    const closed = one.close();
    assert.equal(systemd.of('STOPPING').length, 0);
    await closed;
    assert.equal(systemd.of('STOPPING').length, 1);
    systemd.fill();
    const two = notifier({ NOTIFY_SOCKET: systemd.address });
    two.handOver(4711);
    const begun = performance.now();
    await two.close();
    assert.ok(performance.now() - begun > 900, 'it has not given up at once');
    assert.equal(systemd.of('MAINPID').length, 0);
  });

  it('says once at level debug that nobody listens, again after it was heard meanwhile', () => {
    const gone = new NotifySocket(join(dir, 'gone.sock'));
    gone.close();
    for (const [address, reason] of [
      [join(dir, 'missing.sock'), 'ENOENT'],
      [gone.address, 'ECONNREFUSED'],
      [`@${'x'.repeat(200)}`, 'EINVAL'],
    ]) {
      lines.length = 0;
      const one = notifier({ NOTIFY_SOCKET: address });
      for (let n = 1; n <= 20; n++) one.serving(n, 20);
      one.stopping();
      assert.deepEqual(lines, [`Cannot notify the service manager at ${address}: ${reason}`]);
    }
    lines.length = 0;
    const one = notifier({ NOTIFY_SOCKET: join(dir, 'late.sock') });
    one.serving(1, 1);
    const late = new NotifySocket(join(dir, 'late.sock'));
    one.serving(0, 1);
    assert.equal(late.all.length, 1);
    late.close();
    one.serving(1, 1);
    assert.equal(lines.length, 2);
  });
});
