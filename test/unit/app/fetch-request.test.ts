import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { linkFetch } from '../../../src/app/fetch-handler.js';
import { LazyRequest, unwrapRequest } from '../../../src/app/fetch-request.js';
import { requestUrl } from '../../../src/app/fetch-url.js';
import { FakeExchange, type FakeOptions } from './fixtures.js';

linkFetch();

function make(options: FakeOptions = {}): { request: Request; exchange: FakeExchange } {
  const exchange = new FakeExchange(options);
  return { request: new LazyRequest(exchange) as unknown as Request, exchange };
}

const post = (...body: string[]) => make({ method: 'POST', body });

test('the url, from target and Host', () => {
  const cases: [host: string | null, target: string, url: string][] = [
    ['example.test', '/', 'http://example.test/'],
    ['Example.TEST:8080', '/a/b?c=d&e=%20', 'http://example.test:8080/a/b?c=d&e=%20'],
    ['example.test:80', '/', 'http://example.test/'],
    ['127.0.0.1:8000', '/x', 'http://127.0.0.1:8000/x'],
    ['[::1]:8000', '/x', 'http://[::1]:8000/x'],
    ['[0:0::1]', '/x', 'http://[::1]/x'],
    [null, '/x', 'http://127.0.0.1:8000/x'],
    ['', '/x', 'http://127.0.0.1:8000/x'],
    ['a/b', '/x', 'http://127.0.0.1:8000/x'],
    ['user@host', '/x', 'http://127.0.0.1:8000/x'],
    ['a b', '/x', 'http://127.0.0.1:8000/x'],
    ['evil.test?', '/x', 'http://127.0.0.1:8000/x'],
    ['a:99999', '/x', 'http://127.0.0.1:8000/x'],
    ['a.test', '//b.test/x', 'http://a.test//b.test/x'],
    ['a.test', '/a/../b/./c', 'http://a.test/b/c'],
    ['a.test', '/a/%2e%2E/b', 'http://a.test/b'],
    ['a.test', '/..', 'http://a.test/'],
    ['a.test', '/.well-known/x', 'http://a.test/.well-known/x'],
    ['a.test', '/a"b<c>d`e{f}', 'http://a.test/a%22b%3Cc%3Ed%60e%7Bf%7D'],
    ['a.test', "/a'b?c'd", "http://a.test/a'b?c%27d"],
    ['a.test', '/a\\b', 'http://a.test/a/b'],
    ['a.test', '/caf\u00e9', 'http://a.test/caf%C3%A9'],
    ['a.test', '/x?', 'http://a.test/x?'],
    ['a.test', '/x?a?b/c/../d', 'http://a.test/x?a?b/c/../d'],
    ['a.test', '/a#b', 'http://a.test/a#b'],
    ['a.test', 'http://Other.test:80/p?q', 'http://other.test/p?q'],
    ['a.test', 'HTTPS://other.test', 'https://other.test/'],
    ['a.test', 'http://user:pw@other.test/', 'http://other.test/'],
    ['a.test', 'http://', 'http://a.test/'],
    ['a.test', 'ftp://other.test/', 'http://a.test/'],
    ['a.test', '*', 'http://a.test/'],
    ['a.test', 'other.test:443', 'http://a.test/'],
  ];
  for (const [host, target, url] of cases) {
    for (const round of ['first', 'remembered']) {
      assert.equal(
        requestUrl({ scheme: 'http', target, localAuthority: '127.0.0.1:8000' }, host),
        url,
        `${host} ${target} ${round}`,
      );
    }
    assert.equal(new URL(url).href, url);
  }
  assert.equal(requestUrl({ scheme: 'https', target: '/x', localAuthority: 'b' }, 'a.test:443'), 'https://a.test/x');
  assert.equal(requestUrl({ scheme: 'http', target: '/x', localAuthority: 'b' }, 'a.test:443'), 'http://a.test:443/x');
  assert.equal(
    requestUrl({ scheme: 'http', target: '/x', localAuthority: '/run/app.sock' }, null),
    'http://localhost/x',
  );
});

test('every plain target is as the URL parser would write it', () => {
  const plain = 'abcXYZ019-._~!$&()*+,;=:@%/?';
  let seed = 7;
  const random = (below: number) => {
    seed = (seed * 48271) % 2147483647;
    return seed % below;
  };
  for (let i = 0; i < 20_000; i++) {
    let target = '/';
    for (let n = random(12); n > 0; n--) target += plain[random(plain.length)];
    assert.equal(
      requestUrl({ scheme: 'http', target, localAuthority: 'b' }, 'a.test'),
      new URL(`http://a.test${target}`).href,
      target,
    );
  }
});

test('a handler that looks at nothing pays nothing', () => {
  const { request, exchange } = make();
  assert.ok(request instanceof Request);
  assert.equal(request.method, 'GET');
  assert.equal(request.bodyUsed, false);
  assert.equal(exchange.abortListeners, 0);
  assert.equal(request.constructor.name, 'Request');
});

test('headers', () => {
  const rawHeaders = ['Host', 'a.test', 'X-Two', '1', 'x-two', '2', 'Cookie', 'a=1', 'cookie', 'b=2', 'Empty', ''];
  const { request } = make({ rawHeaders });
  const { headers } = request;
  assert.ok(headers instanceof Headers);
  assert.equal(request.headers, headers);
  const check = () => {
    assert.equal(headers.get('x-TWO'), '1, 2');
    assert.equal(headers.get('cookie'), 'a=1; b=2');
    assert.equal(headers.get('empty'), '');
    assert.equal(headers.get('none'), null);
    assert.equal(headers.has('HOST'), true);
    assert.equal(headers.has('none'), false);
    assert.throws(() => headers.get('bad name'), TypeError);
  };
  check();
  assert.deepEqual([...headers.keys()], ['cookie', 'empty', 'host', 'x-two']);
  check();
  headers.set('x-new', 'n');
  headers.delete('empty');
  assert.equal(headers.get('x-new'), 'n');
  assert.deepEqual([...new Headers(headers as never)], [...headers]);
  const seen: string[] = [];
  headers.forEach((value, name) => {
    seen.push(`${name}=${value}`);
  });
  assert.equal(seen.length, 4);
  // The real Request shares them, both ways.
  const copy = request.clone();
  assert.equal(copy.headers.get('x-new'), 'n');
  headers.set('x-later', '1');
  assert.equal(request.clone().headers.get('x-later'), '1');
  assert.equal(request.headers, headers);
});

test('bodies read directly', async () => {
  assert.equal(await post('h\u00e9', 'llo').request.text(), 'h\u00e9llo');
  assert.equal(await post('\ufeffbom').request.text(), 'bom');
  assert.deepEqual(await post('{"a"', ':1}').request.json(), { a: 1 });
  await assert.rejects(post('{').request.json(), SyntaxError);
  await assert.rejects(post('').request.json(), SyntaxError);
  const buffer = await post('abc').request.arrayBuffer();
  assert.ok(buffer instanceof ArrayBuffer);
  assert.equal(buffer.byteLength, 3);

  const { request } = post('x');
  const reading = request.text();
  assert.equal(request.bodyUsed, true);
  await assert.rejects(request.text(), TypeError);
  await assert.rejects(request.blob(), TypeError);
  assert.throws(() => request.clone(), TypeError);
  assert.equal(await reading, 'x');
  assert.equal(request.bodyUsed, true);
});

test('characters split over pieces', async () => {
  const bytes = Buffer.from('a\u{1f600}b\u00e9');
  for (let i = 1; i < bytes.length; i++) {
    const body = Readable.from([bytes.subarray(0, i), bytes.subarray(i)], { objectMode: false });
    assert.equal(await make({ method: 'POST', body }).request.text(), 'a\u{1f600}b\u00e9');
  }
});

test('bodies through the real Request', async () => {
  const reader = post('a', 'b').request.body?.getReader();
  assert.ok(reader);
  let text = '';
  for (let step = await reader.read(); !step.done; step = await reader.read()) text += Buffer.from(step.value);
  assert.equal(text, 'ab');

  const blob = await post('blob').request.blob();
  assert.equal(await blob.text(), 'blob');

  const form = make({
    method: 'POST',
    rawHeaders: ['Host', 'a', 'Content-Type', 'application/x-www-form-urlencoded'],
    body: ['a=1&', 'b=2'],
  });
  assert.equal((await form.request.formData()).get('b'), '2');

  const { request } = post('both');
  const copy = request.clone();
  assert.equal(await copy.text(), 'both');
  assert.equal(await request.text(), 'both');
  assert.equal(request.bodyUsed, true);
  await assert.rejects(request.json(), TypeError);

  const touched = post('body after body').request;
  assert.notEqual(touched.body, null);
  assert.equal(await touched.text(), 'body after body');
});

test('no body', async () => {
  for (const { request } of [make(), make({ method: 'POST' }), make({ method: 'GET', body: ['ignored'] })]) {
    assert.equal(request.body, null);
    assert.equal(await request.text(), '');
    assert.equal(await request.text(), '');
    assert.equal(request.bodyUsed, false);
  }
  const { request } = make({ method: 'DELETE' });
  assert.equal((await request.arrayBuffer()).byteLength, 0);
  await assert.rejects(make().request.json(), SyntaxError);
});

test('the signal', () => {
  const { request, exchange } = make();
  assert.equal(request.signal, request.signal);
  assert.equal(exchange.abortListeners, 1);
  assert.equal(request.signal.aborted, false);
  const copy = request.clone();
  exchange.abort(new Error('gone'));
  assert.equal(request.signal.aborted, true);
  assert.equal(request.signal.reason.name, 'AbortError');
  assert.equal(request.signal.reason.message, 'gone');
  assert.equal(copy.signal.aborted, true);

  const late = make();
  late.exchange.abort();
  assert.equal(late.request.signal.aborted, true);

  const timed = make();
  const { signal } = timed.request;
  const reason = new DOMException('too long', 'TimeoutError');
  timed.exchange.abort(reason);
  assert.equal(signal.reason, reason);
});

test('a client that leaves in the middle of the body', async () => {
  const stream = new Readable({ read() {} });
  const { request } = make({ method: 'POST', body: stream });
  const text = request.text();
  stream.push('half');
  stream.destroy();
  await assert.rejects(text, { name: 'AbortError' });

  const broken = new Readable({ read() {} });
  const json = make({ method: 'POST', body: broken }).request.json();
  broken.destroy(new Error('aborted'));
  await assert.rejects(json, /aborted/);

  const before = new Readable({ read() {} });
  before.destroy();
  await assert.rejects(make({ method: 'POST', body: before }).request.text(), { name: 'AbortError' });
});

test('a streamed body has backpressure', async () => {
  let made = 0;
  const source = new Readable({
    read() {
      if (made < 100) {
        made++;
        this.push(Buffer.alloc(64 * 1024));
      } else {
        this.push(null);
      }
    },
  });
  const reader = make({ method: 'POST', body: source }).request.body!.getReader();
  await reader.read();
  await new Promise(setImmediate);
  assert.ok(made < 10, `${made} pieces were read ahead`);
  await reader.cancel();
  // What is left is the engine's, and the response can still be given.
  assert.equal(source.destroyed, false);
  assert.equal(source.isPaused(), true);
});

test('the rest of the interface, and being passed on', async () => {
  const { request } = make({ target: '/p', rawHeaders: ['Host', 'a.test', 'X-A', '1'] });
  assert.equal(request.redirect, 'follow');
  assert.equal(request.mode, 'cors');
  assert.equal(request.duplex, 'half');
  const next = new Request('http://other.test/', request as unknown as RequestInit);
  assert.equal(next.headers.get('x-a'), '1');
  const twin = new Request(unwrapRequest(request) as Request);
  assert.equal(twin.url, 'http://a.test/p');
  assert.equal(request.bodyUsed, false);
  const upload = make({ method: 'POST', body: ['up', 'load'] });
  const sent = unwrapRequest(upload.request) as Request;
  upload.exchange.abort();
  assert.equal(sent.signal.aborted, true);
  assert.equal(await sent.text(), 'upload');
  assert.equal(upload.request.bodyUsed, true);
  assert.equal(unwrapRequest('text'), 'text');
  assert.equal(unwrapRequest(null), null);
});
