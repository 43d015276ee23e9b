/** The arbiter's life: start, numbers of workers, signals, replacement, ends. Workers are fixtures/fake-worker.ts. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { type ArbiterProcess, fetchText, isAlive, startArbiter } from '../support/arbiter-process.js';
import { settled, until } from '../support/poll.js';
import { fdCount, fdKinds } from '../support/proc.js';

const started: ArbiterProcess[] = [];
const dir = mkdtempSync(join(tmpdir(), 'tunicorn-arbiter-'));

function arbiter(settings: object, behaviour = '', env: Record<string, string> = {}): ArbiterProcess {
  const one = startArbiter(settings, behaviour, env);
  started.push(one);
  return one;
}

after(async () => {
  for (const one of started) await one.cleanup();
  rmSync(dir, { recursive: true, force: true });
});

/** Waits for the end and checks that no worker is left. */
async function ends(one: ArbiterProcess): Promise<number | null> {
  const { code } = await one.ended;
  assert.deepEqual(one.workers, [], one.log);
  return code;
}

/** A worker's answer. */
async function ask(address: string) {
  return JSON.parse(await fetchText(address));
}

describe('arbiter', { concurrency: 2, timeout: 180_000 }, () => {
  it('starts workers that listen at every address, and TERM ends all with status 0', async () => {
    const path = join(dir, 'several.sock');
    const one = arbiter({ workers: 2, bind: ['127.0.0.1:0', '[::1]:0', `unix:${path}`] });
    const addresses = await one.addresses();
    assert.equal(addresses.length, 3);
    assert.match(addresses[0], /^http:\/\/127\.0\.0\.1:[1-9]\d*$/);
    assert.match(addresses[1], /^http:\/\/\[::1\]:[1-9]\d*$/);
    assert.equal(addresses[2], `unix:${path}`);
    for (const address of addresses) {
      const { pid, boot } = await ask(address);
      assert.ok(one.workers.includes(pid));
      assert.deepEqual(
        boot.listeners.map((l: { fd: number; name: string }) => [l.fd, l.name]),
        addresses.map((name, i) => [4 + i, name]),
      );
      assert.equal(boot.config.workers, 2);
    }
    one.kill('SIGTERM');
    assert.equal(await ends(one), 0);
    assert.equal(existsSync(path), false);
    for (const line of [
      /^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[\d+\] \[INFO\] Starting tunicorn \d+\.\d+\.\d+$/m,
      /\[INFO\] Listening at: http:\/\/127\.0\.0\.1:\d+,http:\/\/\[::1\]:\d+,unix:\S+ \(\d+\)$/m,
      /\[INFO\] Using worker: gthread$/m,
      /\[INFO\] Booting worker with pid: \d+$/m,
      /\[INFO\] Handling signal: term$/m,
      /\[INFO\] Worker exiting \(pid: \d+\)$/m,
      /\[INFO\] Shutting down: Master$/m,
    ]) {
      assert.match(one.log, line);
    }
  });

  for (const signal of ['SIGINT', 'SIGQUIT'] as const) {
    it(`${signal} ends it quickly, with status 0, even if workers do not listen`, async () => {
      const one = arbiter({ workers: 2, gracefulTimeout: 60 }, 'stubborn');
      await ask((await one.addresses())[0]);
      const begin = performance.now();
      one.kill(signal);
      assert.equal(await ends(one), 0);
      assert.ok(performance.now() - begin < 8000);
      assert.match(one.log, /Killing \d worker/);
    });
  }

  it('TERM gives stubborn workers graceful_timeout, then kills them', async () => {
    const one = arbiter({ workers: 2, gracefulTimeout: 0.5 }, 'stubborn');
    await ask((await one.addresses())[0]);
    one.kill('SIGTERM');
    assert.equal(await ends(one), 0);
  });

  it('INT during a graceful stop makes it quick', async () => {
    const one = arbiter({ workers: 1, gracefulTimeout: 600 }, 'stubborn');
    await ask((await one.addresses())[0]);
    one.kill('SIGTERM');
    await one.waitFor('Handling signal: term');
    one.kill('SIGINT');
    assert.equal(await ends(one), 0);
  });

  it('replaces a killed worker at once', async () => {
    const one = arbiter({ workers: 2 });
    const address = (await one.addresses())[0];
    const { pid } = await ask(address);
    process.kill(pid, 'SIGKILL');
    await one.waitFor(`Worker (pid:${pid}) was sent SIGKILL! Perhaps out of memory?`);
    await until(() => one.spawned.length === 3, { what: 'a third worker' });
    assert.ok(!one.workers.includes(pid));
    assert.ok(!/waiting/.test(one.log));
    one.kill('SIGTERM');
    assert.equal(await ends(one), 0);
  });

  it('TTIN adds a worker, TTOU takes the oldest away, but not the last', async () => {
    const one = arbiter({ workers: 1 });
    await ask((await one.addresses())[0]);
    const [first] = one.workers;
    one.kill('SIGTTIN');
    await one.waitForWorkers(2);
    one.kill('SIGTTOU');
    await one.waitForWorkers(1);
    assert.ok(!one.workers.includes(first));
    one.kill('SIGTTOU');
    await one.waitFor(/(Handling signal: ttou[\s\S]*){2}/);
    one.kill('SIGTTIN');
    await one.waitForWorkers(2);
    assert.equal(one.spawned.length, 3);
    one.kill('SIGTERM');
    assert.equal(await ends(one), 0);
  });

  it('HUP has workers of class gthread reload as they live', async () => {
    const one = arbiter({ workers: 1 });
    const address = (await one.addresses())[0];
    const { pid, reloads } = await ask(address);
    assert.equal(reloads, 0);
    for (let n = 1; n <= 2; n++) {
      one.kill('SIGHUP');
      await until(async () => (await ask(address)).reloads === n, { what: 'the message' });
    }
    assert.deepEqual(one.workers, [pid]);
    assert.match(one.log, /Handling signal: hup[\s\S]*Hang up: Master/);
    one.kill('SIGTERM');
    assert.equal(await ends(one), 0);
  });

  it('a reload with other settings that a living worker can take', async () => {
    const one = arbiter({ workers: 1, threads: 2 }, '', { FAKE_RELOAD: '{"threads":4,"workers":2,"timeout":7}' });
    const address = (await one.addresses())[0];
    const { pid } = await ask(address);
    one.kill('SIGPWR');
    await one.waitForWorkers(2);
    assert.ok(one.workers.includes(pid));
    const seen = new Set<number>();
    await until(
      async () => {
        const { pid, boot } = await ask(address);
        if (boot.config.threads === 4 && boot.config.timeout === 7) seen.add(pid);
        return seen.size === 2;
      },
      { what: 'both workers with the new settings' },
    );
    one.kill('SIGTERM');
    assert.equal(await ends(one), 0);
  });

  for (const changed of ['{"threads":5}', '{"workerClass":"sync"}', '{"workerConnections":5}', '{"backlog":5}']) {
    it(`a reload with ${changed} replaces the workers`, async () => {
      const one = arbiter({ workers: 2, threads: 2 }, '', { FAKE_RELOAD: changed });
      const address = (await one.addresses())[0];
      await ask(address);
      const before = await one.waitForWorkers(2);
      one.kill('SIGPWR');
      await until(() => one.spawned.length === 4 && !before.some(isAlive), { what: 'new workers' });
      const [[key, value]] = Object.entries(JSON.parse(changed));
      assert.equal((await ask(address)).boot.config[key], value);
      one.kill('SIGTERM');
      assert.equal(await ends(one), 0);
    });
  }

  it('a reload with other addresses keeps the sockets whose address stays', async () => {
    const paths = ['kept', 'left', 'new'].map((name) => `unix:${join(dir, `${name}.sock`)}`);
    const [kept, left, fresh] = paths;
    const one = arbiter({ bind: [left, kept] }, '', { FAKE_RELOAD: JSON.stringify({ bind: [kept, fresh] }) });
    await one.addresses();
    const { pid } = await ask(kept);
    one.kill('SIGPWR');
    await until(async () => (await ask(fresh)).pid !== pid, { what: 'an answer at the new address' });
    await until(async () => (await ask(kept)).pid !== pid, { what: 'an answer at the kept address' });
    assert.equal(existsSync(join(dir, 'left.sock')), false);
    one.kill('SIGTERM');
    assert.equal(await ends(one), 0);
    assert.equal(existsSync(join(dir, 'kept.sock')), false);
  });

  it('a reload with an address that cannot be listened at changes nothing', async () => {
    const one = arbiter({ workers: 1 }, '', { FAKE_RELOAD: JSON.stringify({ bind: [`unix:${dir}`], workers: 2 }) });
    const address = (await one.addresses())[0];
    const { pid } = await ask(address);
    one.kill('SIGPWR');
    await one.waitFor('The new settings are refused');
    assert.equal((await ask(address)).pid, pid);
    one.kill('SIGTERM');
    assert.equal(await ends(one), 0);
    assert.deepEqual(one.spawned, [pid]);
  });

  it('HUP replaces all workers of class sync', async () => {
    const one = arbiter({ workers: 2, workerClass: 'sync' });
    await ask((await one.addresses())[0]);
    const before = await one.waitForWorkers(2);
    one.kill('SIGHUP');
    await until(() => one.spawned.length === 4 && !before.some(isAlive), { what: 'new workers' });
    assert.equal(one.workers.length, 2);
    one.kill('SIGTERM');
    assert.equal(await ends(one), 0);
  });

  it('kills a worker that stopped (SIGSTOP) and starts another', async () => {
    const one = arbiter({ workerClass: 'sync', timeout: 1 });
    const { pid } = await ask((await one.addresses())[0]);
    process.kill(pid, 'SIGSTOP');
    await one.waitFor(`WORKER TIMEOUT (pid:${pid})`);
    await until(() => !isAlive(pid) && one.workers.length === 1, { what: 'a new worker' });
    one.kill('SIGTERM');
    assert.equal(await ends(one), 0);
  });

  it('kills a worker that does not notify, or notifies but never boots', async () => {
    const silent = arbiter({ workerClass: 'sync', timeout: 0.5 }, 'silent');
    const unbooted = arbiter({ workerClass: 'sync', timeout: 0.5 }, 'unbooted');
    await silent.waitFor('WORKER TIMEOUT');
    await unbooted.waitFor(/WORKER TIMEOUT \(pid:\d+\): it did not finish booting/);
    for (const one of [silent, unbooted]) {
      one.kill('SIGTERM');
      assert.equal(await ends(one), 0);
    }
  });

  it('with timeout 0 kills nobody', async () => {
    const one = arbiter({ timeout: 0 }, 'silent');
    await ask((await one.addresses())[0]);
    // Another arbiter is the clock: when it has killed its silent worker twice, this one had every occasion.
    const clock = arbiter({ workerClass: 'sync', timeout: 0.1 }, 'silent');
    await clock.waitFor(/(WORKER TIMEOUT[\s\S]*){2}/);
    assert.equal(one.spawned.length, 1);
    for (const each of [one, clock]) {
      each.kill('SIGTERM');
      assert.equal(await ends(each), 0);
    }
  });

  it('does not blame workers for the time it was stopped itself', async () => {
    const one = arbiter({ workerClass: 'sync', timeout: 1, workers: 2 });
    await ask((await one.addresses())[0]);
    const pids = await one.waitForWorkers(2);
    // Ctrl-Z stops the whole group.
    for (const pid of [one.pid, ...pids]) process.kill(pid, 'SIGSTOP');
    await new Promise((resolve) => setTimeout(resolve, 4000)); // Time itself is what is tested here.
    for (const pid of [one.pid, ...pids]) process.kill(pid, 'SIGCONT');
    one.kill('SIGTTIN');
    await one.waitForWorkers(3);
    one.kill('SIGTTOU');
    await one.waitForWorkers(2);
    assert.doesNotMatch(one.log, /WORKER TIMEOUT/);
    one.kill('SIGTERM');
    assert.equal(await ends(one), 0);
  });

  for (const [code, reason] of [
    [3, 'Worker failed to boot.'],
    [4, 'App failed to load.'],
  ] as const) {
    it(`a worker's exit ${code} halts it: ${reason}`, async () => {
      const one = arbiter({ workers: 2 }, `exit=${code}`);
      assert.equal(await ends(one), code);
      assert.ok(one.log.includes(`Reason: ${reason}`), one.log);
    });
  }

  it('a worker script that cannot even start halts it with 3', async () => {
    const one = arbiter({ workers: 1 }, '', { FAKE_MAIN: join(dir, 'missing.js') });
    assert.equal(await ends(one), 3);
  });

  it('slows down a crash loop but does not give up', async () => {
    const one = arbiter({ workers: 1 }, 'crash=9');
    await one.waitFor(/Workers crash at their start \(5 in a row\): waiting 200 ms/, 20_000);
    one.kill('SIGTERM');
    assert.equal(await ends(one), 0);
  });

  it('workers leave when the arbiter is killed, and the next one takes over the socket file', async () => {
    const path = join(dir, 'killed.sock');
    const one = arbiter({ workers: 2, bind: [`unix:${path}`] });
    await ask((await one.addresses())[0]);
    const pids = await one.waitForWorkers(2);
    one.kill('SIGKILL');
    await until(() => !pids.some(isAlive), { what: 'the workers to leave' });
    assert.ok(existsSync(path));
    const two = arbiter({ workers: 1, bind: [`unix:${path}`] });
    await ask((await two.addresses())[0]);
    two.kill('SIGTERM');
    assert.equal(await ends(two), 0);
    assert.equal(existsSync(path), false);
  });

  it('a breakdown of its own process leaves no worker and no socket file', async () => {
    const path = join(dir, 'broken.sock');
    const one = arbiter({ workers: 2, bind: [`unix:${path}`] }, 'stubborn', { FAKE_THROW: 'yes' });
    await ask((await one.addresses())[0]);
    one.kill('SIGPWR');
    await one.ended;
    assert.notEqual(one.exit!.code, 0);
    await until(() => one.workers.length === 0, { what: 'the workers to be gone' });
    assert.equal(existsSync(path), false);
  });

  it('holds no more descriptors after many workers than after the first', async () => {
    const one = arbiter({ workers: 1 });
    const address = (await one.addresses())[0];
    const fds = () => fdCount(one.pid);
    await ask(address);
    const before = await settled(fds);
    for (let n = 0; n < 5; n++) {
      const { pid } = await ask(address);
      process.kill(pid, 'SIGKILL');
      await until(() => one.spawned.length === n + 2, { what: 'the next worker' });
    }
    await ask(address);
    await until(() => fds() <= before, { what: `${before} descriptors` }).catch((error) => {
      throw new Error(`${error.message}: ${JSON.stringify(fdKinds(one.pid))}`);
    });
    one.kill('SIGTERM');
    assert.equal(await ends(one), 0);
  });
});
