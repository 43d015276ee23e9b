/**
 * HUP swaps threads under their connections: constant load notices nothing, new code is served soon, a broken app changes
 * nothing, threads that die on the way are made up for, and TERM is obeyed at any time. STRESS=full: 20 HUPs instead of 3.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, get, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isAlive } from '../support/arbiter-process.js';
import { describe, LoadClient, type Mode } from '../support/load-client.js';
import { settled, until } from '../support/poll.js';
import { fdCount, watchCpuWait } from '../support/proc.js';
import { seedOf } from '../support/random.js';
import { complaints, FULL, nothingWrong, type StressServer, serverStarter } from '../support/stress-server.js';

const HUPS = Number(process.env.HUPS ?? (FULL ? 20 : 3));
/** Until new code is served, ms. */
const SOON_MS = FULL ? 2000 : 5000;
const MODES: Mode[] = ['echo', 'sync', 'brisk', 'timer', 'chunks', 'stream'];

/** Some hundred requests a second, so that there is CPU left for what is tested. */
const CONSTANT = { modes: MODES, depth: 2, maxBody: 5000, pauseChance: 1, pauseMs: 300 };

const APPS = fileURLToPath(new URL('./apps/', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'tunicorn-reload-'));
const start = serverStarter();
after(() => rmSync(folder, { recursive: true }));
let files = 0;

/** An app of its own, whose code can be changed: the echo app and some paths more. */
class ChangingApp {
  readonly file = join(folder, `app-${++files}.mjs`);
  /** When this file is there, the handlers of /die end their threads. */
  readonly flag = `${this.file}.flag`;

  constructor() {
    this.write('1');
  }

  /** `first` runs when the app is loaded. */
  write(version: string, first = ''): void {
    const code = `
      import { existsSync } from 'node:fs';
      import echo from ${JSON.stringify(`${APPS}echo.js`)};
      ${first};
      export default (req, res) => {
        if (req.url === '/version') return void res.end(${JSON.stringify(version)});
        if (req.url === '/die') return void setInterval(() => existsSync(${JSON.stringify(this.flag)}) && process.exit(1), 10);
        if (req.url === '/events') {
          const timer = setInterval(() => res.write('data: ${version}\\n\\n'), 50);
          res.on('close', () => clearInterval(timer));
          return;
        }
        if (req.url === '/slow') return void setTimeout(() => res.end('slow ${version}'), 1500);
        return echo(req, res);
      };`;
    // In one step: no thread shall read half of it.
    writeFileSync(`${this.file}.new`, code);
    renameSync(`${this.file}.new`, this.file);
  }

  /** Starts a server and waits until it serves. */
  async start(args: string[]): Promise<StressServer> {
    const server = await start(relative(APPS, this.file), ['--keep-alive', '60', ...args]);
    const asker = new Client(server);
    assert.equal(await asker.ask('/version'), '1');
    asker.close();
    return server;
  }
}

const count = (server: StressServer, pattern: RegExp) => [...server.log.matchAll(new RegExp(pattern, 'g'))].length;
const threadCount = (pid: number) => readdirSync(`/proc/${pid}/task`).length;

/** Asks on a connection that is kept. */
class Client {
  private readonly agent = new Agent({ keepAlive: true, maxSockets: 1 });
  private readonly port: number;

  constructor(server: StressServer) {
    this.port = server.port;
  }

  ask(path: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const req = get({ port: this.port, host: '127.0.0.1', path, agent: this.agent }, (res) => {
        let text = '';
        res.setEncoding('utf8').on('data', (piece) => (text += piece));
        res.on('end', () => resolve(text));
        res.on('error', reject);
      });
      req.on('error', reject);
    });
  }

  close(): void {
    this.agent.destroy();
  }
}

/** Sends HUP and waits until the worker has told its outcome. */
async function hup(server: StressServer, outcome: RegExp): Promise<void> {
  const before = count(server, outcome);
  server.kill('SIGHUP');
  await logged(server, outcome, before + 1);
}

async function logged(server: StressServer, line: RegExp, times: number): Promise<void> {
  const options = { what: `${line} in the log`, timeoutMs: 60_000 };
  await until(() => count(server, line) >= times, options).catch((error) => {
    throw new Error(`${error.message}\n${server.log}`);
  });
}

async function stops(server: StressServer): Promise<void> {
  const begun = performance.now();
  server.kill('SIGTERM');
  assert.deepEqual(await server.ended, { code: 0, signal: null });
  assert.ok(performance.now() - begun < 3000, `the end took ${performance.now() - begun} ms`);
  assert.deepEqual(server.spawned.filter(isAlive), []);
}

for (const pool of ['piscina', 'tinypool']) {
  test(`64 keep-alive connections through ${HUPS} HUPs with changed code, ${pool}`, async (t) => {
    const seed = seedOf();
    t.diagnostic(`SEED=${seed}`);
    const app = new ChangingApp();
    const server = await app.start(['--threads', '2', '--thread-pool', pool]);
    const [worker] = server.workers;
    // The first reload opens what is opened once.
    const warm = await new LoadClient({ target: server.target, seed, total: 500, modes: MODES, maxBody: 5000 }).run();
    nothingWrong(warm, server);
    await hup(server, /Reloaded 2 threads/);
    const level = () => `${threadCount(worker)} threads, ${fdCount(worker)} fds`;
    const before = await settled(level);

    const client = new LoadClient({ target: server.target, seed, ...CONSTANT });
    const load = client.run();
    t.after(() => client.stop());
    const asker = new Client(server);
    await until(() => client.result.ok > 200, { what: '200 responses' });
    const took: number[] = [];
    for (let version = 2; version < 2 + HUPS; version++) {
      app.write(`${version}`);
      const reloaded = count(server, /Reloaded 2 threads/);
      const begun = performance.now();
      let lastOld = begun;
      const cpuWait = watchCpuWait(worker);
      server.kill('SIGHUP');
      let answers = 0;
      while (count(server, /Reloaded 2 threads/) === reloaded || answers < 20) {
        const answer = await asker.ask('/version');
        if (answer === `${version}`) answers++;
        else {
          // On a busy machine a thread of the reload before that has perhaps not yet had the CPU to hear that it shall leave.
          assert.ok(Number(answer) < version, answer);
          lastOld = performance.now();
          answers = 0;
        }
        assert.ok(performance.now() - begun < 60_000, `no new code\n${server.log}`);
        await sleep(2);
      }
      // Two threads start one after the other; what each waits for a CPU on a busy machine is no fault of theirs.
      took.push(Math.max(0, lastOld - begun - 2 * cpuWait()));
      t.diagnostic(`HUP ${version - 1}: old code for ${(lastOld - begun).toFixed(0)} ms`);
    }
    client.stop();
    const result = await load;
    asker.close();
    t.diagnostic(`${describe(result)}`);
    nothingWrong(result, server);
    assert.equal(result.ok, result.sent);
    assert.equal(result.connects, 64);
    assert.ok(Math.max(...took) < SOON_MS, `old code for ${Math.max(...took)} ms`);
    assert.deepEqual(server.spawned, [worker]);
    await until(() => level() === before, { what: before }).catch((error) => {
      throw new Error(`${error.message}: ${level()}`);
    });
    assert.deepEqual(complaints(server.log), []);
    await stops(server);
  });
}

/** Every thread serves this version. One that retires serves until it has heard of it. */
async function onlySays(asker: Client, version: string): Promise<void> {
  await until(
    async () => {
      for (let i = 0; i < 20; i++) if ((await asker.ask('/version')) !== version) return false;
      return true;
    },
    { timeoutMs: SOON_MS, what: `version ${version}` },
  );
}

test('an app that is broken changes nothing, and the next HUP finds it repaired', async (t) => {
  const seed = seedOf();
  t.diagnostic(`SEED=${seed}`);
  const app = new ChangingApp();
  const server = await app.start(['--threads', '2']);
  const [worker] = server.workers;
  const asker = new Client(server);
  const client = new LoadClient({ target: server.target, seed, connections: 16, ...CONSTANT });
  const load = client.run();
  t.after(() => client.stop());
  for (const [first, says] of [
    ['throw new Error("as asked")', 'as asked'],
    ['this is no JavaScript', 'SyntaxError'],
    ['process.exit(7)', 'called process.exit(7) while it was loaded'],
  ]) {
    app.write('broken', first);
    await hup(server, /\[ERROR\] Thread \d+ cannot be replaced \(reload\), it goes on/);
    assert.ok(server.log.includes(says), server.log);
    assert.equal(await asker.ask('/version'), '1');
  }
  assert.equal(count(server, /replaced by/), 0);
  // One that never gets ready does not keep its successor waiting for ever.
  app.write('hangs', 'setInterval(() => {}, 1000); await new Promise(() => {})');
  await hup(server, /Reloading threads/);
  await sleep(2100);
  assert.equal(await asker.ask('/version'), '1');
  app.write('2');
  await hup(server, /Reloaded 2 threads/);
  await onlySays(asker, '2');
  client.stop();
  const result = await load;
  t.diagnostic(describe(result));
  nothingWrong(result, server);
  assert.equal(result.connects, 16);
  assert.equal(result.ok, result.sent);
  assert.deepEqual(server.spawned, [worker]);
  asker.close();
  await stops(server);
});

test('HUPs during HUPs end with the last code', async (t) => {
  const seed = seedOf();
  t.diagnostic(`SEED=${seed}`);
  const app = new ChangingApp();
  const server = await app.start(['--threads', '3']);
  const [worker] = server.workers;
  const client = new LoadClient({ target: server.target, seed, connections: 16, ...CONSTANT });
  const load = client.run();
  t.after(() => client.stop());
  const asker = new Client(server);
  for (let round = 0; round < (FULL ? 10 : 3); round++) {
    let last = '';
    for (let i = 0; i < 4; i++) {
      last = `${round}-${i}`;
      app.write(last);
      await hup(server, /Reloading threads/);
      await sleep(20 * i);
    }
    const reloaded = count(server, /Reloaded 3 threads/);
    await logged(server, /Reloaded 3 threads/, reloaded + 1);
    await onlySays(asker, last);
  }
  client.stop();
  const result = await load;
  t.diagnostic(`${describe(result)}; ${count(server, /replaced by/)} threads replaced`);
  nothingWrong(result, server);
  assert.equal(result.connects, 16);
  assert.equal(result.ok, result.sent);
  assert.deepEqual(server.spawned, [worker]);
  assert.deepEqual(complaints(server.log), []);
  asker.close();
  await stops(server);
});

for (const [when, ms] of [
  ['while a thread starts', 0],
  ['later', 250],
] as const) {
  test(`TERM during HUP, ${when}: exit 0, in time`, async (t) => {
    const app = new ChangingApp();
    const server = await app.start(['--threads', '4']);
    const client = new LoadClient({ target: server.target, seed: seedOf(), modes: MODES, faults: true, once: true });
    const load = client.run();
    t.after(() => client.stop());
    await until(() => client.result.ok > 100, { what: '100 responses' });
    await hup(server, /Reloading threads/);
    await sleep(ms);
    await stops(server);
    client.stop();
    const result = await load;
    nothingWrong(result, server);
    assert.deepEqual(result.cutIds, []);
    assert.deepEqual(complaints(server.log), []);
  });
}

for (const pool of ['piscina', 'tinypool']) {
  test(`a thread that dies while it retires is not replaced once more, ${pool}`, async () => {
    const app = new ChangingApp();
    const server = await app.start(['--threads', '2', '--thread-pool', pool]);
    const [worker] = server.workers;
    await hup(server, /Reloaded 2 threads/);
    const before = await settled(() => threadCount(worker));
    const dying = fetch(`http://127.0.0.1:${server.port}/die`).then((response) => response.status);
    await hup(server, /Reloaded 2 threads/);
    writeFileSync(app.flag, '');
    assert.equal(await dying, 500);
    await server.waitFor(/thread \d+ has ended while it was being replaced/);
    assert.equal(count(server, /starting another/), 0);
    await until(() => threadCount(worker) === before, { what: 'the number of threads' });
    const asker = new Client(server);
    assert.equal(await asker.ask('/version'), '1');
    asker.close();
    await stops(server);
  });
}

/** Reads a response in the background. */
function stream(server: StressServer, path: string): { text: string; over: boolean } {
  const seen = { text: '', over: false };
  const req = get({ port: server.port, host: '127.0.0.1', path, agent: false }, (res: IncomingMessage) => {
    res.setEncoding('utf8').on('data', (piece) => (seen.text += piece));
    res.on('error', () => {});
    res.on('close', () => (seen.over = true));
  });
  req.on('error', () => (seen.over = true));
  return seen;
}

test('responses in hand go on in the old thread, at most --graceful-timeout', async () => {
  const app = new ChangingApp();
  const server = await app.start(['--threads', '2', '--graceful-timeout', '3']);
  const [worker] = server.workers;
  await hup(server, /Reloaded 2 threads/);
  const threads = await settled(() => threadCount(worker));
  const events = stream(server, '/events');
  const slow = stream(server, '/slow');
  await until(() => events.text !== '', { what: 'an event' });
  app.write('2');
  await hup(server, /Reloaded 2 threads/);
  const asker = new Client(server);
  await onlySays(asker, '2');
  // The old thread lives, for their sake.
  const heard = events.text.length;
  await until(() => events.text.length > heard, { what: 'another event' });
  await until(() => slow.over, { what: 'the slow response' });
  assert.equal(slow.text, 'slow 1');
  await until(() => events.over, { what: 'the end of the events' });
  assert.ok(events.text.startsWith('data: 1\n\n'));
  await server.waitFor(/Thread \d+ has not finished within 3 s; ending it/);
  await until(() => threadCount(worker) === threads, { what: 'the number of threads' });
  assert.equal(await asker.ask('/version'), '2');
  asker.close();
  await stops(server);
});
