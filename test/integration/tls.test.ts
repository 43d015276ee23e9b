/** TLS by --certfile: real clients and certificates, what each setting does, and that the engine's promises hold behind it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it, test } from 'node:test';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'ws';
import { AppFolders } from '../support/app-folders.js';
import { ArbiterProcess } from '../support/arbiter-process.js';
import { HttpServer } from '../support/http-server.js';
import { until } from '../support/poll.js';
import { askTls, CA, CERT_ARGS, certPath, pem } from '../support/tls.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
const CLIENT = { cert: pem('client.pem'), key: pem('client.key') };
const STRANGER = { cert: pem('stranger.pem'), key: pem('stranger.key') };

/** A TLS connection that is ready. */
async function dial(port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port, servername: 'localhost', ca: CA, ...options });
  await once(socket, 'secureConnect');
  return socket;
}

describe('TLS', { concurrency: 2, timeout: 120_000 }, () => {
  let server: HttpServer;
  const folders = new AppFolders('tls', "export default (req, res) => res.end('hello')");
  const others: ArbiterProcess[] = [];
  before(async () => {
    server = await HttpServer.start('tls.mjs', [
      ...[...CERT_ARGS, '--workers', '1', '--threads', '2', '--header-timeout', '3'],
      ...['--keep-alive', '30', '--cert-reqs', '1', '--ca-certs', certPath('ca.pem')],
    ]);
  });
  after(async () => {
    for (const other of others) await other.cleanup();
    folders.remove();
    await server?.stop();
  });

  function start(cwd: string, ...args: string[]): ArbiterProcess {
    const one = new ArbiterProcess([CLI, '-b', '127.0.0.1:0', '--threads', '1', ...args, 'app.mjs'], {}, cwd);
    others.push(one);
    return one;
  }

  it('requests share a connection; the app sees the client and https', async () => {
    assert.match(server.log, /Listening at: https:\/\/127\.0\.0\.1:\d+ /);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const first = await askTls(server.port, '/x?y=1', { agent });
    const { socket, url, headers } = JSON.parse(first.body);
    assert.equal(url, '/x?y=1');
    assert.equal(headers.host, `localhost:${server.port}`);
    assert.equal(socket.remoteAddress, '127.0.0.1');
    assert.equal(socket.encrypted, true);
    assert.ok(socket.remotePort > 0);
    assert.deepEqual(first.headers['set-cookie'], ['a=1', 'b=2']);
    const second = await askTls(server.port, '/', { agent, method: 'POST', body: 'x' });
    assert.ok(second.reused);
    assert.equal(JSON.parse(second.body).socket.remotePort, socket.remotePort);
    agent.destroy();
  });

  it('a big body goes there and back', async () => {
    const body = 'abcdefgh'.repeat(500_000);
    assert.equal((await askTls(server.port, '/echo', { method: 'POST', body })).body, body);
  });

  it('a client that leaves is noticed', async () => {
    const socket = await dial(server.port);
    socket.write('GET /wait?for-ever HTTP/1.1\r\nHost: x\r\n\r\n');
    await until(() => server.log.includes('/wait?for-ever began'));
    socket.destroy();
    await until(() => server.log.includes('/wait?for-ever left'));
  });

  it('a client that ends its side is answered', async () => {
    const socket = await dial(server.port, { allowHalfOpen: true } as object);
    socket.end('GET /wait HTTP/1.1\r\nHost: x\r\n\r\n');
    let text = '';
    for await (const chunk of socket) text += chunk;
    assert.match(text, /\r\n\r\nwaited$/);
  });

  it('WebSockets', async () => {
    const ws = new WebSocket(`wss://localhost:${server.port}/`, { ca: CA, family: 4 });
    await once(ws, 'open');
    ws.send('to and fro');
    const [data] = await once(ws, 'message');
    assert.equal(String(data), 'to and fro');
    ws.close();
    await once(ws, 'close');
  });

  it('cert_reqs 1: a certificate of a client has to be good, if there is one', async () => {
    assert.equal((await askTls(server.port, '/', CLIENT)).status, 200);
    await assert.rejects(askTls(server.port, '/', STRANGER));
    await until(() => askTls(server.port, '/').then(({ status }) => status === 200));
  });

  it('cert_reqs 2: there has to be one', async () => {
    const args = [
      ...CERT_ARGS,
      '--cert-reqs',
      '2',
      '--ca-certs',
      certPath('ca.pem'),
      '--ciphers',
      'ECDHE-ECDSA-AES128-SHA256',
    ];
    const one = start(folders.make(), ...args);
    const port = await one.firstPort();
    await one.waitForWorkers(1);
    assert.equal((await askTls(port, '/', CLIENT)).body, 'hello');
    await assert.rejects(askTls(port, '/'));
    await assert.rejects(askTls(port, '/', STRANGER));
    // ciphers: those of TLS 1.2 are exactly these; 1.3 has its own.
    const socket = await dial(port, { ...CLIENT, maxVersion: 'TLSv1.2' });
    assert.equal(socket.getCipher().name, 'ECDHE-ECDSA-AES128-SHA256');
    socket.destroy();
    one.kill('SIGTERM');
    assert.equal((await one.ended).code, 0);
  });

  it('header_timeout: who does not finish its handshake is let go', async () => {
    const socket = connectTcp(server.port, '127.0.0.1');
    const from = performance.now();
    await once(socket.resume(), 'close');
    assert.ok(performance.now() - from < 10_000);
  });

  it('what is no TLS is closed, and harms nobody', async () => {
    const socket = connectTcp(server.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    let text = '';
    socket.on('data', (data) => (text += data.toString('latin1')));
    await once(socket, 'close');
    assert.doesNotMatch(text, /HTTP\/1\.1 200/);
    assert.equal((await askTls(server.port, '/')).status, 200);
  });

  it('a session is resumed, whichever worker has it', async () => {
    const one = start(folders.make(), ...CERT_ARGS, '--workers', '2');
    const port = await one.firstPort();
    await one.waitForWorkers(2);
    const first = await dial(port, { maxVersion: 'TLSv1.2' });
    const session = first.getSession();
    first.destroy();
    for (let i = 0; i < 10; i++) {
      const again = await dial(port, { maxVersion: 'TLSv1.2', session });
      assert.ok(again.isSessionReused(), `connection ${i}`);
      again.destroy();
    }
    one.kill('SIGTERM');
    assert.equal((await one.ended).code, 0);
  });

  it('ssl_context: what it makes of the options holds', async () => {
    const dir = folders.make({
      'tunicorn.conf.mjs': `import { readFileSync } from 'node:fs';
        export default {
          certfile: ${JSON.stringify(certPath('server.pem'))}, keyfile: ${JSON.stringify(certPath('server.key'))},
          ssl_context(config, usual) {
            if (config.certfile === null || !usual().cert.includes('CERTIFICATE')) throw new Error('not as usual');
            return { ...usual(), cert: readFileSync(${JSON.stringify(certPath('renewed.pem'))}),
              key: readFileSync(${JSON.stringify(certPath('renewed.key'))}), minVersion: 'TLSv1.3' };
          },
        };`,
    });
    const one = start(dir);
    const port = await one.firstPort();
    const socket = await dial(port);
    assert.equal(socket.getPeerCertificate().subject.CN, 'renewed');
    assert.equal(socket.getProtocol(), 'TLSv1.3');
    socket.destroy();
    await assert.rejects(dial(port, { maxVersion: 'TLSv1.2' }));
    writeFileSync(
      join(dir, 'tunicorn.conf.mjs'),
      `export default { certfile: ${JSON.stringify(certPath('server.pem'))}, ssl_context() { throw new Error('no such luck'); } };`,
    );
    one.kill('SIGHUP');
    await one.waitFor(/\[ERROR\] The new settings are refused/);
    assert.match(one.log, /ssl_context failed: no such luck/);
    one.kill('SIGTERM');
    assert.equal((await one.ended).code, 0);
  });

  it('HUP: a renewed certificate is shown to new connections, a broken one changes nothing', async () => {
    const dir = folders.make();
    const renew = (name: string) => {
      copyFileSync(certPath(`${name}.pem`), join(dir, 'cert.pem'));
      copyFileSync(certPath(`${name}.key`), join(dir, 'key.pem'));
    };
    renew('server');
    const one = start(dir, '--certfile', 'cert.pem', '--keyfile', 'key.pem');
    const port = await one.firstPort();
    await one.waitForWorkers(1);
    const shown = async () => {
      const socket = await dial(port);
      const { subject } = socket.getPeerCertificate();
      socket.destroy();
      return subject.CN;
    };
    assert.equal(await shown(), 'server');
    const old = await dial(port);
    renew('renewed');
    one.kill('SIGHUP');
    await until(async () => (await shown()) === 'renewed');
    old.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    let text = '';
    for await (const chunk of old) text += chunk;
    assert.match(text, /hello$/);
    writeFileSync(join(dir, 'key.pem'), pem('client.key'));
    one.kill('SIGHUP');
    await one.waitFor(/\[ERROR\] The new settings are refused/);
    assert.match(one.log, /TLS cannot be set up with cert\.pem, key\.pem: .*key values mismatch/);
    assert.equal(await shown(), 'renewed');
    assert.equal(one.spawned.length, 1);
    one.kill('SIGTERM');
    assert.equal((await one.ended).code, 0);
  });

  for (const [what, args, message] of [
    ['a file that is not there', ['--certfile', 'none.pem'], /--certfile: cannot read .*none\.pem: ENOENT/],
    ['a file that is no certificate', ['--certfile', 'app.mjs'], /TLS cannot be set up with app\.mjs: /],
    [
      "another certificate's key",
      [...CERT_ARGS.slice(0, 3), certPath('client.key')],
      /TLS cannot be set up with .*mismatch/,
    ],
    ['a key alone', ['--keyfile', certPath('client.key')], /--keyfile is given without --certfile/],
    ['ciphers that do not exist', [...CERT_ARGS, '--ciphers', 'NONE-SUCH'], /TLS cannot be set up with .*[Cc]ipher/],
  ] as const) {
    it(`${what} ends the start with status 1`, async () => {
      const one = start(folders.make(), ...args);
      assert.equal((await one.ended).code, 1);
      assert.match(one.log, message);
      assert.doesNotMatch(one.log, /^\s+at /m);
    });
  }
});

// In a server of its own: what else its thread had in hand would end with it.
test('TLS: a handler that spins gets its client 504, and holds up nobody', { timeout: 60_000 }, async () => {
  const server = await HttpServer.start('tls.mjs', [
    ...[...CERT_ARGS, '--workers', '1', '--threads', '2', '--timeout', '1'],
  ]);
  try {
    const stuck = askTls(server.port, '/spin');
    assert.equal((await askTls(server.port, '/')).status, 200);
    assert.equal((await stuck).status, 504);
  } finally {
    await server.stop();
  }
});
