/**
 * What a fetch handler does not look at is not made: the platform's classes are counted from before the modules are loaded, so
 * that nothing can keep an uncounted one.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeExchange } from './fixtures.js';

const COUNTED = ['Headers', 'Request', 'Response', 'URL', 'AbortController', 'ReadableStream', 'Blob'] as const;
const made = new Map<string, number>();
for (const name of COUNTED) {
  const counted = new Proxy(globalThis[name] as new () => object, {
    construct(target, args, newTarget) {
      made.set(name, (made.get(name) ?? 0) + 1);
      return Reflect.construct(target, args, newTarget);
    },
  });
  Object.defineProperty(globalThis, name, { value: counted, configurable: true, writable: true });
}
const { fetchApp, installGlobals } = await import('../../../src/app/fetch-handler.js');
installGlobals();

/** What of the platform a handler's request made, and whether Node's stream or the signal was touched. */
async function cost(fn: (request: Request) => unknown, method = 'GET'): Promise<Record<string, number>> {
  const app = fetchApp(fn, 'test');
  let touched = 0;
  class Watched extends FakeExchange {
    override get req() {
      touched++;
      return super.req;
    }
  }
  for (let i = 0; i < 2; i++) {
    // The second time: what is made once for all (an origin that is remembered) does not count.
    made.clear();
    touched = 0;
    const exchange = new Watched({ method, body: method === 'POST' ? ['{}'] : undefined });
    app.dispatch(exchange);
    await exchange.done;
    assert.equal(exchange.failure, undefined);
    if (exchange.abortListeners > 0) made.set('onAbort', exchange.abortListeners);
  }
  if (touched > 0) made.set('req', 1);
  return Object.fromEntries(made);
}

test('a handler that looks at nothing pays for nothing', async () => {
  assert.deepEqual(await cost(() => new Response('hello')), {});
  assert.deepEqual(await cost(() => new Response('hello'), 'POST'), {});
  assert.deepEqual(await cost(async () => new Response('hello')), {});
  assert.deepEqual(await cost(() => new Response(new Uint8Array(3), { status: 201, headers: { 'x-a': '1' } })), {});
  assert.deepEqual(await cost(() => Response.json({ a: 1 })), {});
});

test('a handler pays for what it looks at', async () => {
  const method = (request: Request) => new Response(request.method + request.bodyUsed);
  assert.deepEqual(await cost(method), {});
  const url = (request: Request) => new Response(request.url);
  assert.deepEqual(await cost(url), {});
  const header = (request: Request) => new Response(request.headers.get('host') + String(request.headers.has('x')));
  assert.deepEqual(await cost(header), {});
  const iterate = (request: Request) => new Response(String([...request.headers].length));
  assert.deepEqual(await cost(iterate), { Headers: 1 });
  const signal = (request: Request) => new Response(String(request.signal.aborted));
  assert.deepEqual(await cost(signal), { AbortController: 1, onAbort: 1 });
  const json = async (request: Request) => Response.json(await request.json());
  assert.deepEqual(await cost(json, 'POST'), { req: 1 });
  const body = async (request: Request) => {
    for await (const _chunk of request.body as unknown as AsyncIterable<Uint8Array>);
    return new Response('read');
  };
  const whole = await cost(body, 'POST');
  assert.deepEqual([whole.Request, whole.ReadableStream, whole.req], [1, 1, 1]);
});
