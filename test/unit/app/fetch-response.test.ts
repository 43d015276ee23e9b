/** FastResponse against the platform's Response: the same arguments must give the same object, or the same error. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { linkFetch } from '../../../src/app/fetch-handler.js';
import { platform } from '../../../src/app/fetch-platform.js';
import { FastResponse } from '../../../src/app/fetch-response.js';

linkFetch();
const NativeResponse = platform().Response;

const Fast = FastResponse as unknown as typeof Response;

type Thunk = () => unknown;

function streamOf(...pieces: string[]): ReadableStream {
  return new ReadableStream({
    start(controller) {
      for (const piece of pieces) controller.enqueue(new TextEncoder().encode(piece));
      controller.close();
    },
  });
}

function lockedStream(): ReadableStream {
  const stream = streamOf('x');
  stream.getReader();
  return stream;
}

async function disturbed(): Promise<ReadableStream> {
  const stream = streamOf('x', 'y');
  const reader = stream.getReader();
  await reader.read();
  reader.releaseLock();
  return stream;
}

class OddHeaders {
  'x-own' = 'yes';
  get inherited() {
    return 'no';
  }
}

/** Made anew for each use: streams can be read once. */
const bodies: Record<string, Thunk> = {
  nothing: () => undefined,
  null: () => null,
  empty: () => '',
  text: () => 'hello',
  unicode: () => 'h\u00e9llo \u{1f600}',
  surrogate: () => 'a\ud800b',
  bom: () => '\ufeffbom',
  json: () => '{"a":[1,2,{"b":null}]}',
  number: () => 42,
  boolean: () => false,
  symbol: () => Symbol('s'),
  object: () => ({}),
  date: () => new Date(0),
  bytes: () => new Uint8Array([104, 105, 0xff]),
  'no bytes': () => new Uint8Array(0),
  buffer: () => Buffer.from('buffer'),
  'part of a buffer': () => Buffer.from('0123456789').subarray(3, 6),
  'array buffer': () => new Uint8Array([1, 2, 3]).buffer,
  'data view': () => new DataView(new Uint8Array([65, 66, 67, 68]).buffer, 1, 2),
  'float array': () => new Float64Array([1.5]),
  shared: () => new SharedArrayBuffer(4),
  params: () => new URLSearchParams({ a: '1 2', b: '\u00e9' }),
  blob: () => new Blob(['blob'], { type: 'text/x-blob' }),
  'blob without type': () => new Blob(['blob']),
  stream: () => streamOf('str', 'eam'),
  'locked stream': lockedStream,
  'async iterable': () =>
    (async function* () {
      yield new TextEncoder().encode('iterated');
    })(),
};

const inits: Record<string, Thunk> = {
  nothing: () => undefined,
  null: () => null,
  empty: () => ({}),
  number: () => 5,
  text: () => 'init',
  array: () => [],
  ...Object.fromEntries(
    [200, 201, 199, 204, 205, 304, 101, 404, 599, 600, 0, -1, 65736, 200.5, Number.NaN, '201', 'x', null, true, {}].map(
      (status) => [`status ${typeof status} ${String(status)}`, () => ({ status })],
    ),
  ),
  'status undefined': () => ({ status: undefined }),
  'status bigint': () => ({ status: 200n }),
  ...Object.fromEntries(
    ['OK', '', 'Not\tFound', 'caf\u00e9', 'a\nb', 'a\rb', '\u0100', '\x00', '\x7f', 5, null, undefined].map(
      (statusText) => [`statusText ${JSON.stringify(statusText)}`, () => ({ statusText })],
    ),
  ),
  ...Object.fromEntries(
    (
      [
        {},
        { a: 'b' },
        { 'X-Upper': 'V' },
        { 'Content-Type': 'text/html' },
        { 'content-type': '' },
        { 'Set-Cookie': 'a=1' },
        { 'set-cookie': 'a=1', 'Set-Cookie': 'b=2' },
        { a: '1', A: '2', b: '3' },
        { a: 1 },
        { a: null },
        { a: undefined },
        { a: ['x', 'y'] },
        { a: ' padded\t' },
        { a: '\n folded \r\n' },
        { a: '' },
        { a: 'x\ny' },
        { a: 'x\0y' },
        { a: 'x\x01y' },
        { a: 'caf\u00e9' },
        { a: '\u0100' },
        { 'bad name': 'x' },
        { 'n\u00e4me': 'x' },
        { '': 'x' },
        { 'content-length': '5', connection: 'close' },
        { __proto__: { inherited: 'x' }, own: 'y' },
        Object.create(null),
        { [Symbol('s')]: 'x' },
        { toString: 'x' },
        [],
        [['a', 'b']],
        [
          ['set-cookie', 'a=1'],
          ['set-cookie', 'b=2'],
        ],
        [['a']],
        [['a', 'b', 'c']],
        ['ab'],
        new Map([['a', 'b']]),
        new Headers({ a: 'b', 'content-type': 'x/y' }),
        new Headers([
          ['set-cookie', 'a=1'],
          ['set-cookie', 'b=2'],
        ]),
        new OddHeaders(),
        new Proxy({ a: 'b' }, {}),
        null,
        5,
        'text',
        () => {},
      ] as unknown[]
    ).map((headers, i) => [`headers ${i}`, () => ({ headers })]),
  ),
  'two errors: headers and status': () => ({ headers: { 'bad name': 'x' }, status: 1 }),
  'two errors: header conversion and status': () => ({ headers: { a: Symbol('s') }, status: 1 }),
  'all three': () => ({ status: 418, statusText: 'Teapot', headers: { tea: 'pot' } }),
  'a response': () => new NativeResponse('x', { status: 202, headers: { a: 'b' } }),
  'a fast response': () => new Fast('x', { status: 202, statusText: 'S', headers: { a: 'b' } }),
};

/** A value, or the kind of error that making it throws. */
async function outcome(make: () => unknown): Promise<unknown> {
  try {
    return await make();
  } catch (err) {
    return `throws ${(err as Error).name}`;
  }
}

function surface(response: Response) {
  return {
    status: response.status,
    statusText: response.statusText,
    ok: response.ok,
    type: response.type,
    url: response.url,
    redirected: response.redirected,
    headers: [...response.headers],
    cookies: response.headers.getSetCookie(),
    bodyUsed: response.bodyUsed,
  };
}

/** Everything that a use of the response shows. */
type Use = (response: Response) => unknown;
const uses: Record<string, Use> = {
  surface,
  text: async (r) => [await r.text(), r.bodyUsed, await outcome(() => r.text()), surface(r)],
  json: async (r) => [await outcome(() => r.json()), r.bodyUsed],
  arrayBuffer: async (r) => [Buffer.from(await r.arrayBuffer()).toString('hex'), r.bodyUsed],
  blob: async (r) => {
    const blob = await r.blob();
    return [blob.type, await blob.text(), r.bodyUsed, await outcome(() => r.arrayBuffer())];
  },
  formData: async (r) => [await outcome(async () => [...((await r.formData()) as unknown as Iterable<unknown>)])],
  body: async (r) => {
    const body = r.body;
    if (body === null) return null;
    const reader = body.getReader();
    const chunks: Uint8Array[] = [];
    for (let step = await reader.read(); !step.done; step = await reader.read()) chunks.push(step.value);
    return [Buffer.concat(chunks).toString('hex'), r.bodyUsed, r.body === body, await outcome(() => r.text())];
  },
  clone: async (r) => {
    r.headers.append('x-before', '1');
    const copy = r.clone();
    copy.headers.append('x-after', '1');
    return [
      surface(r),
      surface(copy),
      await copy.text(),
      r.bodyUsed,
      await r.text(),
      await outcome(() => surface(r.clone())),
    ];
  },
  'text, then body': async (r) => {
    await r.text();
    const body = r.body;
    return [body === null, await outcome(() => r.blob()), await outcome(() => surface(r.clone()))];
  },
  'headers change': async (r) => {
    r.headers.set('Content-Type', 'a/b');
    r.headers.append('set-cookie', 'x=1');
    r.headers.append('set-cookie', 'y=2');
    r.headers.delete('a');
    return [
      surface(r),
      await r.text(),
      (
        await r
          .clone()
          .blob()
          .catch((err: Error) => ({ type: err.name }))
      ).type,
    ];
  },
  'passed on': async (r) => {
    const next = new NativeResponse(r.status === 204 ? null : r.body, r);
    return [surface(next), await next.text()];
  },
};

async function compare(label: string, make: (Class: typeof Response) => unknown, use: Use): Promise<void> {
  const run = (Class: typeof Response) => outcome(async () => use((await make(Class)) as Response));
  assert.deepEqual(await run(Fast), await run(NativeResponse as typeof Response), label);
}

test('constructor: every body with every init', async () => {
  let compared = 0;
  for (const [bodyName, body] of Object.entries(bodies)) {
    for (const [initName, init] of Object.entries(inits)) {
      await compare(`${bodyName}, ${initName}`, (C) => new C(body() as string, init() as ResponseInit), surface);
      compared++;
    }
  }
  assert.ok(compared > 2000, `${compared}`);
});

test('reading, cloning and changing: every use of every body', async () => {
  const some = ['nothing', 'status number 201', 'status number 204', 'headers 3', 'headers 36', 'all three'];
  for (const [bodyName, body] of Object.entries(bodies)) {
    for (const initName of some) {
      for (const [useName, use] of Object.entries(uses)) {
        const label = `${useName} of ${bodyName}, ${initName}`;
        await compare(label, (C) => new C(body() as string, inits[initName]() as ResponseInit), use);
      }
    }
  }
});

test('disturbed streams are refused', async () => {
  await compare('disturbed', async (C) => new C(await disturbed()), surface);
});

test('a form survives', async () => {
  const form = new FormData();
  form.set('field', 'value');
  const back = await new Fast(form).formData();
  assert.equal(back.get('field'), 'value');
  assert.match(new Fast(form).headers.get('content-type') ?? '', /^multipart\/form-data; boundary=/);
});

test('Response.json, redirect and error', async () => {
  const values: Thunk[] = [() => ({ a: 1 }), () => null, () => undefined, () => () => {}, () => 1n, () => '\ud800'];
  for (const value of values) {
    for (const [name, init] of Object.entries(inits)) {
      // undici throws for json(value, null), which WebIDL allows.
      if (init() === null) continue;
      const make = (C: typeof Response) => C.json(value() as object, init() as ResponseInit);
      for (const use of ['surface', 'text', 'clone']) await compare(`json ${name} ${use}`, make, uses[use]);
    }
  }
  for (const url of ['http://a.test/x y', '/relative', '', 'HTTP://A.test', new URL('http://b.test'), null, 5]) {
    for (const status of [undefined, 301, 302, 303, 307, 308, 200, 304, 0, '301', null]) {
      const make = (C: typeof Response) => C.redirect(url as string, status as 302);
      const set: Use = (r) => outcome(() => r.headers.set('a', 'b'));
      for (const use of [uses.surface, uses.text, set]) await compare(`redirect ${url} ${status}`, make, use);
    }
  }
  await compare('error', (C) => C.error(), surface);
});

test('instanceof, both ways and with subclasses', () => {
  class Mine extends Fast {
    extra = 1;
  }
  const mine = new Mine('x', { status: 201 });
  assert.ok(new Fast() instanceof Fast);
  assert.ok(new Fast() instanceof NativeResponse);
  assert.ok(new NativeResponse() instanceof Fast);
  assert.ok(mine instanceof Mine && mine instanceof Fast && mine instanceof NativeResponse);
  assert.ok(!(new Fast() instanceof Mine));
  assert.ok(!(new NativeResponse() instanceof Mine));
  assert.ok(!({} instanceof Fast) && !((null as unknown) instanceof Fast));
  assert.equal(mine.extra + mine.status, 202);
  assert.equal(new Fast().constructor, Fast);
  assert.equal(Fast.name, 'Response');
  assert.equal(Object.prototype.toString.call(new Fast()), '[object Response]');
  assert.throws(() => (Fast as unknown as () => unknown)(), TypeError);
});

test('a buffer may be reused once the response is made', async () => {
  for (const buffer of [Buffer.from('first'), new Uint8Array(Buffer.from('first'))]) {
    const response = new Fast(buffer);
    buffer.fill(0);
    assert.equal(await response.text(), 'first');
  }
});

// Newer platforms keep the state in private fields, which nobody can lend.
const symbols = Object.getOwnPropertySymbols(new NativeResponse()).length > 0;

test("the platform's own functions take it", { skip: !symbols }, async () => {
  const native = NativeResponse.prototype;
  const response = new Fast('body', { status: 201, headers: { a: 'b' } });
  const copy = native.clone.call(response);
  assert.equal(copy.status, 201);
  assert.equal(copy.headers.get('a'), 'b');
  assert.equal(await copy.text(), 'body');
});
