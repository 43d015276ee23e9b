/**
 * Threads are killed at any instant of their requests, by a main thread of our own that has a worker's pool and guard: what a client has
 * got and what the access log says of it is the same, and a connection whose response was whole goes on unless its thread has read
 * more of it. STRESS=full: 200 kills instead of 20 (KILLS in the environment).
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createConfig } from '../../src/config/config.js';
import { ProcessLogs } from '../../src/log/process-logs.js';
import { native } from '../../src/native/binding.js';
import { piscinaHost } from '../../src/pool/piscina.js';
import { ThreadPool } from '../../src/pool/thread-pool.js';
import { Driver } from '../../src/shared/driver.js';
import { allocate, C, Shared, T } from '../../src/shared/memory.js';
import { Routes } from '../../src/shared/routes.js';
import { ConnTable } from '../../src/shared/tconn.js';
import { MainAccess } from '../../src/worker/access.js';
import { Guard } from '../../src/worker/guard.js';
import { Lingerer } from '../../src/worker/lingerer.js';
import { TConn } from '../../src/worker/tconn.js';
import { ok } from '../support/native.js';
import { until } from '../support/poll.js';
import { Random, seedOf } from '../support/random.js';
import { ResponseParser } from '../support/response-parser.js';
import { FULL } from '../support/stress-server.js';

const KILLS = Number(process.env.KILLS ?? (FULL ? 200 : 20));
const CLIENTS = 12;
const THREADS = 2;
const SLOTS = 4;
const WAYS = ['plain', 'plain', 'chunks', 'length', 'later', 'body'];

const folder = mkdtempSync(join(tmpdir(), 'tunicorn-answered-'));
after(() => rmSync(folder, { recursive: true }));

/** What of a worker takes part in this. */
class Rig {
  readonly shared: Shared;
  readonly table: ConnTable;
  readonly pool: ThreadPool;
  readonly file = join(mkdtempSync(join(folder, 'log-')), 'access.log');
  private readonly logs: ProcessLogs;
  private readonly conns = new Map<number, TConn>();
  private readonly sockets = new Set<Socket>();
  private readonly ticker: NodeJS.Timeout;
  private ended = false;

  constructor(app: string) {
    const epfd = ok(native.epollCreate());
    const threadWake = Array.from({ length: SLOTS + 1 }, () => ok(native.eventfd()));
    this.shared = new Shared(allocate(SLOTS, native.maxFds(), { epfd, mainWake: ok(native.eventfd()), threadWake }));
    const { shared } = this;
    const path = fileURLToPath(new URL(`./apps/${app}`, import.meta.url));
    const own = { app: path, threads: THREADS, errorlog: '/dev/null', accesslog: this.file, keepalive: 60 };
    const config = createConfig({ ...own, accessLogFormat: '%(U)s %(s)s' }, {});
    this.table = new ConnTable(shared);
    const { table, conns } = this;
    this.logs = new ProcessLogs(config);
    const { logs } = this;
    const routes = new Routes(shared.memory.routes);
    Atomics.store(shared.control, C.WANTED, THREADS);
    // In the place of the supervisor.
    Atomics.store(shared.control, C.SUPERVISING, 1);
    Atomics.store(shared.control, C.LANES, THREADS);
    this.pool = new ThreadPool({
      host: piscinaHost({ entry: new URL('../../src/thread/start.cjs', import.meta.url), threads: SLOTS }),
      shared,
      table,
      config,
      wanted: THREADS,
      concurrency: 0,
      keepAlive: true,
      log: logs.log,
      logs,
      onLost: (slot, error, retiring) => guard.lost(slot, error, retiring),
      onGone: (slot) => guard.gone(slot),
    });
    const { pool } = this;
    const lingerer = new Lingerer(table, ({ fd }) => conns.delete(fd));
    const driver = new Driver(shared, table, 0);
    const access = new MainAccess(config, logs, table, routes, null);
    const enqueue = (conn: TConn) => void pool.submit(conn);
    const common = { shared, table, conns, pool, driver, lingerer, routes, access, enqueue };
    const guard = new Guard({ ...common, config: () => config, log: logs.log });
    this.ticker = setInterval(() => {
      pool.flushOverflow();
      if (Atomics.load(shared.control, C.LEADER) === 0 || shared.control[C.QUEUED] > 0) pool.wakeParked();
    }, 1);
  }

  connect(): Socket {
    const pair = native.socketPair();
    assert.ok(typeof pair !== 'number');
    const [ours, fd] = pair;
    const conn = new TConn(fd, this.table.open(fd, 0));
    this.conns.set(fd, conn);
    this.pool.submit(conn);
    const socket = new Socket({ fd: ours, allowHalfOpen: false });
    this.sockets.add(socket);
    socket.once('close', () => this.sockets.delete(socket));
    return socket;
  }

  /** What the table says of each connection, for who looks for one that was forgotten. */
  waiting(): string {
    const { table, shared } = this;
    const words = [...this.conns.values()].map(
      ({ fd, generation }) =>
        `fd ${fd}: owner ${table.owner(fd)}, ${table.generation(fd) === generation ? '' : 'another, '}word ${table.word(fd).toString(16)}, ` +
        `facts ${table.facts(fd).toString(2)}, ${native.peek(fd)} waits`,
    );
    const threads = Array.from({ length: SLOTS + 1 }, (_, slot) =>
      Object.entries(T)
        .map(([name, word]) => `${name} ${shared.control[shared.threadWord(slot, word)]}`)
        .join(' '),
    );
    return [`leader ${shared.control[C.LEADER]} queued ${shared.control[C.QUEUED]}`, ...words, ...threads].join('\n');
  }

  async end(): Promise<void> {
    if (this.ended) return;
    this.ended = true;
    for (const socket of this.sockets) socket.destroy();
    await this.pool.stop(3000);
    clearInterval(this.ticker);
    this.logs.close();
  }

  /** Statuses in the access log, by the number of the request. */
  lines(): Map<string, string[]> {
    const lines = new Map<string, string[]>();
    for (const line of readFileSync(this.file, 'utf8').split('\n').slice(0, -1)) {
      const [, id, status] = /^\/(\d+)\/\S+ (\d+)$/.exec(line) ?? assert.fail(`the line ${line}`);
      lines.set(id, [...(lines.get(id) ?? []), status]);
    }
    return lines;
  }
}

/** What became of a request: its status, or how its connection ended instead. */
type Fate = number | 'cut' | 'nothing';

class Client {
  readonly fates = new Map<string, Fate>();
  private readonly rig: Rig;
  private readonly random: Random;
  private readonly first: number;
  private sent = 0;

  constructor(rig: Rig, seed: number, first: number) {
    this.rig = rig;
    this.random = new Random(seed);
    this.first = first;
  }

  async run(over: () => boolean): Promise<void> {
    while (!over()) await this.connection(over);
  }

  /** One connection, until the server ends it. */
  private connection(over: () => boolean): Promise<void> {
    const { fates } = this;
    const socket = this.rig.connect();
    let waiting: string[] = [];
    const parser = new ResponseParser(() => waiting.length > 0);
    const next = (): void => {
      if (over()) return void socket.end();
      // Now and then a pipeline.
      const n = this.random.chance(0.1) ? 2 : 1;
      waiting = Array.from({ length: n }, () => `${this.first + this.sent++}`);
      const text = waiting.map((id) => {
        const way = this.random.pick(WAYS);
        const body = way === 'body' ? 'body' : '';
        const head = body === '' ? 'GET' : 'POST';
        const length = body === '' ? '' : `Content-Length: ${body.length}\r\n`;
        return `${head} /${id}/${way}/${this.random.int(0, 60)} HTTP/1.1\r\nHost: x\r\n${length}\r\n${body}`;
      });
      socket.write(text.join(''));
    };
    return new Promise((resolve, reject) => {
      socket.on('data', (bytes: Buffer) => {
        try {
          parser.push(bytes, ({ status, body }) => {
            const id = waiting.shift() as string;
            if (status === 200) assert.equal(body.toString(), id, 'the response to another request');
            fates.set(id, status);
          });
        } catch (error) {
          return reject(error);
        }
        if (waiting.length === 0 && !parser.partial) next();
      });
      socket.on('error', reject);
      socket.on('close', () => {
        for (const id of waiting) fates.set(id, id === waiting[0] && parser.partial ? 'cut' : 'nothing');
        resolve();
      });
      next();
    });
  }
}

for (const app of ['answered.js', 'answered-fetch.js']) {
  test(`threads killed at any instant, ${KILLS} of them, ${app}`, async (t) => {
    const seed = seedOf();
    t.diagnostic(`SEED=${seed}`);
    const random = new Random(seed);
    const rig = new Rig(app);
    let over = false;
    t.after(() => {
      over = true;
      return rig.end();
    });
    const { control } = rig.shared;
    await rig.pool.start();
    const clients = Array.from({ length: CLIENTS }, (_, i) => new Client(rig, seed + i, (i + 1) * 10_000_000));
    const load = Promise.all(clients.map((client) => client.run(() => over)));
    for (let kills = 0; kills < KILLS; kills++) {
      await until(() => rig.pool.running.length === THREADS, { what: 'all threads', timeoutMs: 20_000 });
      await sleep(random.int(5, 120));
      // The one that works; in the middle of whatever it does.
      const { running } = rig.pool;
      const busy = running.find(({ slot }) => control[rig.shared.threadWord(slot, T.BUSY)] !== 0);
      for (const end = performance.now() + random.int(0, 300) / 1000; performance.now() < end; );
      // One that was killed before may have taken its time.
      if (running.length > 0) rig.pool.kill((busy ?? random.pick(running)).slot);
    }
    over = true;
    const late = sleep(30_000, 'late', { ref: false });
    if ((await Promise.race([load, late])) === 'late') assert.fail(`nobody answers: ${rig.waiting()}`);
    await rig.end();
    const lines = rig.lines();
    const fates = new Map(clients.flatMap((client) => [...client.fates]));
    const count = (what: (fate: Fate) => boolean) => [...fates.values()].filter(what).length;
    const refused = count((fate) => typeof fate === 'number' && fate !== 200);
    let twice = 0;
    for (const [id, fate] of fates) {
      const said = lines.get(id) ?? [];
      const what = `request ${id}, ${fate}: ${said}`;
      if (typeof fate === 'number') {
        assert.ok(said.length > 0 && said.every((status) => status === `${fate}`), what);
        if (said.length > 1) twice++;
      } else assert.ok(said.length <= 1 && said[0] !== '200', what);
      lines.delete(id);
    }
    assert.deepEqual([...lines], [], 'lines of nobody’s requests');
    t.diagnostic(
      `${count((fate) => fate === 200)} answered, ${refused} refused, ${count((fate) => fate === 'cut')} cut, ` +
        `${count((fate) => fate === 'nothing')} without an answer, ${twice} lines twice`,
    );
    // Between a line and the word that says so a few instructions remain.
    assert.ok(twice <= 3 + KILLS / 20, `${twice} lines came twice`);
    assert.ok(count((fate) => fate === 200) > 5 * KILLS);
  });
}
