import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type FetchFunction, fetchApp, installGlobals } from '../../../src/app/fetch-handler.js';
import { platform } from '../../../src/app/fetch-platform.js';
import { LazyRequest } from '../../../src/app/fetch-request.js';
import { FastResponse } from '../../../src/app/fetch-response.js';
import { FakeExchange, type FakeOptions } from './fixtures.js';

installGlobals();
const NativeResponse = platform().Response;

/** Dispatches without waiting. */
function dispatch(fn: FetchFunction, options: FakeOptions = {}): FakeExchange {
  const exchange = new FakeExchange(options);
  fetchApp(fn, 'test').dispatch(exchange);
  return exchange;
}

/** Dispatches and waits for the end. */
async function respond(fn: FetchFunction, options: FakeOptions = {}): Promise<FakeExchange> {
  const exchange = dispatch(fn, options);
  await exchange.done;
  return exchange;
}

const bytes = (text: string) => new TextEncoder().encode(text);

/** A stream that has all of its text from the start. */
function whole(text: string): ReadableStream {
  return new ReadableStream({
    start(controller) {
      controller.enqueue(bytes(text));
      controller.close();
    },
  });
}

test('installGlobals: Response is ours, once', () => {
  installGlobals();
  assert.equal(globalThis.Response as unknown, FastResponse);
  assert.ok(new NativeResponse() instanceof Response);
  const request = new Request('http://a.test/', { method: 'POST', body: 'x' });
  assert.ok(request instanceof Request);
  assert.equal(new Request(request, { headers: { a: 'b' } }).headers.get('a'), 'b');
});

test('requests and their headers have the constructors that the app finds under the names', () => {
  const [own, native] = [new LazyRequest(new FakeExchange()) as unknown as Request, new Request('http://a.test/')];
  for (const request of [own, native, own.clone(), new Request(own)]) {
    assert.equal(request.constructor, Request);
    assert.equal(request.headers.constructor, Headers);
  }
  const Made = own.constructor as typeof Request;
  assert.equal(new Made('http://b.test/x').url, 'http://b.test/x');
});

test('a request that is passed on with another body keeps its own', async () => {
  const exchange = new FakeExchange({ method: 'POST', body: ['own'], rawHeaders: ['X-A', '1'] });
  const request = new LazyRequest(exchange) as unknown as Request;
  const other = new Request(request, { body: 'other' });
  assert.equal(`${other.method} ${other.url} ${other.headers.get('x-a')}`, `POST ${request.url} 1`);
  assert.equal(await other.text(), 'other');
  assert.equal(await request.text(), 'own');
  const signal = new Request(request, { body: 'other' }).signal;
  exchange.abort();
  assert.equal(signal.aborted, true);
});

test('a synchronous handler is answered in the same call', () => {
  const hello = dispatch(() => new Response('hello'));
  assert.equal(hello.ended, true);
  assert.equal(hello.status, 200);
  assert.deepEqual(hello.headers, ['content-type', 'text/plain;charset=UTF-8']);
  assert.equal(hello.sent, 'hello');
  assert.equal(hello.abortListeners, 0);

  const full = dispatch(
    () =>
      new Response(bytes('raw'), { status: 418, statusText: 'Teapot', headers: { 'X-A': '1', Connection: 'close' } }),
  );
  assert.equal(full.ended, true);
  assert.equal(`${full.status} ${full.statusText} ${full.text}`, '418 Teapot raw');
  assert.deepEqual(full.headers, ['x-a', '1', 'connection', 'close']);

  assert.equal(dispatch(() => new Response(null, { status: 204 })).sent, null);
  assert.deepEqual(dispatch(() => Response.redirect('http://a.test/x', 302)).headers, ['location', 'http://a.test/x']);
  assert.equal(dispatch(() => Response.json({ a: 1 })).sent, '{"a":1}');
});

test('the request is handed over', async () => {
  const echo = await respond(
    async (request) => Response.json({ url: request.url, method: request.method, body: await request.json() }),
    { method: 'POST', target: '/p?q', body: ['[1,', '2]'] },
  );
  assert.deepEqual(JSON.parse(echo.text), { url: 'http://example.test/p?q', method: 'POST', body: [1, 2] });
  const clone = await respond(async (request) => new Response(await new Request(request, {}).text()), {
    method: 'PUT',
    body: ['x', 'y'],
  });
  assert.equal(clone.text, 'xy');
});

test('what a handler must not do', async () => {
  const used = new Response('x');
  await used.text();
  const locked = new Response(new ReadableStream());
  locked.body?.getReader();
  const control = new Response('x', { headers: { a: 'b\x01c' } });
  const cases: [string, FetchFunction, RegExp][] = [
    ['undefined', () => undefined, /returned undefined, not a Response/],
    ['null', async () => null, /returned null/],
    ['a string', () => 'hello', /returned hello/],
    ['an object', () => ({ status: 200 }), /returned \[object Object\]/],
    [
      'throws',
      () => {
        throw new Error('thrown');
      },
      /thrown/,
    ],
    [
      'rejects',
      async () => {
        throw new Error('rejected');
      },
      /rejected/,
    ],
    ['read before', () => used, /already been read/],
    ['locked', () => locked, /locked/],
    ['Response.error()', () => Response.error(), /status 0/],
    ['a control character', () => control, /Header "a" cannot be sent/],
  ];
  for (const [name, fn, message] of cases) {
    const exchange = await respond(fn);
    assert.equal(exchange.status, 0, name);
    assert.match(String(exchange.failure), message, name);
  }
  assert.notEqual((await respond(() => Promise.reject())).failure, undefined);
});

test('several Set-Cookie headers, however they are given', async () => {
  const cookies = ['a=1; Path=/', 'b=2'];
  const make: FetchFunction[] = [
    () => {
      const headers = new Headers();
      for (const cookie of cookies) headers.append('Set-Cookie', cookie);
      return new Response('x', { headers });
    },
    () => new Response('x', { headers: cookies.map((cookie) => ['Set-Cookie', cookie]) as never }),
    () => {
      const response = new Response('x', { headers: { 'set-cookie': cookies[0] } });
      response.headers.append('set-cookie', cookies[1]);
      return response;
    },
    () =>
      new Response(new Response('x', { headers: cookies.map((c) => ['Set-Cookie', c]) as never }).body, {
        headers: cookies.map((c) => ['Set-Cookie', c]) as never,
      }),
  ];
  for (const fn of make) assert.deepEqual((await respond(fn)).header('set-cookie'), cookies);
});

test('framing headers are not passed on; Content-Length becomes the length of a stream', async () => {
  const headers = {
    'Transfer-Encoding': 'chunked',
    'Keep-Alive': 'timeout=5',
    Connection: 'keep-alive',
    Trailer: 'x',
  };
  const text = await respond(() => new Response('four', { headers: { ...headers, 'Content-Length': '99', a: 'b' } }));
  assert.deepEqual(text.headers, ['a', 'b', 'content-type', 'text/plain;charset=UTF-8']);
  assert.equal(text.sent, 'four');

  const stream = () => whole('four');
  const known = await respond(() => new Response(stream(), { headers: { ...headers, 'Content-Length': '4' } }));
  assert.deepEqual([known.headers, known.length, known.text], [[], 4, 'four']);
  const encoded = await respond(
    () => new Response(stream(), { headers: { 'Content-Length': '2', 'Content-Encoding': 'gzip' } }),
  );
  assert.equal(encoded.length, null);
  const tooLong = await respond(() => new Response(whole('four'), { headers: { 'Content-Length': '3' } }));
  assert.match(String(tooLong.failure), /longer than its Content-Length of 3/);
});

test('HEAD', async () => {
  const text = await respond(() => new Response('body'), { method: 'HEAD' });
  assert.equal(text.sent, 'body');
  const known = await respond(() => new Response(null, { headers: { 'content-length': '7' } }), { method: 'HEAD' });
  assert.deepEqual([known.length, known.chunks.length, known.ended], [7, 0, true]);
  let cancelled = false;
  const body = new ReadableStream({ cancel: () => void (cancelled = true) });
  const stream = await respond(() => new Response(body), { method: 'HEAD' });
  assert.deepEqual([stream.status, stream.chunks.length, stream.ended, cancelled], [200, 0, true, true]);
});

test('bodies of every kind', async () => {
  const form = new FormData();
  form.set('a', 'b');
  const cases: [string, () => unknown, RegExp, RegExp][] = [
    ['params', () => new URLSearchParams({ a: 'b' }), /^a=b$/, /^application\/x-www-form-urlencoded/],
    ['blob', () => new Blob(['blob'], { type: 'x/y' }), /^blob$/, /^x\/y$/],
    ['form', () => form, /name="a"\r\n\r\nb\r\n/, /^multipart\/form-data; boundary=/],
    ['buffer', () => bytes('abc').buffer, /^abc$/, /^$/],
    ['nothing', () => undefined, /^$/, /^$/],
    [
      'async iterable',
      async function* () {
        yield bytes('it');
      },
      /^it$/,
      /^$/,
    ],
  ];
  for (const [name, body, text, type] of cases) {
    for (const Class of [Response, NativeResponse]) {
      const value = body();
      const exchange = await respond(() => new (Class as typeof Response)(value as string));
      assert.equal(exchange.failure, undefined, name);
      assert.match(exchange.text, text, name);
      assert.match(exchange.header('content-type')[0] ?? '', type, name);
    }
  }
});

test("the platform's Response, and one of another fetch", async () => {
  const native = await respond(() => new NativeResponse('native', { status: 201, headers: { a: 'b' } }));
  assert.deepEqual([native.status, native.text, native.header('a')], [201, 'native', ['b']]);
  // Complete before the turn's end: sent whole, with its length.
  assert.notEqual(native.sent, undefined);
  const foreign = { status: 202, statusText: '', headers: new Map([['a', 'b']]), body: null, bodyUsed: false };
  const other = await respond(() => foreign);
  assert.deepEqual([other.status, other.headers], [202, ['a', 'b']]);
});

test('a stream: the head goes first, chunks as they come, the next is pulled when the last is taken', async () => {
  let controller!: ReadableStreamDefaultController;
  const body = new ReadableStream({ start: (c) => void (controller = c) });
  const exchange = dispatch(
    () => new Response(body, { status: 201, headers: { 'content-type': 'text/event-stream' } }),
  );
  assert.equal(exchange.status, 0);
  await exchange.until(() => exchange.status === 201);
  assert.equal(exchange.length, null);
  controller.enqueue(bytes('one'));
  await exchange.until(() => exchange.chunks.length === 1);
  controller.enqueue(bytes(''));
  controller.enqueue(bytes('two'));
  await exchange.until(() => exchange.chunks.length === 2);
  controller.close();
  await exchange.done;
  assert.deepEqual([exchange.text, exchange.sent, exchange.failure], ['onetwo', undefined, undefined]);
});

test('a stream that is complete at once is sent whole', async () => {
  const one = await respond(() => new Response(whole('one')));
  assert.equal(Buffer.from(one.sent as Uint8Array).toString(), 'one');
  const none = await respond(() => new Response(new ReadableStream({ start: (c) => c.close() })));
  assert.equal(none.sent, null);
});

test('backpressure: nothing is pulled while the exchange takes nothing', async () => {
  let pulled = 0;
  const body = new ReadableStream(
    {
      pull(c) {
        if (pulled === 50) return c.close();
        c.enqueue(new Uint8Array(1000).fill(pulled++));
      },
    },
    { highWaterMark: 0 },
  );
  const exchange = dispatch(() => new Response(body), { blockAfter: 2 });
  for (let taken = 2; taken <= 50; taken += 3) {
    await exchange.until(() => exchange.waitsForDrain);
    // What was taken, and at most the one that is held back.
    assert.ok(pulled <= exchange.chunks.length + 1, `${pulled} pulled, ${exchange.chunks.length} taken`);
    exchange.drain(3);
  }
  await exchange.done;
  assert.equal(exchange.failure, undefined);
  assert.equal(exchange.chunks.length, 50);
  exchange.chunks.forEach((chunk, i) => {
    assert.equal(chunk[0], i);
  });
});

test('the client leaves: the stream is cancelled, nothing more is sent', async () => {
  for (const when of ['while waiting for a chunk', 'while blocked', 'before the head']) {
    const cancelled = deferred<unknown>();
    const body = new ReadableStream({
      start: (c) => c.enqueue(bytes('a')),
      pull: (c) => (when === 'while blocked' ? c.enqueue(bytes('b')) : undefined),
      cancel: (reason) => cancelled.resolve(reason),
    });
    const exchange = dispatch(() => new Response(body), { blockAfter: 2 });
    if (when === 'while blocked') await exchange.until(() => exchange.waitsForDrain);
    if (when === 'while waiting for a chunk') await exchange.until(() => exchange.chunks.length === 1);
    const reason = new Error('left');
    exchange.abort(reason);
    assert.equal(await cancelled.promise, reason, when);
    await new Promise(setImmediate);
    assert.equal(exchange.ended, false, when);
    assert.equal(exchange.failure, undefined, when);
  }
});

test('the client left while the handler was at work', async () => {
  const cancelled = deferred<unknown>();
  const answer = deferred<Response>();
  const exchange = dispatch(() => answer.promise);
  exchange.abort();
  answer.resolve(new Response(new ReadableStream({ cancel: () => cancelled.resolve(null) })));
  await cancelled.promise;
  assert.equal(exchange.status, 0);
});

test('a stream that fails: 500 in the first pull, a broken connection later', async () => {
  const early = await respond(() => new Response(new ReadableStream({ start: (c) => c.error(new Error('early')) })));
  assert.match(String(early.failure), /early/);
  assert.equal(early.status, 0);

  let controller!: ReadableStreamDefaultController;
  const late = dispatch(() => new Response(new ReadableStream({ start: (c) => void (controller = c) })));
  controller.enqueue(bytes('a'));
  await late.until(() => late.chunks.length === 1);
  controller.error(new Error('late'));
  await late.done;
  assert.match(String(late.failure), /late/);

  const cancelled = deferred<unknown>();
  const number = await respond(
    () =>
      new Response(
        new ReadableStream<number>({
          start: (c) => c.enqueue(1),
          cancel: (why) => cancelled.resolve(why),
        }) as never,
      ),
  );
  assert.match(String(number.failure), /chunks must be Uint8Array/);
  assert.match(String(await cancelled.promise), /chunks must be Uint8Array/);
});

function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
