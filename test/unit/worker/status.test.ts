/** Health and status: the decision, the answer to a probe by main, the status address itself. */
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { after, before, describe, it } from 'node:test';
import type { Logger } from '../../../src/log.js';
import type { ListenerInfo } from '../../../src/messages.js';
import { native } from '../../../src/native/binding.js';
import { healthAsked, readinessOf } from '../../../src/shared/health.js';
import { ACTIVE, allocate, C, PARKED, Shared, T } from '../../../src/shared/memory.js';
import { StatusServer } from '../../../src/worker/status.js';
import { healthAnswer } from '../../../src/worker/status-head.js';
import { Health, type HealthFacts, readiness, type StatusReport } from '../../../src/worker/status-report.js';
import { until } from '../../support/poll.js';
import { RawClient } from '../../support/raw-client.js';

const READY = { ready: true, reason: '' };
const STUCK = { ready: false, reason: 'all threads stuck' };
const HOST = 'Host: x\r\n';

describe('readiness', () => {
  const well: HealthFacts = { booted: true, draining: false, relieved: false, allStuckMs: 0, queued: 0, maxQueue: 0 };
  for (const [facts, reason] of [
    [{}, ''],
    [{ booted: false }, 'booting'],
    [{ draining: true }, 'draining'],
    [{ booted: false, draining: true }, 'draining'],
    [{ draining: true, relieved: true }, ''],
    [{ booted: false, relieved: true }, 'booting'],
    [{ allStuckMs: 1000 }, ''],
    [{ allStuckMs: 1001 }, 'all threads stuck'],
    [{ queued: 100_000 }, ''],
    [{ queued: 10, maxQueue: 10 }, ''],
    [{ queued: 11, maxQueue: 10 }, 'queue full'],
  ] as [Partial<HealthFacts>, string][]) {
    it(`${JSON.stringify(facts)}: ${reason || 'ready'}`, () => {
      assert.deepEqual(readiness({ ...well, ...facts }), { ready: reason === '', reason });
    });
  }
});

const ROUTES = [{ route: 'GET /', requests: 1, cpuSeconds: 0, waitSeconds: 0, costMs: 0, heavy: false, fenced: 0 }];

describe('Health', () => {
  function make(maxQueue = 0) {
    const shared = new Shared(allocate(3, 64, { epfd: -1, mainWake: -1, threadWake: [] }));
    const pool = { stuck: [] as boolean[], inflight: 5, served: 7 };
    const health = new Health({ shared, pool, maxQueue, age: 4, routes: () => ROUTES });
    return { shared, pool, health, ready: () => Atomics.load(shared.control, C.READY) };
  }

  it('keeps C.READY from boot to drain, and threads read the reason', () => {
    const { shared, health, ready } = make(1);
    health.update();
    assert.equal(ready(), 0);
    health.boot();
    assert.equal(ready(), 1);
    assert.deepEqual(readinessOf(shared.control), READY);
    Atomics.store(shared.control, C.QUEUED, 2);
    assert.deepEqual(health.update(), { ready: false, reason: 'queue full' });
    assert.equal(ready(), 0);
    assert.deepEqual(readinessOf(shared.control), { ready: false, reason: 'overloaded' });
    Atomics.store(shared.control, C.QUEUED, 1);
    health.update();
    assert.equal(ready(), 1);
    health.drain();
    assert.equal(ready(), 0);
    Atomics.store(shared.control, C.DRAINING, 1);
    assert.deepEqual(readinessOf(shared.control), { ready: false, reason: 'draining' });
  });

  it('stays ready to the end if other workers go on', () => {
    const { shared, health, ready } = make();
    health.boot();
    health.relieve();
    health.drain();
    Atomics.store(shared.control, C.DRAINING, 1);
    assert.equal(ready(), 1);
    assert.deepEqual(readinessOf(shared.control), READY);
  });

  it('is not ready when all threads have been stuck for a second, and ready as soon as one is not', async () => {
    const { health, ready } = make();
    health.boot();
    health.look(true);
    assert.equal(health.update().ready, true);
    await until(() => !health.update().ready, { what: 'a second' });
    assert.ok(health.report().allStuckMs > 1000);
    assert.equal(ready(), 0);
    health.look(true);
    assert.equal(ready(), 0);
    health.look(false);
    assert.equal(ready(), 1);
    assert.equal(health.report().allStuckMs, 0);
    health.look(true);
    assert.equal(health.update().ready, true, 'the time counts anew');
  });

  it('reports what the words say', () => {
    const { shared, pool, health } = make(9);
    const set = (slot: number, word: number, value: number) => {
      shared.control[shared.threadWord(slot, word)] = value;
    };
    set(1, T.STATE, ACTIVE);
    set(1, T.INFLIGHT, 3);
    set(1, T.HEAVY, 2);
    set(1, T.SERVED, -1);
    set(1, T.HEAP, 1234);
    set(2, T.STATE, PARKED);
    pool.stuck[1] = true;
    // A slot without a thread counts as stuck for the pool.
    pool.stuck[3] = true;
    shared.control[C.OPEN] = 6;
    shared.control[C.QUEUED] = 8;
    const { uptime, ...report } = health.report();
    assert.ok(uptime > 0);
    assert.match(report.version, /^\d+\.\d+\.\d+/);
    assert.deepEqual(report, {
      pid: process.pid,
      version: report.version,
      age: 4,
      booted: false,
      draining: false,
      relieved: false,
      allStuckMs: 0,
      queued: 8,
      maxQueue: 9,
      connections: 6,
      inflight: 5,
      served: 7,
      threads: [
        { slot: 1, state: 'stuck', inflight: 3, heavy: 2, served: 2 ** 32 - 1, heapKiB: 1234 },
        { slot: 2, state: 'parked', inflight: 0, heavy: 0, served: 0, heapKiB: 0 },
        { slot: 3, state: 'absent', inflight: 0, heavy: 0, served: 0, heapKiB: 0 },
      ],
      routes: ROUTES,
    });
    pool.stuck[1] = false;
    assert.equal(health.report().threads[0].state, 'active');
  });
});

describe('healthAsked', () => {
  for (const [method, target, kind] of [
    ['GET', '/healthz', 'ready'],
    ['HEAD', '/healthz', 'ready'],
    ['GET', '/healthz/live', 'live'],
    ['GET', '/healthz?x=/live', 'ready'],
    ['GET', '/healthz/live?', 'live'],
    ['GET', 'http://example.org/healthz', 'ready'],
    ['GET', 'HTTPS://example.org:8000/healthz/live?a', 'live'],
    ['GET', 'http:///healthz', null],
    ['GET', 'ftp://example.org/healthz', null],
    ['GET', 'http://example.org/x/healthz', null],
    ['GET', 'http://example.org', null],
    ['GET', '/healthz/', null],
    ['GET', '/healthz/live/', null],
    ['GET', '/healthzz', null],
    ['GET', '/healthz/life', null],
    ['GET', '/Healthz', null],
    ['GET', '/', null],
    ['GET', '*', null],
    ['GET', '', null],
    ['POST', '/healthz', null],
    ['get', '/healthz', null],
    ['OPTIONS', '/healthz/live', null],
  ] as const) {
    it(`${method} ${target}: ${kind}`, () => assert.equal(healthAsked(method, target, '/healthz'), kind));
  }
});

describe('healthAnswer', () => {
  const ask = (head: string, ready = READY, path = '/healthz') =>
    healthAnswer(Buffer.from(head, 'latin1'), path, ready);
  const shown = (text: string | null) => text?.replace(/\r\nDate: [^\r]+ GMT\r\n/, '\r\n');

  it('is a whole response that ends the connection', () => {
    assert.equal(
      shown(ask(`GET /healthz HTTP/1.1\r\n${HOST}\r\n`)),
      'HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\nCache-Control: no-store\r\n' +
        'Connection: close\r\n\r\nok\n',
    );
    assert.equal(
      shown(ask(`GET /healthz HTTP/1.1\r\n${HOST}\r\n`, STUCK)),
      'HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 18\r\n' +
        'Cache-Control: no-store\r\nConnection: close\r\n\r\nall threads stuck\n',
    );
  });

  it('/live is 200 whatever the threads do; HEAD has no body', () => {
    assert.match(ask('GET /healthz/live HTTP/1.1\r\n\r\n', STUCK)!, /^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nlive\n$/s);
    assert.match(ask('HEAD /healthz HTTP/1.1\r\n\r\n', STUCK)!, /^HTTP\/1\.1 503 .*Content-Length: 18\r\n.*\r\n\r\n$/s);
  });

  for (const head of [
    'GET /healthz HTTP/1.0\r\n\r\n',
    'GET http://10.0.0.1:8000/healthz?probe=1 HTTP/1.1\r\nHost: 10.0.0.1\r\nContent-Length: 0\r\n\r\n',
    'GET /healthz HTTP/1.1\r\nUser-Agent: kube-probe/1.31 \xe9\r\nX-Empty:\r\nX: content-length: 5\r\n\r\n',
  ]) {
    it(`answers ${JSON.stringify(head)}`, () => assert.match(ask(head)!, /^HTTP\/1\.1 200 .*\r\n\r\nok\n$/s));
  }

  const whole = `GET /healthz HTTP/1.1\r\n${HOST}\r\n`;
  it('leaves every beginning of a head alone', () => {
    for (let n = 0; n < whole.length; n++)
      assert.equal(ask(whole.slice(0, n)), null, JSON.stringify(whole.slice(0, n)));
    assert.notEqual(ask(whole), null);
  });

  for (const head of [
    `POST /healthz HTTP/1.1\r\n${HOST}\r\n`,
    `GET /other HTTP/1.1\r\n${HOST}\r\n`,
    `GET /healthz HTTP/2.0\r\n${HOST}\r\n`,
    `GET /healthz HTTP/1.1 \r\n${HOST}\r\n`,
    `GET  /healthz HTTP/1.1\r\n${HOST}\r\n`,
    `GET /healthz\r\n\r\n`,
    `\r\n${whole}`,
    `${whole}GET /next HTTP/1.1\r\n\r\n`,
    `${whole}x`,
    `${whole}${whole}`,
    `GET /healthz HTTP/1.1\nHost: x\n\n`,
    `GET /healthz HTTP/1.1\r\nHost: x\nA: b\r\n\r\n`,
    `GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n`,
    `GET /healthz HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n`,
    `GET /healthz HTTP/1.1\r\nno field\r\n\r\n`,
    `GET /healthz HTTP/1.1\r\nA: \x00\r\n\r\n`,
    `GET /healthz HTTP/1.1\r\nContent-Length: 3\r\n\r\n`,
    `GET /healthz HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc`,
    `GET /healthz HTTP/1.1\r\nContent-Length: 0, 3\r\n\r\n`,
    `GET /healthz HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n`,
    `GET /healthz HTTP/1.1\r\nExpect: 100-continue\r\n\r\n`,
    `GET /healthz HTTP/1.1\r\nUpgrade: h2c\r\n\r\n`,
    `GET /healthz HTTP/1.1\r\nA: ${'x'.repeat(9000)}\r\n\r\n`,
  ]) {
    it(`leaves ${JSON.stringify(head.slice(0, 70))} to the threads`, () => assert.equal(ask(head), null));
  }

  it('asks nothing where there is no health path', () => assert.equal(ask('GET  HTTP/1.1\r\n\r\n', READY, ''), null));
});

describe('StatusServer', { timeout: 30_000 }, () => {
  const errors: string[] = [];
  const log = { error: (text: string) => errors.push(text) } as unknown as Logger;
  const facts: StatusReport = {
    pid: 1,
    version: '0.0.0',
    age: 0,
    uptime: 1,
    booted: true,
    draining: false,
    relieved: false,
    allStuckMs: 0,
    queued: 0,
    maxQueue: 0,
    threads: [],
    connections: 0,
    inflight: 0,
    served: 0,
    routes: [],
  };
  let report = facts;
  let port = 0;
  let server: StatusServer;

  function listener(role: ListenerInfo['role']): { info: ListenerInfo; port: number } {
    const fd = native.socket('tcp4');
    assert.ok(fd >= 0 && native.bind(fd, 'tcp4', '127.0.0.1', 0) === 0 && native.listen(fd, 16) === 0);
    const name = native.getSockName(fd);
    assert.ok(typeof name !== 'number');
    return { info: { fd, name: `http://127.0.0.1:${name.port}`, family: 'tcp', role }, port: name.port };
  }

  function ask(
    path: string,
    method = 'GET',
  ): Promise<{ status: number; headers: Record<string, unknown>; body: string }> {
    return new Promise((resolve, reject) => {
      const req = request({ host: '127.0.0.1', port, path, method, agent: false }, async (res) => {
        let body = '';
        for await (const piece of res.setEncoding('utf8')) body += piece;
        resolve({ status: res.statusCode!, headers: res.headers, body });
      });
      req.on('error', reject).end();
    });
  }

  const other = listener('http');
  before(() => {
    const status = listener('status');
    port = status.port;
    server = new StatusServer({ listeners: [other.info, status.info], backlog: 16, report: () => report, log });
    server.start();
    server.start();
  });
  after(async () => {
    await server.close();
    native.close(other.info.fd);
    assert.deepEqual(errors, []);
  });

  it('answers /live, /ready and / for GET and HEAD, never from a cache, and closes', async () => {
    report = facts;
    for (const [path, body] of [
      ['/live', 'live\n'],
      ['/ready', 'ok\n'],
      ['/ready?x=1', 'ok\n'],
    ]) {
      const got = await ask(path);
      assert.equal(got.status, 200);
      assert.equal(got.body, body);
      assert.equal(got.headers['cache-control'], 'no-store');
      assert.equal(got.headers.connection, 'close');
      const head = await ask(path, 'HEAD');
      assert.deepEqual([head.status, head.body], [200, '']);
      assert.equal(head.headers['content-length'], String(body.length));
    }
    for (const path of ['/', '/status']) {
      const got = await ask(path);
      assert.equal(got.headers['content-type'], 'application/json');
      assert.deepEqual(JSON.parse(got.body), { ...facts, ready: true, reason: '' });
    }
  });

  it('says why it is not ready', async () => {
    report = { ...facts, allStuckMs: 2000 };
    assert.deepEqual([(await ask('/ready')).status, (await ask('/ready')).body], [503, 'all threads stuck\n']);
    assert.deepEqual([(await ask('/live')).status, (await ask('/')).status], [200, 200]);
    assert.equal(JSON.parse((await ask('/')).body).reason, 'all threads stuck');
  });

  it('knows no other path and no other method', async () => {
    assert.equal((await ask('/other')).status, 404);
    assert.equal((await ask('/live/')).status, 404);
    const post = await ask('/ready', 'POST');
    assert.equal(post.status, 405);
    assert.equal(post.headers.allow, 'GET, HEAD');
    assert.equal((await ask('/status', 'DELETE')).status, 405);
  });

  it('closes connections that ask nothing, or only begin to, and refuses rubbish', async () => {
    const silent = await RawClient.connect(port);
    const slow = await RawClient.connect(port);
    slow.write('GET /live HTTP/1.1\r\nHost:');
    const rubbish = await RawClient.connect(port);
    rubbish.write('rubbish\r\n\r\n');
    assert.match(await rubbish.end(), /^HTTP\/1\.1 400 /);
    await Promise.all([silent.closed(), slow.closed()]);
    for (const client of [silent, slow, rubbish]) client.destroy();
  });

  it('close() frees the sockets, whoever holds a connection open', async () => {
    const { info, port: at } = listener('status');
    const one = new StatusServer({ listeners: [info], backlog: 16, report: () => facts, log });
    one.start();
    const holder = await RawClient.connect(at);
    holder.write('GET /live');
    const asker = await RawClient.connect(at);
    asker.write('GET /live HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.equal((await asker.response()).status, 200);
    await one.close();
    await one.close();
    await holder.closed();
    await assert.rejects(RawClient.connect(at), /ECONNREFUSED/);
    holder.destroy();
    asker.destroy();
    // Nobody else has closed it.
    assert.ok(typeof native.getSockName(other.info.fd) !== 'number');
  });

  it('close() before start() keeps it closed', async () => {
    const { info } = listener('status');
    const one = new StatusServer({ listeners: [info], backlog: 16, report: () => facts, log });
    await one.close();
    one.start();
    assert.equal(native.close(info.fd), 0, "the socket is still its owner's");
  });
});
