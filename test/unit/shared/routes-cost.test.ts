/** What is learned about routes: their cost, when to measure, fences. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { HEAVY_US, LIGHT_US, OTHER_ROUTE, Routes, routeBytes } from '../../../src/shared/routes.js';

const allocate = () => new SharedArrayBuffer(routeBytes());
const make = () => new Routes(allocate());

describe('cost', () => {
  const setup = (samples = 0, cpuUs = 20) => {
    const routes = make();
    const route = routes.find('GET', '/r');
    const record = (us: number, times = 1, clock = 0) => {
      for (let i = 0; i < times; i++) routes.record(route, us, clock);
    };
    record(cpuUs, samples);
    /** Records until the route is heavy or not; how many times that took. */
    const recordUntil = (heavy: boolean, us: number) => {
      let n = 0;
      for (; routes.heavy(route) !== heavy; n++) {
        assert.ok(n < 100, `it stays ${heavy ? 'light' : 'heavy'}`);
        record(us);
      }
      return n;
    };
    return { routes, route, record, recordUntil };
  };

  test('unknown at first', () => {
    const { routes, route } = setup();
    assert.equal(routes.cost(route), 0);
    assert.equal(routes.heavy(route), false);
    for (let i = 0; i < 200; i++) assert.equal(routes.mustMeasure(route, i), true);
  });

  test('the mean of the first eight, then an eighth of each', () => {
    const { routes, route, record } = setup();
    for (let i = 1; i <= 8; i++) {
      record(i * 1000);
      assert.ok(Math.abs(routes.cost(route) - (i + 1) * 500) <= 4, `${i}: ${routes.cost(route)}`);
    }
    record(4500 + 800);
    assert.ok(Math.abs(routes.cost(route) - 4600) <= 4);
    record(4600, 40);
    assert.ok(Math.abs(routes.cost(route) - 4600) <= 8);
  });

  test('the first request tells; extremes are kept within bounds', () => {
    for (const [us, cost, heavy] of [
      [0, 1, false],
      [0.2, 1, false],
      [HEAVY_US, HEAVY_US, false],
      [HEAVY_US + 1, HEAVY_US + 1, true],
      [1e12, 0xffffff, true],
    ] as const) {
      const { routes, route, record } = setup();
      record(us);
      assert.equal(routes.cost(route), cost);
      assert.equal(routes.heavy(route), heavy);
      record(us, 30);
      assert.equal(routes.cost(route), cost);
      assert.equal(routes.heavy(route), heavy);
    }
  });

  test('one outlier does not make a light route heavy, and is forgotten', () => {
    for (const base of [20, 3000, 8000]) {
      const { routes, route, record } = setup(20, base);
      record(10_000_000);
      assert.equal(routes.heavy(route), false, `${base}`);
      assert.equal(routes.mustMeasure(route, 0), true, 'looks again');
      record(base, 30);
      assert.ok(routes.cost(route) - base < 100, `${routes.cost(route)}`);
      if (base === 8000) continue;
      for (let i = 0; i < 20; i++) {
        record(100_000);
        record(base, 9);
        assert.equal(routes.heavy(route), false, 'nor does one of ten, again and again');
      }
    }
  });

  test('a light route that turns heavy is known after two or three', () => {
    for (const us of [HEAVY_US + 1, 12_000, 50_000, 10_000_000]) {
      for (const samples of [1, 3, 4, 8, 1000]) {
        const { routes, route, recordUntil } = setup(samples);
        const took = recordUntil(true, us);
        assert.ok(took <= (samples < 4 ? 5 : 2), `${took} of ${us} us after ${samples}`);
        if (samples >= 4) assert.ok(Math.abs(routes.cost(route) - us) < 1 || us > 0xffffff);
      }
    }
  });

  test('every second request heavy: so is the route', () => {
    const { routes, route, record } = setup(100);
    for (let i = 0; i < 3; i++) {
      record(50_000);
      if (i < 2) record(20);
    }
    assert.equal(routes.heavy(route), true);
    for (let i = 0; i < 50; i++) {
      record(i % 2 === 0 ? 20 : 50_000);
      assert.equal(routes.heavy(route), true);
    }
  });

  test('a heavy route that turns light is known after at most ten', () => {
    for (const us of [11_000, 100_000, 10_000_000]) {
      for (const samples of [1, 2, 8, 1000]) {
        const { routes, route, recordUntil } = setup(samples, us);
        const took = recordUntil(false, 20);
        assert.ok(took >= Math.min(samples, 3) && took <= 10, `${took} after ${samples} of ${us} us`);
        if (us > 100_000) assert.equal(routes.cost(route), 20);
      }
    }
    const { recordUntil } = setup(1, 30_000);
    assert.ok(recordUntil(false, 300) <= 4, 'a cold start');
  });

  test('between the two thresholds it stays what it was', () => {
    const heavy = setup(20, 12_000);
    heavy.record(LIGHT_US + 1000, 200);
    assert.equal(heavy.routes.heavy(heavy.route), true);
    assert.ok(heavy.routes.cost(heavy.route) < HEAVY_US);
    assert.ok(heavy.recordUntil(false, LIGHT_US - 100) <= 10);
    const light = setup(20, 20);
    light.record(HEAVY_US - 100, 200);
    assert.equal(light.routes.heavy(light.route), false);
    assert.ok(light.routes.cost(light.route) > LIGHT_US);
  });

  for (const clock of [1000, 0x7fffffff - 70_000, 0x7fffffff, -0x80000000, -30_000]) {
    test(`certainty fades while no request comes; clock from ${clock}`, () => {
      const after = (idleMs: number) => {
        const { routes, route, record } = setup();
        record(20, 20, clock);
        assert.equal(routes.mustMeasure(route, clock), false);
        const later = (clock + idleMs) | 0;
        const measured = routes.mustMeasure(route, later);
        record(100_000, 1, later);
        return { measured, heavy: routes.heavy(route) };
      };
      assert.deepEqual(after(0), { measured: false, heavy: false });
      assert.deepEqual(after(59_000), { measured: false, heavy: false });
      assert.deepEqual(after(61_000), { measured: true, heavy: false });
      assert.deepEqual(after(200_000), { measured: true, heavy: true });
      assert.deepEqual(after(20 * 86_400_000), { measured: true, heavy: true });
      const heavy = setup();
      heavy.record(50_000, 20, clock);
      const later = (clock + 300_000) | 0;
      assert.equal(heavy.routes.heavy(heavy.route), true, 'what is known stays known');
      heavy.record(50_000, 1, later);
      assert.equal(heavy.routes.heavy(heavy.route), true);
    });
  }

  test('one of 64 requests of a certain light route is measured, by route', () => {
    const routes = make();
    const all = ['/a', '/b', '/c', '/d'].map((url) => routes.find('GET', url));
    for (const route of all) for (let i = 0; i < 8; i++) routes.record(route, 20, 0);
    const measured = all.map(() => 0);
    for (let i = 0; i < 640; i++) {
      all.forEach((route, k) => {
        if (routes.mustMeasure(route, 0)) measured[k]++;
      });
    }
    assert.deepEqual(measured, [10, 10, 10, 10]);
  });

  test('a heavy route is measured always, an uncertain one until it is certain', () => {
    const heavy = setup(100, 50_000);
    for (let i = 0; i < 100; i++) assert.equal(heavy.routes.mustMeasure(heavy.route, 0), true);
    const { routes, route, record } = setup();
    for (let i = 0; i < 8; i++) {
      assert.equal(routes.mustMeasure(route, 0), true);
      record(20);
    }
    assert.equal(routes.mustMeasure(route, 0), false);
  });

  test('a suspected route is measured again, and its turn to heavy seen at once', () => {
    const { routes, route, record } = setup(100);
    assert.equal(routes.mustMeasure(route, 0), false);
    routes.suspect(route);
    assert.equal(routes.mustMeasure(route, 0), true);
    assert.equal(routes.cost(route), 20);
    record(20, 3);
    assert.equal(routes.mustMeasure(route, 0), true);
    record(20);
    assert.equal(routes.mustMeasure(route, 0), false, 'it was for nothing');
    routes.suspect(route);
    record(100_000);
    assert.equal(routes.heavy(route), false, 'one may be an outlier');
    routes.suspect(route);
    record(100_000);
    assert.equal(routes.heavy(route), true);
    routes.suspect(route);
    assert.equal(routes.heavy(route), true);
    routes.suspect(routes.find('GET', '/unknown'));
    assert.equal(routes.cost(routes.find('GET', '/unknown')), 0);
  });

  test('what is only known in part says nothing against a heavy route, unless nothing else was heard for long', () => {
    const heavy = setup(4, 50_000);
    assert.equal(heavy.routes.tells(heavy.route, 100, 0), false);
    assert.equal(heavy.routes.tells(heavy.route, 20_000, 0), true);
    assert.equal(heavy.routes.tells(heavy.route, 100, 60_000), true);
    const light = setup(4, 100);
    assert.equal(light.routes.tells(light.route, 100, 0), true);
  });

  test('threads share what they learn; everything else learns too', () => {
    const memory = allocate();
    const [one, two] = [new Routes(memory), new Routes(memory)];
    for (const route of [one.find('GET', '/x'), OTHER_ROUTE]) {
      one.record(route, 40_000, 0);
      assert.equal(two.heavy(route), true);
      assert.equal(two.cost(route), 40_000);
    }
    assert.equal(two.find('GET', '/x'), one.find('GET', '/x'));
  });
});

describe('fences', () => {
  for (const clock of [0, 1, 100_000, 0x7fffffff - 5000, 0x7fffffff, -0x80000000, -5000, -1]) {
    test(`a route that ended enough threads is fenced for a time; clock from ${clock}`, () => {
      const memory = allocate();
      const [main, thread] = [new Routes(memory), new Routes(memory)];
      const route = main.find('GET', '/poison');
      const at = (ms: number) => (clock + ms) | 0;
      const ended = (ms: number) => main.ended(route, at(ms), 3, 10_000, 60_000);
      assert.equal(ended(0), false);
      assert.equal(ended(6000), false);
      assert.equal(ended(10_500), false, 'the first is too long ago');
      assert.equal(thread.fenced(route, at(10_500)), 0);
      assert.equal(ended(12_000), true);
      assert.equal(thread.fenced(route, at(12_000)), 60_000);
      assert.equal(thread.fenced(route, at(11_990)), 60_000, 'a clock that is behind');
      assert.equal(thread.fenced(route, at(41_000)), 31_000);
      assert.deepEqual(
        main.list(at(41_000)).map(({ route: name, fenced }) => [name, fenced]),
        [['GET /poison', 31_000]],
      );
      assert.equal(thread.fenced(main.find('GET', '/other'), at(41_000)), 0);
      assert.equal(thread.fenced(route, at(71_999)), 1);
      assert.equal(thread.fenced(route, at(72_000)), 0);
      assert.equal(thread.fenced(route, at(40_000)), 0, 'it is gone for good');
      assert.equal(ended(72_001), false, 'counted anew');
      assert.equal(ended(72_002), false);
      assert.equal(ended(72_003), true);
      assert.equal(ended(72_004), false, 'fenced already');
      assert.equal(thread.fenced(route, at(72_004)), 60_000, 'but from now on');
    });

    test(`nobody asked for a route for weeks after its fence; clock from ${clock}`, () => {
      for (const days of [1, 24, 25, 26, 30, 40, 49]) {
        const routes = make();
        const route = routes.find('GET', '/poison');
        assert.equal(routes.ended(route, clock, 1, 10_000, 60_000), true);
        assert.equal(routes.fenced(route, (clock + days * 86_400_000) | 0), 0, `${days} days`);
      }
    });
  }

  test('not without a limit, and never everything else', () => {
    const routes = make();
    const route = routes.find('GET', '/poison');
    for (let i = 0; i < 10; i++) {
      assert.equal(routes.ended(route, i, 0, 10_000, 60_000), false);
      assert.equal(routes.ended(route, i, 1, 10_000, 0), false);
      assert.equal(routes.ended(OTHER_ROUTE, i, 1, 10_000, 60_000), false);
    }
    assert.equal(routes.fenced(route, 10), 0);
    assert.equal(routes.fenced(OTHER_ROUTE, 10), 0);
  });
});
