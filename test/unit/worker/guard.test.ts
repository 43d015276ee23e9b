/** Guard: which stuck thread is ended, for whose sake, and what its clients are answered, with a pool that is made up. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createConfig } from '../../../src/config/config.js';
import type { Config } from '../../../src/config/settings.js';
import { native } from '../../../src/native/binding.js';
import { Overdue } from '../../../src/pool/thread-handle.js';
import { allocate, C, CLOSING, Shared, T } from '../../../src/shared/memory.js';
import { Routes } from '../../../src/shared/routes.js';
import { ConnTable, IN_HAND, READ_AHEAD, SERVED_ONE } from '../../../src/shared/tconn.js';
import { Guard } from '../../../src/worker/guard.js';
import { TConn } from '../../../src/worker/tconn.js';
import { unixPair } from '../../support/native.js';

class Rig {
  readonly shared = new Shared(allocate(4, 1024, { epfd: -1, mainWake: -1, threadWake: [] }));
  readonly table = new ConnTable(this.shared);
  readonly routes = new Routes(this.shared.memory.routes);
  readonly conns = new Map<number, TConn>();
  config: Config = createConfig({ app: 'x', timeout: 30, timeoutGrace: 0.25 }, {});
  readonly killed: number[] = [];
  /** fd -> first line of what it was answered. */
  readonly answered = new Map<number, string>();
  readonly logged: string[] = [];
  /** fd -> status of its access line. */
  readonly lines = new Map<number, number>();
  /** Handed to a thread again. */
  readonly goneOn: number[] = [];
  stuckMs = 0;
  readonly guard: Guard;

  constructor() {
    const log = (message: string) => this.logged.push(message);
    this.guard = new Guard({
      shared: this.shared,
      table: this.table,
      conns: this.conns,
      config: () => this.config,
      pool: { threadId: () => 0, kill: (slot: number) => this.killed.push(slot), requeue: () => {} } as never,
      driver: { rearm: () => 0 } as never,
      lingerer: {
        end: ({ fd }: TConn, answer: string) => this.answered.set(fd, answer.split('\r\n')[0]),
      } as never,
      routes: this.routes,
      access: {
        write: (fd: number, _head: string, status: number) => void this.lines.set(fd, status),
      } as never,
      log: { error: log, warning: log } as never,
      enqueue: ({ fd }) => this.goneOn.push(fd),
    });
  }

  /** A request in hand on slot 1 that began so long ago and is due in so long, ms (0 = never). */
  inHand(fd: number, path: string, agoMs: number, dueMs: number): TConn {
    const { table } = this;
    const conn = new TConn(fd, table.open(fd, 0));
    this.conns.set(fd, conn);
    table.handOver(fd, false);
    assert.ok(table.claim(fd, conn.generation, 1));
    const clock = native.clock();
    table.beginRequest(fd, clock - agoMs, dueMs === 0 ? 0 : clock + dueMs, this.routes.find('GET', path));
    return conn;
  }

  set(word: number, value: number): void {
    this.shared.control[this.shared.threadWord(1, word)] = value;
  }

  /** A look at a thread in slot 1 that has been stuck for so long, ms; which slots it has ended. */
  async look(stuckMs: number): Promise<number[]> {
    this.stuckMs = stuckMs;
    // Not more often than every 20 ms.
    await sleep(25);
    this.guard.check((slot) => (slot === 1 ? this.stuckMs : 0));
    await new Promise(setImmediate);
    return this.killed.splice(0);
  }
}

describe('Guard', () => {
  test('a thread that is stuck in the handler of a late request is ended', async () => {
    const rig = new Rig();
    rig.inHand(800, '/late', 31_000, -1000);
    rig.inHand(801, '/other', 1000, 29_000);
    rig.set(T.CURRENT, 801);
    assert.deepEqual(await rig.look(200), [], 'not before the grace is over');
    assert.deepEqual(await rig.look(300), [1]);
    assert.deepEqual(await rig.look(400), [], 'once');
    rig.guard.lost(1, new Error('aborted'), false);
    assert.equal(rig.answered.get(800), 'HTTP/1.1 504 Gateway Timeout');
    assert.equal(rig.answered.get(801), 'HTTP/1.1 503 Service Unavailable');
    assert.match(rig.logged[0], /^Request timed out/);
    const of = (route: string) => rig.routes.list(native.clock()).find((r) => r.route === route);
    assert.deepEqual([of('GET /late')?.requests, of('GET /other')?.requests], [1, 1]);
    assert.equal(of('GET /late')?.heavy, true);
    assert.equal(of('GET /other')?.costMs, 0);
  });

  test('what was decided about a thread is not about the next one in its slot', async () => {
    const rig = new Rig();
    rig.set(T.FULL, 1);
    rig.guard.checkHeaps();
    rig.guard.checkHeaps();
    assert.deepEqual(rig.killed.splice(0), [1], 'once');
    // It had not begun to serve, so nothing is lost with it.
    rig.guard.gone(1);
    rig.guard.checkHeaps();
    assert.deepEqual(rig.killed.splice(0), [1]);
    rig.guard.gone(1);
    rig.set(T.FULL, 0);
    rig.inHand(800, '/late', 31_000, -1000);
    assert.deepEqual(await rig.look(300), [1]);
  });

  test('one late request among several in hand does not end a callback of another; all of them do, or its own time', async () => {
    const rig = new Rig();
    rig.inHand(800, '/awaits', 2000, -1900);
    rig.inHand(801, '/works', 1000, 29_000);
    assert.deepEqual(await rig.look(1000), []);
    assert.deepEqual(await rig.look(30_100), [], 'not before --timeout and its grace');
    assert.deepEqual(await rig.look(30_300), [1]);
    rig.guard.gone(1);
    rig.table.setLimit(801, (native.clock() - 1000) | 0);
    assert.deepEqual(await rig.look(300), [1]);
    rig.guard.lost(1, new Error('aborted'), false);
    assert.deepEqual(
      [...rig.answered.values()],
      ['HTTP/1.1 504 Gateway Timeout', 'HTTP/1.1 504 Gateway Timeout'],
      'either may have been it',
    );
    assert.match(rig.logged[0], /^Request timed out: .* or .*; thread 1 was stuck in it/);
    const heavy = rig.routes.list(native.clock()).filter((route) => route.heavy);
    assert.deepEqual(heavy, [], 'which one, nobody knows');
  });

  test('without --timeout a deadline that a request has set itself counts', async () => {
    const rig = new Rig();
    rig.config = { ...rig.config, timeout: 0 };
    rig.inHand(800, '/late', 2000, -1000);
    rig.inHand(801, '/other', 2000, 0);
    assert.deepEqual(await rig.look(300), [1]);
  });

  test('a client that has left ends nobody else’s work', async () => {
    const rig = new Rig();
    rig.config = { ...rig.config, killOnDisconnect: 0.1 };
    const [left, gone] = unixPair();
    const [there, client] = unixPair();
    rig.inHand(left, '/left', 100, 20_000);
    rig.inHand(there, '/there', 100, 20_000);
    native.close(gone);
    assert.deepEqual(await rig.look(500), []);
    await sleep(150);
    assert.deepEqual(await rig.look(700), []);
    native.close(client);
    await rig.look(800);
    await sleep(150);
    assert.deepEqual(await rig.look(1000), [1]);
    for (const fd of [left, there]) native.close(fd);
  });

  test('what a thread that is replaced has not finished in time is no error', () => {
    const rig = new Rig();
    rig.inHand(800, '/slow', 5000, 20_000);
    rig.guard.lost(1, new Overdue(), true);
    assert.equal(rig.answered.get(800), 'HTTP/1.1 503 Service Unavailable');
    assert.match(rig.logged[0], /^Not finished within --graceful-timeout: .*; thread 1 is ended/);
  });

  test('a request whose response was whole is over: its line says so, and the connection goes on unless more of it was read', () => {
    const rig = new Rig();
    const { table } = rig;
    for (const [fd, status, next] of [
      [800, 200, true],
      [801, 404, false],
      [802, 0, false],
    ] as const) {
      rig.inHand(fd, '/whole', 100, 20_000);
      table.setFacts(fd, table.facts(fd) | READ_AHEAD);
      table.markSent(fd);
      table.setFacts(fd, table.outcome(fd, status, next));
    }
    rig.set(T.CURRENT, 801);
    rig.guard.lost(1, new Error('exited with code 1'), false);
    assert.deepEqual([...rig.lines].sort(), [
      [800, 200],
      [801, 404],
      [802, 503],
    ]);
    assert.deepEqual(rig.goneOn, [800]);
    assert.deepEqual([...rig.answered].sort(), [
      [801, ''],
      [802, ''],
    ]);
    assert.deepEqual([table.status(800), table.facts(800) & (IN_HAND | SERVED_ONE)], [0, SERVED_ONE]);
    const left = (table.deadline(800) - native.clock()) | 0;
    assert.ok(left > rig.config.keepalive * 1000 - 100, `closed in ${left} ms`);
  });

  test('one that is over is not handed on while the worker lets everybody go', () => {
    const rig = new Rig();
    const { table } = rig;
    Atomics.store(rig.shared.control, C.DRAINING, CLOSING);
    rig.inHand(800, '/whole', 100, 20_000);
    table.setFacts(800, table.outcome(800, 200, true));
    rig.guard.lost(1, new Error('aborted'), false);
    assert.deepEqual([rig.goneOn, rig.answered.get(800), rig.lines.get(800)], [[], '', 200]);
  });

  test('a thread whose loop turns again while its stack is taken lives', async () => {
    const rig = new Rig();
    rig.inHand(800, '/late', 31_000, -1000);
    rig.stuckMs = 300;
    await sleep(25);
    rig.guard.check((slot) => (slot === 1 ? rig.stuckMs : 0));
    rig.stuckMs = 1;
    await new Promise(setImmediate);
    assert.deepEqual(rig.killed, []);
    assert.deepEqual(await rig.look(300), [1], 'and is judged again');
  });
});
