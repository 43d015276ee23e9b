/** The table of routes: URLs and their patterns, a table that gets full, totals. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { OTHER_ROUTE, Routes, routeBytes } from '../../../src/shared/routes.js';

const allocate = () => new SharedArrayBuffer(routeBytes());
const make = () => new Routes(allocate());

/** A segment that is neither an id nor seen before. */
const word = (i: number): string => `w${i.toString(36)}-x`;

describe('patterns', () => {
  const long = 'abcdefghij'.repeat(4);
  const cases: [string, string][] = [
    ['/', '/'],
    ['/hello', '/hello'],
    ['/hello/', '/hello/'],
    ['/a//b', '/a//b'],
    ['/search?q=/a/b?c#d', '/search'],
    ['/page#top?x', '/page'],
    ['/?x', '/'],
    ['/users/0', '/users/:id'],
    ['/users/42/orders/7', '/users/:id/orders/:id'],
    ['/users/42a', '/users/42a'],
    ['/v1/api2', '/v1/api2'],
    ['/c/deadbee', '/c/deadbee'],
    ['/c/deadbeef', '/c/:id'],
    ['/c/DEADBEEF01', '/c/:id'],
    ['/o/507f1f77bcf86cd799439011', '/o/:id'],
    ['/u/3f2504e0-4f89-11d3-9a0c-0305e82c3301', '/u/:id'],
    ['/u/3F2504E0-4F89-11D3-9A0C-0305E82C3301/x', '/u/:id/x'],
    ['/t/dGhpcyBpcyBhIHRlc3Q9', '/t/:id'],
    ['/t/V1StGXR8_Z5jdHi6B-myT', '/t/:id'],
    ['/t/aGVsbG8gd29ybGQ%3D1a', '/t/:id'],
    ['/blog/2024-01-15-a-title', '/blog/:id'],
    ['/auth/oauth2-authorization-callback', '/auth/oauth2-authorization-callback'],
    ['/blog/some-title-of-a-post', '/blog/some-title-of-a-post'],
    ['/static/app.3f2504e04f89.js', '/static/app.3f2504e04f89.js'],
    [`/x/${long}`, `/x/${long}`],
    [`/x/${long}k`, '/x/:id'],
    [`/x/${long}k/y?z`, '/x/:id/y'],
    [`/x/${long}k?a/b`, '/x/:id'],
    [`/x/${'y'.repeat(3000)}/z`, '/x/:id/z'],
    ['/caf%C3%A9', '/caf%C3%A9'],
    ['/caf\xe9/\x7f', '/caf?/?'],
    ['/1/2/3/4/5/6/7/8', '/:id/:id/:id/:id/:id/:id/:id/:id'],
    ['/a/b/c/d/e/f/g/h', '/a/b/c/d/e/f/g/h'],
    ['/a/b/c/d/e/f/g/h/', '/a/b/c/d/e/f/g/h/*'],
    ['/a/b/c/d/e/f/g/h/i/j/k?l', '/a/b/c/d/e/f/g/h/*'],
    ['http://example.com', '/'],
    ['http://example.com?x', '/'],
    ['HTTPS://example.com:8443/a/1?b=http://c/d', '/a/:id'],
  ];
  for (const [url, pattern] of cases) {
    test(`${url.length > 60 ? `${url.slice(0, 60)}...` : url} is ${pattern.slice(0, 60)}`, () => {
      const routes = make();
      const route = routes.find('GET', url);
      assert.notEqual(route, OTHER_ROUTE);
      assert.equal(routes.name(route), `GET ${pattern}`);
      assert.equal(routes.find('GET', url), route, 'again, from what the thread knows');
      if (pattern.includes('?')) return;
      assert.equal(routes.find('GET', pattern.replaceAll(':id', '12')), route, 'another URL of that pattern');
    });
  }

  for (const url of ['', '*', '*x', 'example.com:443', 'ftp://example.com/a', './a', 'http:/a', '?a', '#']) {
    test(`${JSON.stringify(url)} is odd`, () => {
      const routes = make();
      assert.equal(routes.find('GET', url), OTHER_ROUTE);
      assert.equal(routes.find('OPTIONS', url), OTHER_ROUTE);
      assert.equal(routes.name(OTHER_ROUTE), 'everything else');
      assert.deepEqual(routes.list(0), []);
    });
  }

  test('each known method has its own routes, the others share', () => {
    const routes = make();
    const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'OTHER'];
    const found = methods.map((method) => routes.find(method, '/a'));
    assert.equal(new Set(found).size, methods.length);
    assert.deepEqual(
      found.map((route) => routes.name(route)),
      methods.map((method) => `${method} /a`),
    );
    for (const method of ['PROPFIND', 'get', '']) assert.equal(routes.find(method, '/a'), found[7], method);
    // Told apart also where a thread knows the URL already: 'DELETE /a' and 'GET *a' differ in bits of the same character.
    for (const method of methods) assert.equal(routes.find(method, '*a'), OTHER_ROUTE);
    assert.deepEqual(
      methods.map((method) => routes.find(method, '/a')),
      found,
    );
  });

  test('what differs by one character or one slash is another route', () => {
    const routes = make();
    const urls = ['/', '//', '/a', '/b', '/a/', '/a/b', '/ab', '/a/b/', '/:id', '/1', '/*', '/A', '/aa/b', '/a/ab'];
    assert.equal(new Set(urls.map((url) => routes.find('GET', url))).size, urls.length);
  });

  test('a long pattern has a cut name', () => {
    const routes = make();
    const name = routes.name(routes.find('GET', `/${Array(8).fill('abcdefghijklmnop').join('/')}`));
    assert.equal(name.length, 96);
    assert.match(name, /^GET \/abcdefghijklmnop\/.*\.\.\.$/);
    assert.equal(routes.name(-1), '');
    assert.equal(routes.name(1e6), '');
    assert.equal(routes.name(Number.NaN), '');
  });

  test('more URLs than a thread can know', () => {
    const routes = make();
    const orders = routes.find('GET', '/users/1/orders');
    const user = routes.find('GET', '/users/1');
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 20_000; i++) {
        assert.equal(routes.find('GET', `/users/${i}/orders?n=${i}`), orders);
        assert.equal(routes.find('GET', `/users/${i}`), user);
      }
    }
    assert.equal(routes.list(0).length, 2);
  });
});

describe('many different segments', () => {
  test('after 64 the others are one route; those that are there stay', () => {
    const memory = allocate();
    const routes = new Routes(memory);
    const blog = routes.find('GET', '/blog');
    const ids = routes.find('GET', '/blog/17');
    const slugs = Array.from({ length: 64 }, (_, i) => routes.find('GET', `/blog/${word(i)}`));
    assert.equal(new Set(slugs).size, 64);
    const rest = routes.find('GET', '/blog/another');
    assert.equal(routes.name(rest), 'GET /blog/*');
    const other = new Routes(memory);
    for (let i = 64; i < 5000; i++) {
      assert.equal(routes.find('GET', `/blog/${word(i)}`), rest);
      assert.equal(other.find('GET', `/blog/${word(i)}`), rest);
    }
    assert.equal(routes.name(routes.find('GET', '/blog/another/edit')), 'GET /blog/*/edit');
    for (const one of [routes, other, new Routes(memory)]) {
      assert.equal(one.find('GET', '/blog'), blog);
      assert.equal(one.find('GET', '/blog/18'), ids);
      slugs.forEach((route, i) => {
        assert.equal(one.find('GET', `/blog/${word(i)}`), route);
      });
    }
    assert.equal(routes.name(routes.find('GET', `/blog/${word(3)}/edit`)), `GET /blog/${word(3)}/edit`);
    assert.equal(routes.name(routes.find('POST', '/blog/another')), 'POST /blog/another', 'counted by method');
    assert.equal(routes.list(0).length, 2 + 64 + 4);
  });

  test('an app with names in its paths never fills the table', () => {
    const routes = make();
    const pages = ['', '/issues', '/pulls', '/wiki', '/settings', '/issues/new', '/issues/7'];
    for (let i = 0; i < 40_000; i++) {
      const repository = `/${word(i % 997)}/${word(i % 1009)}`;
      assert.notEqual(routes.find('GET', repository + pages[i % pages.length]), OTHER_ROUTE, `at ${i}`);
    }
    for (const page of pages) {
      const name = routes.name(routes.find('GET', `/new/one${page}`));
      assert.equal(name, `GET /*/*${page.replace('7', ':id')}`);
    }
  });

  test('who fills the table changes nothing for the routes in it', () => {
    const memory = allocate();
    const app = new Routes(memory);
    const urls = ['/', '/api/users', '/api/users/1', '/api/reports/heavy', '/static/app.js'];
    const established = urls.map((url) => app.find('GET', url));
    for (let i = 0; i < 10; i++) app.record(established[3], 50_000, 0);
    const names = established.map((route) => app.name(route));

    const attacked = new Routes(memory);
    const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'OTHER'];
    let refused = 0;
    const wild = new Set<string>();
    for (let i = 0; i < 40_000; i++) {
      // Every way to mix ids and names in eight segments: twice as many nodes as there are places, whatever is merged.
      const path = Array.from({ length: 8 }, (_, k) => (((i >> 3) >> k) & 1 ? '7' : word(i * 8 + k)));
      const route = attacked.find(methods[i % 8], `/${path.join('/')}`);
      if (route === OTHER_ROUTE) refused++;
      else if (attacked.name(route).includes('*')) wild.add(attacked.name(route));
    }
    assert.ok(refused > 0, 'it did become full');
    assert.ok(wild.size > 20, `room was left for patterns with *: ${wild.size}`);
    assert.ok(app.list(0).length <= 2048);
    for (const one of [app, attacked, new Routes(memory)]) {
      assert.deepEqual(
        urls.map((url) => one.find('GET', url)),
        established,
      );
      assert.deepEqual(
        established.map((route) => one.name(route)),
        names,
      );
      assert.deepEqual(
        established.map((route) => one.heavy(route)),
        [false, false, false, true, false],
      );
    }
  });
});

test('totals, over 2^32 and from all threads', () => {
  const memory = allocate();
  const [one, two, main] = [new Routes(memory), new Routes(memory), new Routes(memory)];
  assert.deepEqual(main.list(0), []);
  const route = one.find('POST', '/a/1');
  one.count(route, 1, 5_000_000_000, 250_000);
  two.count(two.find('POST', '/a/2'), 1, 1_000_000.4, 0);
  two.record(route, 20_500, 0);
  two.count(OTHER_ROUTE, 1, 0, 0);
  assert.deepEqual(main.list(0), [
    { route: 'everything else', requests: 1, cpuSeconds: 0, waitSeconds: 0, costMs: 0, heavy: false, fenced: 0 },
    { route: 'POST /a/:id', requests: 2, cpuSeconds: 5001, waitSeconds: 0.25, costMs: 20.5, heavy: true, fenced: 0 },
  ]);
});
