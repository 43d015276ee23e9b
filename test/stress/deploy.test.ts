/**
 * Deploys under constant load lose nothing: 64 keep-alive connections, each request checked, through HUPs, upgrades of the arbiter (USR2,
 * WINCH and QUIT to the old one; TERM to the old one), more and fewer workers, processes and threads that are replaced. Not a request fails, no
 * connection is reset; a response may at most say Connection: close. STRESS=full: 20 HUPs, 5 upgrades, 10 TTIN and TTOU,
 * 10,000 requests.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isAlive } from '../support/arbiter-process.js';
import { describe, LoadClient, type LoadResult, type Mode } from '../support/load-client.js';
import { until } from '../support/poll.js';
import { children } from '../support/proc.js';
import { seedOf } from '../support/random.js';
import { complaints, FULL, nothingWrong, type StressServer, serverStarter } from '../support/stress-server.js';

const HUPS = FULL ? 20 : 2;
const UPGRADES = FULL ? 5 : 2;
const STEPS = FULL ? 10 : 1;
const TOTAL = FULL ? 10_000 : 800;
/** Threads or workers that are replaced meanwhile, at least. */
const RECYCLED = FULL ? 3 : 1;
const MODES: Mode[] = ['echo', 'sync', 'timer', 'chunks', 'stream'];
/** One request at a time on each connection: what follows a response that says close would not be read. */
const CAREFUL = { modes: MODES, depth: 1, maxBody: 5000, allowClose: true };
const CONSTANT = { ...CAREFUL, connections: 64, pauseChance: 1, pauseMs: 300 };

const start = serverStarter();

const count = (server: StressServer, pattern: RegExp) => [...server.log.matchAll(new RegExp(pattern, 'g'))].length;

async function logged(server: StressServer, line: RegExp, times: number): Promise<void> {
  await until(() => count(server, line) >= times, { what: `${line}`, timeoutMs: 60_000 }).catch((error) => {
    throw new Error(`${error.message}\n${server.log}`);
  });
}

/** The server under test, and which of its arbiters is in charge. */
class Deployed {
  readonly server: StressServer;
  arbiter: number;

  constructor(server: StressServer) {
    this.server = server;
    this.arbiter = server.pid;
  }

  kill(signal: NodeJS.Signals): void {
    process.kill(this.arbiter, signal);
  }

  /** Workers of an arbiter. */
  workers(arbiter = this.arbiter): number[] {
    const own = children(arbiter).filter(({ state }) => state !== 'Z');
    return own.map(({ pid }) => pid).filter((pid) => this.server.spawned.includes(pid));
  }

  /** Waits until there are so many workers. */
  async serving(n: number, arbiter = this.arbiter): Promise<void> {
    await until(() => this.workers(arbiter).length === n, { timeoutMs: 30_000 }).catch(() => {
      throw new Error(`not ${n} workers of ${arbiter}, but ${this.workers(arbiter)}\n${this.server.log}`);
    });
  }

  /** As the issue has it: USR2, then WINCH and QUIT to the old arbiter; or TERM alone. */
  async upgrade(politely: boolean): Promise<void> {
    const old = this.arbiter;
    const before = this.server.successors.length;
    this.kill('SIGUSR2');
    const next = await until(() => this.server.successors[before], { what: 'a new arbiter', timeoutMs: 30_000 });
    await this.serving(2, next);
    if (politely) {
      this.kill('SIGWINCH');
      await until(() => this.workers(old).length === 0, { what: 'the old workers to go', timeoutMs: 60_000 });
      this.kill('SIGQUIT');
    } else this.kill('SIGTERM');
    await until(() => !isAlive(old), { what: 'the old arbiter to go', timeoutMs: 60_000 });
    await logged(this.server, /Master has been promoted/, before + 1);
    this.arbiter = next;
  }
}

function perfect(result: LoadResult, server: StressServer): void {
  nothingWrong(result, server);
  const { sent, ok, lost, cut, connectFailures } = result;
  assert.deepEqual({ ok, lost, cut, connectFailures }, { ok: sent, lost: 0, cut: 0, connectFailures: 0 });
}

/** Load from before the first deploy to behind the last one. */
async function underLoad(t: test.TestContext, server: StressServer, deploys: () => Promise<void>): Promise<void> {
  const seed = seedOf();
  t.diagnostic(`SEED=${seed}`);
  const client = new LoadClient({ target: server.target, seed, ...CONSTANT });
  const load = client.run();
  t.after(() => client.stop());
  await until(() => client.result.ok > 100, { what: '100 responses', timeoutMs: 30_000 });
  await deploys();
  const { ok } = client.result;
  await until(() => client.result.ok > ok + 100, { what: '100 responses after all of it', timeoutMs: 30_000 });
  client.stop();
  const result = await load;
  t.diagnostic(describe(result));
  perfect(result, server);
}

async function ends(deployed: Deployed): Promise<void> {
  const { server } = deployed;
  deployed.kill('SIGTERM');
  await server.ended;
  assert.deepEqual(server.spawned.filter(isAlive), []);
}

test(`${HUPS} HUPs, ${UPGRADES} upgrades, ${STEPS} TTIN and TTOU`, { timeout: 300_000 }, async (t) => {
  const server = await start('echo.js', ['--workers', '2', '--threads', '2']);
  const deployed = new Deployed(server);
  await underLoad(t, server, async () => {
    for (let n = 1; n <= HUPS; n++) {
      deployed.kill('SIGHUP');
      await logged(server, /Reloaded 2 threads/, 2 * n);
    }
    for (let n = 1; n <= STEPS; n++) {
      deployed.kill('SIGTTIN');
      await deployed.serving(2 + n);
    }
    for (let n = STEPS - 1; n >= 0; n--) {
      deployed.kill('SIGTTOU');
      await deployed.serving(2 + n);
    }
    for (let n = 0; n < UPGRADES; n++) await deployed.upgrade(n !== 1);
  });
  assert.deepEqual(complaints(server.log), []);
  await ends(deployed);
});

test(`class sync: HUPs, upgrades, TTIN and TTOU`, { timeout: 300_000 }, async (t) => {
  const server = await start('echo.js', ['--workers', '2', '--worker-class', 'sync']);
  const deployed = new Deployed(server);
  await underLoad(t, server, async () => {
    for (let n = 0; n < (FULL ? HUPS : 1); n++) {
      const old = deployed.workers();
      deployed.kill('SIGHUP');
      await until(() => !old.some(isAlive), { what: 'the old workers to go', timeoutMs: 30_000 });
      await deployed.serving(2);
    }
    deployed.kill('SIGTTIN');
    await deployed.serving(3);
    deployed.kill('SIGTTOU');
    await deployed.serving(2);
    await deployed.upgrade(true);
  });
  assert.deepEqual(complaints(server.log), []);
  await ends(deployed);
});

for (const [kind, total] of [
  ['gthread', TOTAL],
  ['sync', FULL ? 3000 : 200],
] as const) {
  test(`${total} requests at --max-requests 50, class ${kind}`, { timeout: 300_000 }, async (t) => {
    const seed = seedOf();
    t.diagnostic(`SEED=${seed}`);
    const threads = kind === 'sync' ? [] : ['--threads', '2'];
    const args = ['--workers', '2', ...threads, '--worker-class', kind, '--max-requests', '50'];
    const server = await start('echo.js', args);
    const options = { target: server.target, seed, ...CAREFUL, total, connections: 64 };
    const recycled = () => count(server, kind === 'sync' ? /Autorestarting worker/ : /Thread \d+ replaced/);
    // Again, until it has happened often enough: a thread that shall be replaced serves on until the other one has started.
    for (let round = 0; round < 20 && (round === 0 || recycled() < RECYCLED); round++) {
      const result = await new LoadClient({ ...options, seed: seed + round }).run();
      t.diagnostic(`${describe(result)}, ${recycled()} recycled`);
      perfect(result, server);
      assert.equal(result.ok, total);
    }
    assert.ok(recycled() >= RECYCLED, server.log);
    assert.deepEqual(complaints(server.log), []);
    await ends(new Deployed(server));
  });
}
