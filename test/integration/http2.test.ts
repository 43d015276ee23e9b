/** HTTP/2 by --http-protocols: streams as requests, side by side and with everything that a request can have. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { connect } from 'node:tls';
import { HttpServer } from '../support/http-server.js';
import { settled, until } from '../support/poll.js';
import { fdCount } from '../support/proc.js';
import { answerOf, askStream, askTls, CA, CERT_ARGS, openSession } from '../support/tls.js';

const LIMITS = {
  '--http2-max-concurrent-streams': ['maxConcurrentStreams', 64],
  '--http2-initial-window-size': ['initialWindowSize', 100_000],
  '--http2-max-frame-size': ['maxFrameSize', 32_768],
  '--http2-max-header-list-size': ['maxHeaderListSize', 20_000],
} as const;

// One after the other: what spins takes the other requests of its thread with it.
describe('HTTP/2', { timeout: 120_000 }, () => {
  let server: HttpServer;
  before(async () => {
    const limits = Object.entries(LIMITS).flatMap(([flag, [, value]]) => [flag, String(value)]);
    server = await HttpServer.start('tls.mjs', [
      ...[
        ...CERT_ARGS,
        '--http-protocols',
        'h2,h1',
        ...limits,
        '--threads',
        '3',
        '--timeout',
        '4',
        '--keep-alive',
        '5',
      ],
    ]);
  });
  after(() => server?.stop());

  it('http_protocols: the preferred one of those that a client knows', async () => {
    for (const [offered, chosen] of [
      [['http/1.1', 'h2'], 'h2'],
      [['http/1.1'], 'http/1.1'],
      [undefined, false],
    ] as const) {
      const socket = connect({
        host: '127.0.0.1',
        port: server.port,
        servername: 'localhost',
        ca: CA,
        ALPNProtocols: offered && [...offered],
      });
      await once(socket, 'secureConnect');
      assert.equal(socket.alpnProtocol, chosen);
      socket.destroy();
    }
    assert.equal((await askTls(server.port, '/')).status, 200);
  });

  it('keepalive: a session without a stream is closed, and nothing is left of it', async () => {
    const before = await settled(() => fdCount(server.worker));
    const session = await openSession(server.port);
    await askStream(session, '/');
    assert.ok(fdCount(server.worker) > before);
    await once(session, 'close');
    await until(() => fdCount(server.worker) <= before, { what: 'the file descriptors' });
  });

  it('its limits are told to the client', async () => {
    const session = await openSession(server.port);
    for (const [name, value] of Object.values(LIMITS)) assert.equal(session.remoteSettings[name], value, name);
    session.close();
  });

  it('a request of the app is an ordinary one', async () => {
    const session = await openSession(server.port);
    const { headers, body } = await askStream(session, '/a?b', { cookie: ['x=1', 'y=2'], 'x-own': 'z' });
    assert.equal(headers[':status'], 200);
    assert.deepEqual(headers['set-cookie'], ['a=1', 'b=2']);
    for (const name of ['connection', 'keep-alive', 'transfer-encoding']) assert.equal(headers[name], undefined);
    const seen = JSON.parse(body.toString());
    assert.equal(seen.url, '/a?b');
    assert.equal(seen.headers.host, `localhost:${server.port}`);
    assert.equal(seen.headers.cookie, 'x=1; y=2');
    assert.equal(seen.headers['x-own'], 'z');
    assert.equal(seen.socket.remoteAddress, '127.0.0.1');
    assert.equal(seen.socket.encrypted, true);
    const none = await askStream(session, '/none', { ':method': 'DELETE' });
    assert.equal(none.headers[':status'], 204);
    const head = await askStream(session, '/', { ':method': 'HEAD' });
    assert.equal(head.headers[':status'], 200);
    assert.equal(head.body.length, 0);
    session.close();
  });

  it('100 streams at once, each with its own body, more than may be open', async () => {
    const session = await openSession(server.port);
    const answers = Array.from({ length: 100 }, async (_, i) => {
      const body = Buffer.alloc(1000 + i * 1500, i);
      const { headers, body: got } = await askStream(session, '/echo', { ':method': 'POST' }, body);
      assert.equal(headers[':status'], 200);
      assert.ok(got.equals(body), `stream ${i}`);
    });
    await Promise.all(answers);
    session.close();
  });

  it('trailers and interim responses, both ways', async () => {
    const session = await openSession(server.port);
    const stream = session.request({ ':path': '/echo', ':method': 'POST', te: 'trailers' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '42' }));
    const answer = answerOf(stream);
    stream.end('body');
    const { body, trailers } = await answer;
    assert.equal(body.toString(), 'body');
    assert.equal(trailers?.['x-sum'], '42');
    const hinted = await askStream(session, '/hints');
    assert.equal(hinted.interim[0]?.[':status'], 103);
    assert.equal(hinted.interim[0]?.link, '</a.css>; rel=preload');
    assert.equal(hinted.body.toString(), 'hinted');
    const expecting = session.request({ ':path': '/echo', ':method': 'POST', expect: '100-continue' });
    await once(expecting, 'continue');
    const late = answerOf(expecting);
    expecting.end('now');
    assert.equal((await late).body.toString(), 'now');
    session.close();
  });

  it('a stream that spins gets 504 and holds up none beside it', async () => {
    const session = await openSession(server.port);
    const stuck = askStream(session, '/spin');
    assert.equal((await askStream(session, '/')).headers[':status'], 200);
    assert.equal((await stuck).headers[':status'], 504);
    session.close();
  });

  it('a stream that is reset ends its request alone', async () => {
    const session = await openSession(server.port);
    const stream = session.request({ ':path': '/wait?for-ever' });
    stream.on('error', () => {});
    await until(() => server.log.includes('/wait?for-ever began'));
    stream.close(8);
    await until(() => server.log.includes('/wait?for-ever left'));
    assert.equal((await askStream(session, '/')).headers[':status'], 200);
    session.close();
  });

  it('what the engine refuses is refused: too many fields, CONNECT', async () => {
    const session = await openSession(server.port);
    const many = Object.fromEntries(Array.from({ length: 150 }, (_, i) => [`x-${i}`, '1']));
    assert.equal((await askStream(session, '/', many)).headers[':status'], 431);
    const tunnel = session.request({ ':method': 'CONNECT', ':authority': 'example.org:80' });
    assert.equal((await answerOf(tunnel)).headers[':status'], 405);
    session.close();
  });

  it('TERM: streams in hand are finished, the client is told to go elsewhere', async () => {
    const one = await HttpServer.start('tls.mjs', [...CERT_ARGS, '--http-protocols', 'h2', '--threads', '1']);
    const session = await openSession(one.port);
    const waiting = askStream(session, '/wait');
    const away = once(session, 'goaway');
    await askStream(session, '/');
    one.kill('SIGTERM');
    assert.equal((await waiting).body.toString(), 'waited');
    await away;
    await one.stop();
  });
});
