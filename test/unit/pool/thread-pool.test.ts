/** ThreadPool: one test body for both hosts, with real threads, real connections and a tiny app. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createConfig } from '../../../src/config/config.js';
import type { Config } from '../../../src/config/settings.js';
import { native } from '../../../src/native/binding.js';
import type { Future } from '../../../src/pool/future.js';
import type { HostOptions, ThreadHost } from '../../../src/pool/host.js';
import { inlineHost } from '../../../src/pool/inline.js';
import { piscinaHost } from '../../../src/pool/piscina.js';
import { Overdue } from '../../../src/pool/thread-handle.js';
import { type Outcome, ThreadPool } from '../../../src/pool/thread-pool.js';
import { tinypoolHost } from '../../../src/pool/tinypool.js';
import { Driver } from '../../../src/shared/driver.js';
import { ABSENT, allocate, C, Shared, T } from '../../../src/shared/memory.js';
import { ReadyRing } from '../../../src/shared/ready-ring.js';
import { ConnTable, HAS_HEAD, IN_HAND, OWNER_FREE, OWNER_IDLE, READ_AHEAD } from '../../../src/shared/tconn.js';
import { ok, openHandles, readAll, threadCount, unixPair } from '../../support/native.js';
import { until } from '../../support/poll.js';

const ENTRY = new URL('../../../src/thread/start.cjs', import.meta.url);
const APP = fileURLToPath(new URL('./app-fixture.js', import.meta.url));
/** The same, but loading it never ends where the file that HANGS_UNLESS names is missing. */
const HANGING = fileURLToPath(new URL('./hanging-fixture.js', import.meta.url));

const folder = mkdtempSync(join(tmpdir(), 'tunicorn-pool-'));
after(() => rmSync(folder, { recursive: true }));
let flags = 0;

/** A file that is not there yet; handlers wait for it. */
const flag = () => join(folder, `flag-${++flags}`);

/** A client's connection: its end, and what main knows of the other one. */
interface Client {
  fd: number;
  conn: { fd: number; generation: number };
  got: string;
}

/** What a worker sets up around its pool, and no more. */
class Rig {
  readonly shared: Shared;
  readonly table: ConnTable;
  readonly pool: ThreadPool;
  readonly gone: number[] = [];
  readonly lost: Array<{ slot: number; error: unknown; retiring: boolean }> = [];
  private readonly clients: Client[] = [];
  private readonly ticker: NodeJS.Timeout;

  readonly config: Config;

  constructor(host: (options: HostOptions) => ThreadHost, threads: number, app = APP, slots = threads, bootMs = 0) {
    const epfd = ok(native.epollCreate());
    const threadWake = Array.from({ length: slots + 1 }, () => ok(native.eventfd()));
    this.shared = new Shared(allocate(slots, 4096, { epfd, mainWake: ok(native.eventfd()), threadWake }));
    this.config = createConfig({ app, threads, errorlog: '/dev/null', keepalive: 30 }, {});
    this.table = new ConnTable(this.shared);
    const driver = new Driver(this.shared, this.table, 0);
    Atomics.store(this.shared.control, C.WANTED, threads);
    this.pool = new ThreadPool({
      host: host({ entry: ENTRY, threads: slots }),
      shared: this.shared,
      table: this.table,
      config: this.config,
      wanted: threads,
      concurrency: 0,
      keepAlive: true,
      bootMs: () => bootMs,
      onGone: (slot) => this.gone.push(slot),
      onLost: (slot, error, retiring) => {
        this.lost.push({ slot, error, retiring });
        for (const { conn } of this.clients) {
          if (this.table.generation(conn.fd) !== conn.generation) continue;
          if (this.table.inherit(conn.fd, slot)) this.table.close(conn.fd);
          else if (this.table.owner(conn.fd) === OWNER_IDLE) driver.rearm(conn.fd, conn.generation);
        }
      },
    });
    // The supervisor's part: threads that are needed are woken.
    this.ticker = setInterval(() => {
      this.pool.flushOverflow();
      if (Atomics.load(this.shared.control, C.LEADER) === 0) this.pool.wakeParked();
    }, 5);
  }

  connect(): Client {
    const [fd, server] = unixPair();
    const client: Client = { fd, conn: { fd: server, generation: this.table.open(server, 0) }, got: '' };
    this.clients.push(client);
    return client;
  }

  send(client: Client, url: string): void {
    assert.equal(native.sendString(client.fd, `GET ${url} HTTP/1.1\r\nHost: x\r\n\r\n`, 0), 0);
  }

  /** A new connection with a request waiting, handed to a thread. */
  submit(url: string): { client: Client; future: Future<Outcome> } {
    const client = this.connect();
    this.send(client, url);
    return { client, future: this.pool.submit(client.conn) };
  }

  async receive(client: Client, text: string): Promise<void> {
    client.got = '';
    await until(() => (client.got += readAll(client.fd).toString()).includes(text), { what: `${text} from a thread` });
  }

  /** Slots that have a thread, retiring ones too. */
  get present(): number[] {
    const slots = Array.from({ length: this.shared.threads }, (_, i) => i + 1);
    return slots.filter((slot) => this.shared.control[this.shared.threadWord(slot, T.STATE)] !== ABSENT);
  }

  get running(): number[] {
    return this.pool.running.map(({ slot }) => slot);
  }

  /** The slot of the thread that works on a request now. */
  async slotInHand(): Promise<number> {
    const inHand = (slot: number) => this.shared.control[this.shared.threadWord(slot, T.INFLIGHT)] > 0;
    return until(() => Array.from({ length: this.shared.threads }, (_, i) => i + 1).find(inHand) ?? 0);
  }

  async end(ms = 5000): Promise<void> {
    await this.pool.stop(ms);
    clearInterval(this.ticker);
    for (const { fd, conn } of this.clients) {
      native.close(fd);
      if (this.table.generation(conn.fd) === conn.generation && this.table.owner(conn.fd) !== OWNER_FREE) {
        native.close(conn.fd);
      }
    }
    const { epfd, mainWake, threadWake } = this.shared.memory;
    for (const fd of [epfd, mainWake, ...threadWake]) native.close(fd);
  }
}

const outcome = (future: Future<Outcome>) =>
  new Promise<Outcome>((resolve, reject) => {
    future.addDoneCallback((f) => {
      if (f.cancelled()) reject(new Error('cancelled'));
      else resolve(f.result());
    });
  });

/** Runs a body with a rig, and sees to it that no thread and no fd is left by it. */
async function withRig(rig: () => Rig, body: (rig: Rig) => Promise<void>): Promise<void> {
  const fds = openHandles();
  const threads = threadCount();
  const r = rig();
  try {
    await body(r);
  } finally {
    await r.end();
  }
  await until(() => threadCount() <= threads, { what: 'the threads to end' });
  await until(() => openHandles().length <= fds.length, { what: 'fds to be closed' }).catch((cause) => {
    throw new Error(`left: ${openHandles().filter((fd) => !fds.includes(fd))}`, { cause });
  });
}

for (const [name, host] of [
  ['piscina', piscinaHost],
  ['tinypool', tinypoolHost],
] as const) {
  describe(`ThreadPool on ${name}`, { timeout: 180_000 }, () => {
    // libuv's own threads and what a pool opens once are not to be counted.
    test('warm-up', async () => {
      const rig = new Rig(host, 1);
      await rig.pool.start();
      await rig.end();
    });

    test('a connection is served and kept, and served again without main', async () => {
      await withRig(
        () => new Rig(host, 2),
        async (rig) => {
          await rig.pool.start();
          const { client, future } = rig.submit('/one');
          assert.equal(future.state, 'PENDING');
          assert.deepEqual(await outcome(future), { kept: true });
          await rig.receive(client, 'hello /one');
          rig.send(client, '/two');
          await rig.receive(client, 'hello /two');
          await until(() => rig.pool.served === 2);
          await until(() => rig.pool.inflight === 0);
          await until(() => rig.table.owner(client.conn.fd) === OWNER_IDLE);
          assert.deepEqual(rig.lost, []);
        },
      );
    });

    test('a future asked after its request is over tells at once', async () => {
      await withRig(
        () => new Rig(host, 1),
        async (rig) => {
          await rig.pool.start();
          const kept = rig.submit('/kept');
          await rig.receive(kept.client, 'hello /kept');
          await until(() => rig.table.owner(kept.client.conn.fd) === OWNER_IDLE);
          let told = 0;
          kept.future.addDoneCallback((f) => (told += f.result().kept ? 1 : 100));
          assert.equal(told, 1);
          const gone = rig.connect();
          native.shutdown(gone.fd, 1);
          const future = rig.pool.submit(gone.conn);
          await until(() => rig.table.owner(gone.conn.fd) === OWNER_FREE);
          future.addDoneCallback((f) => (told += f.result().kept ? 100 : 1));
          assert.equal(told, 2);
        },
      );
    });

    test('what only its thread has read of a connection is a fact of it', async () => {
      await withRig(
        () => new Rig(host, 1),
        async (rig) => {
          await rig.pool.start();
          const { client, future } = rig.submit('/one');
          const { fd } = client.conn;
          const facts = () => rig.table.facts(fd) & (READ_AHEAD | HAS_HEAD | IN_HAND);
          await outcome(future);
          assert.equal(facts(), 0);
          assert.equal(native.sendString(client.fd, 'GET /slow HTTP/1.1\r\n', 0), 0);
          await until(() => facts() === HAS_HEAD && rig.table.owner(fd) === OWNER_IDLE, { what: 'half a head' });
          assert.equal(native.sendString(client.fd, 'Host: x\r\n\r\n', 0), 0);
          await rig.slotInHand();
          await until(() => facts() === (READ_AHEAD | IN_HAND), { what: 'a request in hand' });
        },
      );
    });

    test('a connection that sends nothing waits, one whose client has left is closed', async () => {
      await withRig(
        () => new Rig(host, 2),
        async (rig) => {
          await rig.pool.start();
          const silent = rig.connect();
          assert.deepEqual(await outcome(rig.pool.submit(silent.conn)), { kept: true });
          const gone = rig.connect();
          native.shutdown(gone.fd, 1);
          assert.deepEqual(await outcome(rig.pool.submit(gone.conn)), { kept: false });
          rig.send(silent, '/at-last');
          await rig.receive(silent, 'hello /at-last');
        },
      );
    });

    test('more connections than the ring has room for', async () => {
      await withRig(
        () => new Rig(host, 2),
        async (rig) => {
          await rig.pool.start();
          const all = Array.from({ length: 600 }, (_, i) => rig.submit(`/${i}`));
          const kept = await Promise.all(all.map(({ future }) => outcome(future)));
          assert.ok(kept.every((o) => o.kept));
          for (const [i, { client }] of all.entries())
            assert.match(readAll(client.fd).toString(), new RegExp(`/${i}$`));
          await until(() => rig.pool.served === 600);
        },
      );
    });

    test('a thread that dies is replaced, and the others go on', async () => {
      await withRig(
        () => new Rig(host, 2),
        async (rig) => {
          await rig.pool.start();
          for (let round = 1; round <= 3; round++) {
            const { future } = rig.submit('/exit');
            assert.deepEqual(await outcome(future), { kept: false });
            assert.equal(rig.lost.length, round);
            const { client, future: next } = rig.submit('/after');
            assert.deepEqual(await outcome(next), { kept: true });
            await rig.receive(client, 'hello /after');
          }
          assert.equal(rig.pool.inflight, 0);
        },
      );
    });

    test('the only thread dies with a connection waiting behind it', async () => {
      await withRig(
        () => new Rig(host, 1),
        async (rig) => {
          await rig.pool.start();
          const first = rig.submit('/exit');
          const second = rig.submit('/second');
          assert.deepEqual(await outcome(second.future), { kept: true });
          await rig.receive(second.client, 'hello /second');
          assert.deepEqual(await outcome(first.future), { kept: false });
          assert.deepEqual(
            rig.lost.map(({ slot }) => slot),
            [1],
          );
        },
      );
    });

    for (const url of ['/spin', '/spin-silently']) {
      test(`kill ends a thread that spins (${url})`, async () => {
        await withRig(
          () => new Rig(host, 2),
          async (rig) => {
            await rig.pool.start();
            const { client, future } = rig.submit(url);
            const told = outcome(future);
            const slot = await rig.slotInHand();
            if (url === '/spin') await rig.receive(client, '200 OK');
            rig.pool.kill(slot);
            assert.deepEqual(await told, { kept: false });
            assert.deepEqual(
              rig.lost.map((lost) => lost.slot),
              [slot],
            );
            const next = rig.submit('/after');
            assert.deepEqual(await outcome(next.future), { kept: true });
            await until(() => rig.present.length === 2, { what: 'a new thread' });
          },
        );
      });
    }

    test('stop waits for a request in hand', async () => {
      const rig = new Rig(host, 2);
      await rig.pool.start();
      const { client } = rig.submit('/slow');
      await rig.slotInHand();
      await rig.pool.stop(10_000);
      assert.match(readAll(client.fd).toString(), /slow$/);
      assert.equal(rig.pool.inflight, 0);
      assert.deepEqual(rig.lost, []);
      await rig.end();
    });

    test('stop waits no longer than it is told, and ends what spins; what was in hand is lost, as overdue', async () => {
      await withRig(
        () => new Rig(host, 2),
        async (rig) => {
          await rig.pool.start();
          const spinning = rig.submit('/spin-silently');
          const told = outcome(spinning.future);
          const slot = await rig.slotInHand();
          const before = performance.now();
          await rig.pool.stop(50);
          assert.ok(performance.now() - before < 2000);
          assert.deepEqual(
            rig.lost.map((lost) => ({ slot: lost.slot, overdue: lost.error instanceof Overdue })),
            [{ slot, overdue: true }],
          );
          assert.deepEqual(await told, { kept: false });
        },
      );
    });

    test('replace: a fresh thread serves before the old one ends, and a kept connection goes on', async () => {
      await withRig(
        () => new Rig(host, 1, APP, 3),
        async (rig) => {
          await rig.pool.start();
          const { client, future } = rig.submit('/loaded');
          assert.deepEqual(await outcome(future), { kept: true });
          await until(() => (client.got += readAll(client.fd).toString()).includes('.'));
          const first = /loaded \d+/.exec(client.got)![0];
          const go = flag();
          const slow = rig.submit(`/go${go}`);
          const old = await rig.slotInHand();
          assert.equal(await rig.pool.replace(old, 'a test'), true);
          assert.notDeepEqual(rig.running, [old]);
          await until(() => rig.present.length === 2, { what: 'both threads' });
          rig.send(client, '/loaded');
          await rig.receive(client, 'loaded');
          assert.ok(!client.got.includes(first), 'the old thread has served');
          writeFileSync(go, '');
          await rig.receive(slow.client, 'gone');
          await until(() => rig.present.length === 1, { what: 'the end of the old thread' });
          assert.deepEqual(rig.present, rig.running);
          assert.deepEqual(rig.lost, []);
        },
      );
    });

    test('a client that never stops sending does not keep a retiring thread', async () => {
      await withRig(
        () => new Rig(host, 1, APP, 3),
        async (rig) => {
          await rig.pool.start();
          const clients = Array.from({ length: 8 }, () => rig.submit('/x').client);
          let sent = clients.length;
          let over = false;
          const count = () => clients.reduce((n, c) => n + (c.got.match(/hello/g)?.length ?? 0), 0);
          const sending = (async () => {
            while (!over || count() < sent) {
              for (const client of clients) {
                client.got += readAll(client.fd).toString();
                if (over || sent - count() > 60) continue;
                for (let i = 0; i < 5; i++, sent++) rig.send(client, '/x');
              }
              await new Promise(setImmediate);
            }
          })();
          for (let i = 0; i < 3; i++) {
            const [old] = rig.running;
            assert.equal(await rig.pool.replace(old, 'a test'), true);
            await until(() => !rig.present.includes(old), { what: 'the end of the old thread' });
          }
          over = true;
          await sending;
          assert.equal(count(), sent);
          assert.deepEqual(rig.lost, []);
        },
      );
    });

    test('a thread that dies while it retires is not made up for; one that dies meanwhile is', async () => {
      await withRig(
        () => new Rig(host, 2, APP, 6),
        async (rig) => {
          await rig.pool.start();
          const die = flag();
          const dying = rig.submit(`/die${die}`);
          const told = outcome(dying.future);
          const old = await rig.slotInHand();
          assert.equal(await rig.pool.replace(old, 'a test'), true);
          writeFileSync(die, '');
          assert.deepEqual(await told, { kept: false });
          assert.deepEqual(
            rig.lost.map(({ slot, retiring }) => ({ slot, retiring })),
            [{ slot: old, retiring: true }],
          );
          assert.equal(rig.running.length, 2);
          await until(() => rig.present.length === 2);
          // The old one dies while its successor starts: that one takes its place, and no third comes.
          const [next] = rig.running;
          const replaced = rig.pool.replace(next, 'a test');
          await until(() => rig.pool.replacing);
          rig.pool.kill(next);
          await replaced;
          await until(() => rig.present.length === 2 && rig.running.length === 2);
          assert.ok(!rig.present.includes(next));
          assert.deepEqual(await outcome(rig.submit('/after').future), { kept: true });
        },
      );
    });

    test('reload: every thread loads anew; an app that does not load changes nothing', async () => {
      await withRig(
        () => new Rig(host, 2, APP, 6),
        async (rig) => {
          await rig.pool.start();
          const first = rig.running;
          assert.equal(await rig.pool.reload({ ...rig.config, app: `${APP}.missing.js` }), false);
          assert.deepEqual(rig.running, first);
          assert.deepEqual(await outcome(rig.submit('/still').future), { kept: true });
          // The second begins while the first is at it: both are told when it is over, and no thread is older than it.
          const ages = () => rig.pool.running.map((thread) => thread.o.reloads);
          const one = rig.pool.reload(rig.config);
          await until(() => ages().includes(2), { what: 'the first fresh thread' });
          const two = rig.pool.reload(rig.config);
          assert.deepEqual(await Promise.all([one, two]), [true, true]);
          assert.deepEqual(ages(), [3, 3]);
          await until(() => rig.present.length === 2, { what: 'the end of the old threads' });
          assert.deepEqual(await outcome(rig.submit('/after').future), { kept: true });
          assert.deepEqual(rig.lost, []);
        },
      );
    });

    test('reload before the start: no more threads than wanted', async () => {
      let started = 0;
      const counting = (options: HostOptions): ThreadHost => {
        const inner = host(options);
        return {
          run(...args) {
            started++;
            return inner.run(...args);
          },
          destroy: () => inner.destroy(),
        };
      };
      await withRig(
        () => new Rig(counting, 2, APP, 5),
        async (rig) => {
          const reloaded = rig.pool.reload(rig.config);
          await rig.pool.start();
          assert.equal(await reloaded, true);
          assert.deepEqual([started, rig.running.length], [2, 2]);
        },
      );
    });

    test('resize: more and fewer threads, by itself and with a reload', async () => {
      await withRig(
        () => new Rig(host, 2, APP, 6),
        async (rig) => {
          await rig.pool.start();
          await rig.pool.resize(4);
          assert.equal(rig.running.length, 4);
          const go = flag();
          const slow = rig.submit(`/go${go}`);
          const busy = await rig.slotInHand();
          await rig.pool.resize(1);
          // Idle ones leave first.
          assert.deepEqual(rig.running, [busy]);
          writeFileSync(go, '');
          await rig.receive(slow.client, 'gone');
          assert.equal(await rig.pool.reload({ ...rig.config, threads: 3 }), true);
          assert.equal(rig.running.length, 3);
          await until(() => rig.present.length === 3, { what: 'the end of the old thread' });
          await assert.rejects(rig.pool.resize(6), { code: 'ERR_TUNICORN_THREADS' });
          await assert.rejects(rig.pool.resize(0), { code: 'ERR_TUNICORN_THREADS' });
          assert.deepEqual(await outcome(rig.submit('/after').future), { kept: true });
          assert.deepEqual(rig.lost, []);
        },
      );
    });

    test('a retiring thread has --graceful-timeout for what it has in hand', async () => {
      await withRig(
        () => new Rig(host, 1, APP, 3),
        async (rig) => {
          await rig.pool.start();
          assert.equal(await rig.pool.reload({ ...rig.config, gracefulTimeout: 0.2 }), true);
          const { client, future } = rig.submit('/spin');
          const told = outcome(future);
          const old = await rig.slotInHand();
          await rig.receive(client, '200 OK');
          assert.equal(await rig.pool.replace(old, 'a test'), true);
          assert.deepEqual(await told, { kept: false });
          assert.deepEqual(
            rig.lost.map(({ slot, retiring }) => ({ slot, retiring })),
            [{ slot: old, retiring: true }],
          );
          assert.deepEqual(await outcome(rig.submit('/after').future), { kept: true });
        },
      );
    });

    test('whoever ends is told of once: one that died, one that was replaced, one that never began', async () => {
      await withRig(
        () => new Rig(host, 1, APP, 3),
        async (rig) => {
          await rig.pool.start();
          const [first] = rig.running;
          await outcome(rig.submit('/exit').future);
          await until(() => rig.running.length === 1 && rig.running[0] !== first, { what: 'its successor' });
          assert.deepEqual(rig.gone.splice(0), [first]);
          const [second] = rig.running;
          assert.equal(await rig.pool.replace(second, 'a test'), true);
          await until(() => rig.gone.length === 1, { what: 'the end of the old thread' });
          assert.deepEqual(rig.gone.splice(0), [second]);
          assert.equal(await rig.pool.reload({ ...rig.config, app: `${APP}.missing.js` }), false);
          assert.equal(rig.gone.length, 1);
          assert.equal(rig.lost.length, 1);
        },
      );
    });

    test('a successor that does not come up is ended in time, and the next one is tried', async () => {
      await withRig(
        // Longer than a start takes beside other tests.
        () => new Rig(host, 1, HANGING, 3, 1500),
        async (rig) => {
          const go = flag();
          process.env.HANGS_UNLESS = go;
          writeFileSync(go, '');
          await rig.pool.start();
          rmSync(go);
          await outcome(rig.submit('/exit').future);
          await until(() => rig.gone.length >= 2, { what: 'the end of one that hangs' });
          writeFileSync(go, '');
          await until(() => rig.running.length === 1, { what: 'one that comes up' });
          assert.deepEqual(await outcome(rig.submit('/after').future), { kept: true });
        },
      );
    });

    test('threads that are told to end while they start are not lost', async () => {
      await withRig(
        () => new Rig(host, 2),
        async (rig) => {
          const started = rig.pool.start();
          await rig.pool.stop(30_000);
          await started;
          assert.deepEqual(rig.lost, []);
        },
      );
    });

    test('an app that does not load: start rejects with its error', async () => {
      for (let i = 0; i < 5; i++) {
        await withRig(
          () => new Rig(host, 2, `${APP}.missing.js`),
          async (rig) => {
            await assert.rejects(rig.pool.start(), (error: Error & { code: string; exitCode: number }) => {
              assert.match(error.code, /^ERR_TUNICORN_APP/);
              assert.equal(error.exitCode, 4);
              assert.match(error.message, /missing\.js/);
              return true;
            });
          },
        );
      }
    });
  });
}

test('requeue: what is QUEUED and stands in no ring comes into it once', async () => {
  const rig = new Rig(inlineHost, 1);
  const [first, second] = [rig.connect().conn, rig.connect().conn];
  for (const { fd, generation } of [first, second]) {
    rig.table.handOver(fd, false);
    assert.ok(rig.table.await(fd, generation, 0));
  }
  rig.pool.enqueue(second);
  rig.pool.requeue([first, second]);
  rig.pool.requeue([first, second]);
  const ring = new ReadyRing(rig.shared, 0);
  assert.deepEqual([ring.take(), ring.take(), ring.take()], [second.fd, first.fd, -1]);
  await rig.end();
});

describe('ThreadPool on the main thread (sync)', () => {
  test('an app that does not load: start rejects with its error', async () => {
    const rig = new Rig(inlineHost, 1, `${APP}.missing.js`);
    await assert.rejects(rig.pool.start(), { exitCode: 4 });
    await rig.end();
  });
});
