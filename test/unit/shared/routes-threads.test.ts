/** The table of routes under several threads: at once, ended in the middle, stepped through word by word. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { OTHER_ROUTE, Routes, routeBytes } from '../../../src/shared/routes.js';
import { until } from '../../support/poll.js';
import { CHURN_URLS, type Churn, churnUrl, type Race } from './routes-fixture.js';

const allocate = () => new SharedArrayBuffer(routeBytes());
const start = (workerData: Race | Churn) => new Worker(new URL('./routes-fixture.js', import.meta.url), { workerData });

/** A segment that is neither an id nor seen before. */
const word = (i: number): string => `w${i.toString(36)}-x`;

describe('several threads', () => {
  test('that make the same routes at once agree, and lose none', async () => {
    const threads = 4;
    const rounds = 24;
    const urls = Array.from({ length: 600 }, (_, i) => `/${word(i % 20)}/${word(Math.floor(i / 20))}`);
    const memories = Array.from({ length: rounds }, allocate);
    const shared = (n: number) => new Int32Array(new SharedArrayBuffer(4 * n));
    const found = shared(rounds * threads * urls.length);
    const arrived = shared(rounds);
    const workers = Array.from({ length: threads }, (_, index) =>
      start({ role: 'race', index, threads, memories, urls, arrived, found }),
    );
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    await Promise.all(workers.map((worker) => worker.terminate()));
    memories.forEach((memory, round) => {
      const routes = new Routes(memory);
      const mine = urls.map((url) => routes.find('GET', url));
      assert.equal(new Set(mine).size, urls.length);
      assert.ok(!mine.includes(OTHER_ROUTE));
      for (let index = 0; index < threads; index++) {
        const at = (round * threads + index) * urls.length;
        assert.deepEqual([...found.subarray(at, at + urls.length)], mine, `round ${round}, thread ${index}`);
      }
      assert.deepEqual(
        mine.map((route) => routes.name(route)),
        urls.map((url) => `GET ${url}`),
      );
      const [other, ...list] = routes.list(0);
      assert.equal(list.length, urls.length, 'no route stands there twice');
      assert.equal(other.costMs, 0.02);
      assert.equal(other.requests, threads * urls.length);
      assert.equal(other.cpuSeconds, threads * urls.length * 3000);
      const slugs = Array.from({ length: 64 }, (_, i) => routes.name(routes.find('GET', `/slug-${word(i)}`)));
      // 20 first segments are there, 44 more are taken: none was counted twice or not at all.
      assert.equal(slugs.filter((name) => name.startsWith('GET /slug')).length, 44);
    });
  });

  test('that are ended while they make routes leave a table that others use', async () => {
    const memory = allocate();
    const progress = new Int32Array(new SharedArrayBuffer(4));
    for (let index = 0; index < 12; index++) {
      const before = Atomics.load(progress, 0);
      const worker = start({ role: 'churn', index, memory, progress });
      await until(() => Atomics.load(progress, 0) > before + index * 7, { everyMs: 1, what: 'some routes' });
      await worker.terminate();
      const [one, two] = [new Routes(memory), new Routes(memory)];
      const urls = Array.from({ length: CHURN_URLS }, (_, i) => churnUrl(index, i));
      const routes = urls.map((url) => one.find('GET', url));
      assert.equal(new Set(routes).size, urls.length);
      assert.deepEqual(
        urls.map((url) => two.find('GET', url)),
        routes,
      );
      const full = routes.map((route) => one.name(route));
      if (index < 8)
        assert.deepEqual(
          full,
          urls.map((url) => `GET ${url}`),
        );
    }
  });
});

/** Has `at` called before each atomic operation that changes a word, while `fn` runs. */
function betweenWords(at: () => void, fn: () => void): void {
  const names = ['add', 'compareExchange', 'exchange', 'store'] as const;
  const kept = names.map((name) => Atomics[name]);
  const put = (functions: unknown[]) => {
    names.forEach((name, i) => {
      Atomics[name] = functions[i] as never;
    });
  };
  const watched = kept.map((original) => (...args: unknown[]) => {
    put(kept);
    at();
    put(watched);
    return (original as (...args: unknown[]) => unknown)(...args);
  });
  put(watched);
  try {
    fn();
  } finally {
    put(kept);
  }
}

describe('between any two words', () => {
  class Death extends Error {}

  /** Runs `fn`, which dies instead of its `step`th atomic operation. False if it got to its end. */
  function diesAt(step: number, fn: () => void): boolean {
    let left = step;
    try {
      betweenWords(() => {
        if (--left === 0) throw new Death();
      }, fn);
    } catch (err) {
      if (err instanceof Death) return true;
      throw err;
    }
    return false;
  }

  test('a thread may die, and everything is usable', () => {
    const urls = ['/', '/a', '/a/b', '/a/1', '/a/b/c/1/d/e/f/g/h/i'];
    let deaths = 0;
    for (let step = 1; ; step++) {
      const memory = allocate();
      const died = diesAt(step, () => {
        const routes = new Routes(memory);
        for (const url of [...urls].reverse()) {
          const route = routes.find('GET', url);
          routes.record(route, 20, 5);
          routes.count(route, 1, 5, 6);
          routes.ended(route, 5, 1, 100, 100);
          routes.fenced(route, 500);
        }
      });
      const [one, two] = [new Routes(memory), new Routes(memory)];
      const found = urls.map((url) => one.find('GET', url));
      assert.equal(new Set(found).size, urls.length, `died at ${step}`);
      assert.deepEqual(
        urls.map((url) => two.find('GET', url)),
        found,
      );
      const names = urls.slice(0, 4).map((url) => `GET ${url.replace('1', ':id')}`);
      assert.deepEqual(
        found.map((route) => one.name(route)),
        [...names, 'GET /a/b/c/:id/d/e/f/g/*'],
      );
      assert.equal(one.list(500).length, urls.length);
      for (const route of found) {
        one.record(route, 20, 5);
        assert.equal(one.cost(route), 20);
        assert.equal(one.fenced(route, 500), 0);
        assert.equal(two.ended(route, 500, 1, 100, 100), true);
        assert.equal(one.fenced(route, 500), 100);
      }
      if (!died) break;
      deaths++;
    }
    assert.ok(deaths > 40, `${deaths} places to die`);
  });

  for (const others of [['/a/b/1'], ['/a/c', '/a/b'], ['/x/y/z', '/x/1/z', '/a']]) {
    test(`another thread may make ${others.join(' and ')} while one makes /a/b/1`, () => {
      let step = 0;
      for (let n = 0; n >= step; ) {
        step++;
        n = 0;
        const memory = allocate();
        const [one, two] = [new Routes(memory), new Routes(memory)];
        let route = 0;
        let theirs: number[] = [];
        betweenWords(
          () => {
            if (++n === step) theirs = others.map((url) => two.find('GET', url));
          },
          () => {
            route = one.find('GET', '/a/b/1');
          },
        );
        if (n < step) theirs = others.map((url) => two.find('GET', url));
        const urls = ['/a/b/1', ...others];
        assert.deepEqual(
          urls.map((url) => new Routes(memory).find('GET', url)),
          [route, ...theirs],
          `at ${step}`,
        );
        assert.deepEqual(new Set(one.list(0).map(({ route: name }) => name)).size, one.list(0).length);
        assert.equal(one.list(0).length, new Set(urls).size);
        const children = Array.from({ length: 70 }, (_, i) => two.name(two.find('GET', `/${word(i)}`)));
        const first = new Set(urls.map((url) => url.split('/')[1])).size;
        assert.equal(children.filter((name) => name !== 'GET /*').length, 64 - first, 'counted once');
      }
      assert.ok(step > (others.includes('/a/b/1') ? 10 : 12), `${step} steps`);
    });
  }

  for (const half of [0, 1]) {
    test(`another node may take the place; half ${half} of its key`, () => {
      for (let level = 0; level < 3; level++) {
        const memory = allocate();
        const routes = new Routes(memory);
        const { compareExchange } = Atomics;
        let calls = 0;
        Atomics.compareExchange = ((words: Int32Array, at: number, was: number, is: number) => {
          // Each node is made by two of them.
          if (calls++ === level * 2 + half) {
            compareExchange(words, at, 0, is ^ 1);
            if (half === 0) compareExchange(words, at + 1, 0, 12345);
          }
          return compareExchange(words, at, was, is);
        }) as typeof Atomics.compareExchange;
        try {
          routes.find('GET', '/a/b');
        } finally {
          Atomics.compareExchange = compareExchange;
        }
        assert.ok(calls > 6, 'one more place was tried');
        const route = routes.find('GET', '/a/b');
        assert.equal(routes.name(route), 'GET /a/b');
        assert.equal(new Routes(memory).find('GET', '/a/b'), route);
        assert.equal(routes.list(0).length, 1);
      }
    });
  }
});
