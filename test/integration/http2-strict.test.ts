/** HTTP/2 by clients that mean no good: what HTTP/1.1 would say otherwise is refused, and nobody stays for longer than the deadlines. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { connect } from 'node:tls';
import { askJson } from '../support/ask.js';
import {
  block,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  type Fields,
  frame,
  GOAWAY,
  H2Client,
  HEADERS,
  headers,
  PING,
  RST_STREAM,
  request,
  reset,
  WINDOW_UPDATE,
} from '../support/h2-client.js';
import { HttpServer } from '../support/http-server.js';
import { settled, until } from '../support/poll.js';
import { fdCount } from '../support/proc.js';
import { askTls, CERT_ARGS } from '../support/tls.js';

const PROTOCOL_ERROR = 1;
const REFUSED_STREAM = 7;
const CANCEL = 8;

const DEADLINES = ['--keep-alive', '1', '--header-timeout', '3', '--send-timeout', '1', '--body-timeout', '1'];

const start = (...args: string[]) =>
  HttpServer.start('http2-strict.mjs', [...CERT_ARGS, '--http-protocols', 'h2,h1', '--threads', '2', ...args]);

/** [fields, status, or the code by which the stream is reset; both: later nghttp2 resets by itself what is answered otherwise] */
const CASES: Record<string, [Fields, { status?: number; reset?: number }]> = {
  'an ordinary one': [request(), { status: 200 }],
  'a method in lower case': [request({ ':method': 'get' }), { status: 501 }],
  'a method in capitals that nobody knows': [request({ ':method': 'FOO' }), { status: 501 }],
  'a path that is an absolute URL': [request({ ':scheme': 'ftp', ':path': 'http://evil/' }), { status: 400 }],
  'a path without its slash': [request({ ':scheme': 'ftp', ':path': 'x' }), { status: 400 }],
  'a path with non-ASCII bytes': [request({ ':path': '/\xe9' }), { status: 400 }],
  '* of another method than OPTIONS': [request({ ':scheme': 'ftp', ':path': '*' }), { status: 400 }],
  'a Host beside the authority, equal': [request({}, [['host', 'X']]), { status: 200 }],
  'a Host beside the authority, another one': [request({}, [['host', 'y']]), { status: 400 }],
  'a Host alone': [request({ ':authority': null }, [['host', 'y']]), { status: 200 }],
  'no authority': [request({ ':authority': null }), { reset: PROTOCOL_ERROR }],
  'an authority with user information': [request({ ':authority': 'u@x' }), { status: 400, reset: PROTOCOL_ERROR }],
  'an authority that is none': [request({ ':authority': '[::1' }), { status: 400 }],
  CONNECT: [request({ ':method': 'CONNECT', ':scheme': null, ':path': null }), { status: 405 }],
  'a field of HTTP/1.1': [request({}, [['transfer-encoding', 'chunked']]), { reset: PROTOCOL_ERROR }],
};

describe('HTTP/2, strict', { timeout: 120_000 }, () => {
  let server: HttpServer;
  before(async () => {
    server = await start(...DEADLINES);
  });
  after(() => server?.stop());

  async function one(...parts: Buffer[]) {
    const client = await H2Client.connect(server.port);
    client.write(...parts);
    const answer = await client.answer(1);
    client.destroy();
    return answer;
  }
  const harmed = () => /front thread/.test(server.log);

  for (const [what, [fields, expected]] of Object.entries(CASES)) {
    it(`${what}: ${Object.entries(expected).join(' ')}`, async () => {
      const answer = await one(headers(1, fields));
      if (answer.reset === null) assert.equal(answer.status, expected.status);
      else assert.equal(answer.reset, expected.reset);
    });
  }

  it('fields that are none are not passed on', async () => {
    const evil: Fields = [
      ['a', 'b\r\nevil: c'],
      ['a\r\nevil', 'b'],
      ['evil:', 'b'],
      ['evil b', 'c'],
      ['a', 'evil\0'],
    ];
    for (const field of evil) assert.doesNotMatch((await one(headers(1, request({}, [field])))).body, /evil/);
  });

  it('a response that HTTP/2 does not have ends its stream', async () => {
    assert.equal((await one(headers(1, request({ ':path': '/101' })))).reset, 2);
  });

  it('what is refused is logged, without a byte of the client', async () => {
    await one(headers(1, request({}, [['host', 'forged']])));
    await server.waitFor('Refused a request from 127.0.0.1: 400 Host and :authority differ');
    assert.doesNotMatch(server.log, /forged/);
  });

  it('a stream that is reset at once harms nobody', async () => {
    const client = await H2Client.connect(server.port);
    const gone = [request(), CASES.CONNECT[0], CASES['a path with non-ASCII bytes'][0], request({ ':method': 'get' })];
    const last = 2 * gone.length + 1;
    for (let id = 1; id < last; id += 2) client.write(headers(id, gone[(id - 1) / 2]), reset(id));
    client.write(headers(last, request()));
    assert.equal((await client.answer(last)).status, 200);
    client.destroy();
    assert.ok(!harmed(), server.log);
  });

  it('what an app sends that HTTP/2 does not know how to send harms nobody', async () => {
    for (const path of ['/hint-twice', '/trailer-connection', '/header-twice']) {
      await one(headers(1, request({ ':path': path })));
      assert.equal((await one(headers(1, request()))).status, 200);
      assert.ok(!harmed(), `${path}: ${server.log}`);
    }
  });

  it('trailers that are announced and do not come: the end is an ordinary one', async () => {
    assert.deepEqual(await one(headers(1, request({ ':path': '/no-trailers' }))), {
      status: 200,
      body: 'body',
      reset: null,
    });
  });

  it('fields that are named as the members of objects are sent as they are', async () => {
    const client = await H2Client.connect(server.port);
    client.write(headers(1, request({ ':path': '/names' })));
    assert.equal((await client.answer(1)).status, 200);
    const [head] = client.of(1);
    assert.doesNotMatch(head.payload.toString('latin1'), /function|native code/);
    client.destroy();
  });

  /** Waits for the end of a client that the server has to let go within `ms`. */
  async function letGo(client: H2Client, ms: number): Promise<number> {
    const from = performance.now();
    await until(() => client.closed, { timeoutMs: ms, what: 'the end of the session' });
    return performance.now() - from;
  }

  it('--keep-alive: between streams, also where one took longer, and whatever else is sent', async () => {
    const client = await H2Client.connect(server.port);
    client.write(headers(1, request({ ':path': '/late' })));
    assert.equal((await client.answer(1)).body, 'late');
    const pings = setInterval(() => client.write(frame(PING, 0, 0, Buffer.alloc(8))), 200);
    try {
      assert.ok((await letGo(client, 8000)) < 5000);
    } finally {
      clearInterval(pings);
    }
    assert.ok(client.frames.some(({ type }) => type === GOAWAY));
  });

  it('--send-timeout: a client that does not end its own side behind the end of a session is let go', async () => {
    const before = fdCount(server.worker);
    const [idle, leaving] = await Promise.all([H2Client.connect(server.port), H2Client.connect(server.port)]);
    for (const { socket } of [idle, leaving]) socket.pause();
    leaving.write(frame(GOAWAY, 0, 0, Buffer.alloc(8)));
    await until(() => fdCount(server.worker) > before);
    await until(() => fdCount(server.worker) <= before, { what: 'the file descriptors' });
    idle.destroy();
    leaving.destroy();
  });

  it('--header-timeout: until the first stream is whole', async () => {
    const silent = await H2Client.connect(server.port);
    const dripping = await H2Client.connect(server.port);
    dripping.write(headers(1, request(), END_STREAM));
    const drip = setInterval(() => dripping.write(frame(CONTINUATION, 0, 1, block([['a', 'b']]))), 700);
    try {
      await Promise.all([letGo(silent, 10_000), letGo(dripping, 10_000)]);
    } finally {
      clearInterval(drip);
    }
  });

  it('--send-timeout: a stream whose window stays shut is reset, with all that the engine has sent', async () => {
    const before = fdCount(server.worker);
    for (const size of [1, 10_000, 60_000]) {
      const client = await H2Client.connect(server.port, 0);
      client.write(...[1, 3, 5].map((id) => headers(id, request({ ':path': `/bytes?${size}` }))));
      for (const id of [1, 3, 5]) assert.equal((await client.answer(id)).reset, CANCEL, `${size} bytes`);
      await letGo(client, 10_000);
    }
    await until(() => fdCount(server.worker) <= before, { what: 'the file descriptors' });
  });

  it('--send-timeout: a client that reads nothing at all is let go, whatever it speaks', async () => {
    const before = fdCount(server.worker);
    const http2 = await H2Client.connect(server.port, 2 ** 31 - 1);
    const window = Buffer.alloc(4);
    window.writeUInt32BE(2 ** 30);
    http2.write(frame(WINDOW_UPDATE, 0, 0, window), headers(1, request({ ':path': '/bytes?60000000' })));
    const http1 = connect({ host: '127.0.0.1', port: server.port, rejectUnauthorized: false });
    await once(http1, 'secureConnect');
    http1.on('error', () => {}).write('GET /bytes?60000000 HTTP/1.1\r\nHost: x\r\n\r\n');
    http2.socket.pause();
    await until(() => (server.log.match(/^\/bytes\?60000000 \w+$/gm) ?? []).length === 2, {
      what: 'the requests to end',
    });
    await until(() => fdCount(server.worker) <= before, { what: 'the file descriptors' });
    http1.destroy();
    http2.socket.resume();
    await letGo(http2, 10_000);
    const bytes = http2.of(1).reduce((sum, { type, payload }) => sum + (type === DATA ? payload.length : 0), 0);
    assert.ok(bytes < 60_000_000);
  });

  it('a client that opens a window now and then gets all of it', async () => {
    const client = await H2Client.connect(server.port, 5000);
    client.write(headers(1, request({ ':path': '/bytes?40000' })));
    const window = Buffer.alloc(4);
    window.writeUInt32BE(5000);
    const opening = setInterval(() => client.write(frame(WINDOW_UPDATE, 0, 1, window)), 400);
    try {
      const answer = await client.answer(1);
      assert.equal(answer.body.length, 40_000);
      assert.equal(answer.reset, null);
    } finally {
      clearInterval(opening);
      client.destroy();
    }
  });

  it('--worker-connections: who says nothing makes room, in its handshake or with HTTP/2; who is served stays', async () => {
    const one = await start('--worker-connections', '8', '--keep-alive', '30', '--header-timeout', '30');
    try {
      const busy = await H2Client.connect(one.port);
      busy.write(headers(1, request({ ':path': '/long' })));
      const http1 = connect({ host: '127.0.0.1', port: one.port, rejectUnauthorized: false });
      http1.setEncoding('latin1').write('GET /long HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      const silent = Array.from({ length: 10 }, () => connectTcp(one.port, '127.0.0.1').on('error', () => {}));
      assert.equal((await askTls(one.port, '/')).status, 200);
      for (const socket of silent) socket.destroy();
      const sessions = await Promise.all(Array.from({ length: 5 }, () => H2Client.connect(one.port)));
      assert.equal((await askTls(one.port, '/')).status, 200);
      for (const session of [busy, ...sessions]) session.destroy();
      let text = '';
      for await (const chunk of http1) text += chunk;
      assert.match(text, /\r\n\r\nlong$/);
    } finally {
      await one.stop();
    }
  });

  it('--worker-connections: streams beyond it are refused before anything is done for them; who ends makes room', async () => {
    const one = await start('--worker-connections', '4', '--keep-alive', '30', '--status-bind', '127.0.0.1:0');
    const status = Number(/Status at: http:\/\/127\.0\.0\.1:(\d+)/.exec(one.log)![1]);
    try {
      const holder = await H2Client.connect(one.port);
      for (const id of [1, 3, 5]) holder.write(headers(id, request({ ':path': '/hang' })));
      const http1 = connect({ host: '127.0.0.1', port: one.port, rejectUnauthorized: false });
      http1.write('GET /hang HTTP/1.1\r\nHost: x\r\n\r\n');
      const asker = await H2Client.connect(one.port);
      let id = -1;
      const ask = () => {
        id += 2;
        asker.write(headers(id, request()));
        return asker.answer(id);
      };
      await until(async () => (await ask()).reset === REFUSED_STREAM, { what: 'a refusal' });
      const post = headers(id + 2, request({ ':method': 'POST', ':path': '/body' }), END_HEADERS);
      asker.write(post, frame(DATA, END_STREAM, id + 2, Buffer.from('body')));
      id += 2;
      assert.deepEqual(await asker.answer(id), { status: 0, body: '', reset: REFUSED_STREAM });
      assert.match(one.log, /Refused a request from 127\.0\.0\.1: 503 .*--worker-connections/);
      holder.write(reset(3));
      await until(async () => (await ask()).status === 200, { what: 'room' });
      // As many as there is room for of those that come at once.
      const many = Array.from({ length: 30 }, (_, i) => 7 + 2 * i);
      holder.write(...many.map((stream) => headers(stream, request({ ':path': '/hang' }))));
      const refused = () => many.filter((stream) => holder.of(stream).some(({ type }) => type === RST_STREAM));
      await until(() => refused().length === 29, { what: '29 refusals' });
      await until(async () => (await askJson(status)).inflight === 4, { what: 'four requests in hand' });
      assert.equal(refused().length, 29);
      http1.destroy();
      await until(async () => (await ask()).status === 200, { what: 'room again' });
      for (const client of [holder, asker]) client.destroy();
    } finally {
      await one.stop();
    }
  });

  it('--worker-connections 1: one after the other is not refused', async () => {
    const one = await start('--worker-connections', '1');
    try {
      const client = await H2Client.connect(one.port);
      for (let id = 1; id < 400; id += 2) {
        client.write(headers(id, request()));
        const { status, reset } = await client.answer(id);
        assert.deepEqual([status, reset], [200, null], `stream ${id}`);
      }
      client.destroy();
    } finally {
      await one.stop();
    }
  });

  it('a stream that is reset in the packet that opens it leaves nothing behind', async () => {
    const before = await settled(() => fdCount(server.worker));
    const client = await H2Client.connect(server.port);
    for (let id = 1; id < 40; id += 2) client.write(headers(id, request({ ':path': '/hang' })), reset(id));
    client.write(headers(41, request()));
    assert.equal((await client.answer(41)).status, 200);
    await until(() => fdCount(server.worker) <= before + 1, { what: 'the file descriptors', timeoutMs: 3000 });
    client.destroy();
  });

  it('--body-timeout: 408', async () => {
    const answer = await one(headers(1, request({ ':method': 'POST', ':path': '/body' }), END_HEADERS));
    assert.equal(answer.status, 408);
  });

  it('floods end the session', async () => {
    const empty = frame(CONTINUATION, 0, 1);
    const client = await H2Client.connect(server.port);
    client.write(frame(HEADERS, END_STREAM, 1, block(request())), ...Array.from({ length: 1000 }, () => empty));
    await letGo(client, 2500);
    const resetting = await H2Client.connect(server.port);
    for (let id = 1; id < 20_000 && !resetting.closed; id += 2) {
      resetting.write(headers(id, request({ ':path': '/hang' })), reset(id));
      if (id % 101 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await letGo(resetting, 10_000);
    assert.equal((await one(headers(1, request()))).status, 200);
    assert.ok(!harmed(), server.log);
  });
});
