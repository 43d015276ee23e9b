/**
 * Strict on the wire: what RFC 9110 and 9112 forbid, or leave to a server to refuse, is answered once, with the right status,
 * and the connection ends in a way that loses no answer. test/fuzz hunts for what is not in these tables.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { HttpServer } from '../support/http-server.js';
import { until } from '../support/poll.js';
import type { RawClient } from '../support/raw-client.js';
import { CERT_ARGS } from '../support/tls.js';

const HOST = 'Host: x\r\n';
const GET = `GET /hello HTTP/1.1\r\n${HOST}`;
const POST = `POST /echo HTTP/1.1\r\n${HOST}`;
const CHUNKED = `${POST}Transfer-Encoding: chunked\r\n\r\n`;

/** [bytes, status] by what they are about. A status of 200 stands beside the refusals that are nearest to it. */
const CASES: Record<string, Array<[string, number]>> = {
  'Content-Length': [
    [`${POST}Content-Length: 5\r\n\r\nabcde`, 200],
    [`${POST}Content-Length: 005\r\n\r\nabcde`, 200],
    [`${POST}Content-Length:5 \r\n\r\nabcde`, 200],
    ...['+5', '-5', '0x5', '5,5', '5, 5', '5,', '5 5', '', '5.0', '1e1', '5;a', '\x0b5', '5\x0b', '"5"'].map(
      (value): [string, number] => [`${POST}Content-Length: ${value}\r\n\r\nabcde`, 400],
    ),
    [`${POST}Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde`, 400],
    [`${POST}Content-Length: 5\r\ncontent-length: 6\r\n\r\nabcde`, 400],
    [`${POST}Content-Length: 18446744073709551616\r\n\r\nabcde`, 400],
    [`${POST}Content-Length : 5\r\n\r\nabcde`, 400],
  ],
  'Transfer-Encoding': [
    [`${POST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 200],
    [`${POST}transfer-encoding:\tCHUNKED \r\n\r\n0\r\n\r\n`, 200],
    [`${POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`, 501],
    [`${POST}Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 501],
    ...[
      'chunked, chunked',
      'chunked, gzip',
      'xchunked',
      'chunkedx',
      'chunked;q=1',
      'chunked,',
      ',chunked',
      '"chunked"',
      'identity',
      'chun ked',
      '\x0bchunked',
      '',
    ].map((value): [string, number] => [`${POST}Transfer-Encoding: ${value}\r\n\r\n0\r\n\r\n`, 400]),
    [`${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    [`${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n`, 400],
    [`${POST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n`, 400],
    [`${POST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    [`${POST}Content-Length: 5\r\nTransfer-Encoding: identity\r\n\r\nabcde`, 400],
    [`POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    [`${POST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`, 400],
    [`${POST}X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
  ],
  chunks: [
    [`${CHUNKED}5\r\nabcde\r\n0\r\n\r\n`, 200],
    [`${CHUNKED}05;a=b;c="d;\\"e"\r\nabcde\r\n0;f\r\nX: y\r\n\r\n`, 200],
    [`${CHUNKED}5;${'e'.repeat(3000)}\r\nabcde\r\n0\r\n\r\n`, 200],
    ...['+5', '-5', '0x5', ' 5', '5 ', '5 ;a', '', 'g', '5,5', '10000000000000005', '5;', '5;;a', '5;a="b'].map(
      (size): [string, number] => [`${CHUNKED}${size}\r\nabcde\r\n0\r\n\r\n`, 400],
    ),
    [`${CHUNKED}5;\x00\r\nabcde\r\n0\r\n\r\n`, 400],
    [`${CHUNKED}5\nabcde\r\n0\r\n\r\n`, 400],
    [`${CHUNKED}5\r\nabcde\n0\r\n\r\n`, 400],
    [`${CHUNKED}5\rabcde\r\n0\r\n\r\n`, 400],
    [`${CHUNKED}4\r\nabcde\r\n0\r\n\r\n`, 400],
    [`${CHUNKED}5\r\nabcde0\r\n\r\n`, 400],
    [`${CHUNKED}5;${'e'.repeat(5000)}\r\nabcde\r\n0\r\n\r\n`, 400],
    [`${CHUNKED}5;${'e'.repeat(100_000)}`, 400],
    [`${CHUNKED}${'0'.repeat(5000)}5\r\nabcde\r\n0\r\n\r\n`, 400],
    [`${CHUNKED}0;${'e'.repeat(5000)}\r\n\r\n`, 400],
    // Each is short enough, all together are not.
    [`${CHUNKED}${`1;${'e'.repeat(3000)}\r\nx\r\n`.repeat(6)}0\r\n\r\n`, 400],
    [`${CHUNKED}0\r\nX : y\r\n\r\n`, 400],
    [`${CHUNKED}0\r\nX: \x00\r\n\r\n`, 400],
    [`${CHUNKED}0\r\nX: y\n\r\n`, 400],
    [`${CHUNKED}0\r\nX: y\r\n z\r\n\r\n`, 400],
  ],
  'line ends': [
    [`\r\n\r\n${GET}\r\n`, 200],
    [`\r\n\r\n\r\n${GET}\r\n`, 400],
    [`\n${GET}\r\n`, 400],
    [`\r${GET}\r\n`, 400],
    ['GET /hello HTTP/1.1\nHost: x\r\n\r\n', 400],
    ['GET /hello HTTP/1.1\rHost: x\r\n\r\n', 400],
    ['GET /hello HTTP/1.1\r\nHost: x\n\r\n', 400],
    ['GET /hello HTTP/1.1\r\nHost: x\r\r\n\r\n', 400],
    ['GET /hello HTTP/1.1\r\nHost: x\r\n\n', 400],
    ['GET /hello HTTP/1.1\r\nHost: x\r\n\rA: b\r\n\r\n', 400],
    [`${GET}A: b\rC: d\r\n\r\n`, 400],
    [`${GET}A: b\r\n c\r\n\r\n`, 400],
    [`${GET}A:\r\n c\r\n\r\n`, 400],
    [`${GET}A: b\r\n\tc\r\n\r\n`, 400],
    [`GET /hello HTTP/1.1\r\n ${HOST}\r\n`, 400],
  ],
  fields: [
    [`${GET}A:\r\nB: \t \r\nC: a\tb\xe9\x80\xff\r\n\r\n`, 200],
    ...['\x00', '\x01', '\x08', '\x0b', '\x0c', '\x1b', '\x1f', '\x7f'].map((c): [string, number] => [
      `${GET}A: b${c}c\r\n\r\n`,
      400,
    ]),
    ...['A : b', 'A\t: b', 'A b: c', ': b', 'A', 'A(: b', 'A\x00: b', 'A\x7f: b', '\xc3\xa9: b', ' A: b', '"A": b'].map(
      (line): [string, number] => [`${GET}${line}\r\n\r\n`, 400],
    ),
  ],
  Host: [
    ...['x', 'x:80', 'x:', '', '[::1]:80', '127.0.0.1', 'a_b.example', 'xn--a', 'a%20b'].map(
      (host): [string, number] => [`GET /hello HTTP/1.1\r\nHost: ${host}\r\n\r\n`, 200],
    ),
    ...['x y', 'x/y', 'u@x', 'x:y', '[::1', 'x]', 'x#', 'x?', 'a\\b', '\xe9', '<x>', 'x:80:80', '"x"', 'x\t y'].map(
      (host): [string, number] => [`GET /hello HTTP/1.1\r\nHost: ${host}\r\n\r\n`, 400],
    ),
    ['GET /hello HTTP/1.1\r\n\r\n', 400],
    ['GET /hello HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n', 400],
    ['GET /hello HTTP/1.0\r\nHost: x/y\r\n\r\n', 400],
    ['GET /hello HTTP/1.0\r\n\r\n', 200],
    ['GET http://x/hello HTTP/1.1\r\n\r\n', 400],
  ],
  'request line': [
    [`GET /hello?${'!"$%&\'()*+,-./:;<=>?@[]^_`{|}~'} HTTP/1.1\r\n${HOST}\r\n`, 200],
    [`OPTIONS * HTTP/1.1\r\n${HOST}\r\n`, 404],
    [`GET http://y/other HTTP/1.1\r\n${HOST}\r\n`, 404],
    [`GET HTTPS://[::1]:443?a HTTP/1.1\r\n${HOST}\r\n`, 404],
    [`CONNECT x:80 HTTP/1.1\r\n${HOST}\r\n`, 405],
    ...[
      'GET  /hello HTTP/1.1',
      'GET /hello  HTTP/1.1',
      'GET /hello HTTP/1.1 ',
      ' GET /hello HTTP/1.1',
      'GET\t/hello HTTP/1.1',
      'GET /hello\tHTTP/1.1',
      'GET /hello',
      'GET /hello ',
      'GET /hel lo HTTP/1.1',
      'GET /\x00 HTTP/1.1',
      'GET /\x1f HTTP/1.1',
      'GET /\x7f HTTP/1.1',
      'GET /\xe9 HTTP/1.1',
      'GET /hello#a HTTP/1.1',
      'GET * HTTP/1.1',
      'OPTIONS *a HTTP/1.1',
      'GET hello HTTP/1.1',
      'GET x:80 HTTP/1.1',
      'GET ?a HTTP/1.1',
      'CONNECT /hello HTTP/1.1',
      'CONNECT x HTTP/1.1',
      'CONNECT http://x/ HTTP/1.1',
      'GET http:///hello HTTP/1.1',
      'GET http://u:p@x/hello HTTP/1.1',
      'GET http://x/#a HTTP/1.1',
      'GET ftp://x/hello HTTP/1.1',
      'GET /hello http/1.1',
      'GET /hello HTTP/1.10',
      'GET /hello HTTP/01.1',
      'GET /hello HTTP/1',
      'GET /hello HTTP/1,1',
      'GET /hello HTTP/',
      'GET /hello HTTPS/1.1',
      'OPTIONS /hello RTSP/1.0',
      'SOURCE /hello ICE/1.0',
    ].map((line): [string, number] => [`${line}\r\n${HOST}\r\n`, 400]),
    ...['GET /hello HTTP/0.9', 'GET /hello HTTP/1.2', 'GET /hello HTTP/2.0', 'GET /hello HTTP/9.9'].map(
      (line): [string, number] => [`${line}\r\n${HOST}\r\n`, 505],
    ),
    ...[
      'get /hello HTTP/1.1',
      'FOO /hello HTTP/1.1',
      'GETT /hello HTTP/1.1',
      'FOO bar',
      'DESCRIBE /hello HTTP/1.1',
      `${'M'.repeat(33)} /hello HTTP/1.1`,
      'M'.repeat(1000),
    ].map((line): [string, number] => [`${line}\r\n${HOST}\r\n`, 501]),
  ],
  'another protocol': [
    // A ClientHello as OpenSSL sends it; the preface of HTTP/2; SSH; SOCKS 5; HTTP/0.9.
    ['\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x0a\x0d\x20\x2f', 400],
    ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12\x04\x00\x00\x00\x00\x00', 400],
    ['SSH-2.0-OpenSSH_9.2\r\n', 400],
    ['\x05\x01\x00', 400],
    ['GET /hello\r\n', 400],
  ],
  Expect: [
    [`${POST}Expect: 100-continue\r\nContent-Length: 1\r\n\r\na`, 200],
    [`${POST}Expect:\r\nContent-Length: 1\r\n\r\na`, 200],
    [`${POST}Expect: 100-continue\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\na`, 200],
    ['POST /echo HTTP/1.0\r\nExpect: x\r\nContent-Length: 1\r\n\r\na', 200],
    ...['x', '100-continue, x', '100', '100-continue;a'].map((value): [string, number] => [
      `${POST}Expect: ${value}\r\nContent-Length: 1\r\n\r\na`,
      417,
    ]),
    [`${POST}Expect: 100-continue\r\nExpect: x\r\nContent-Length: 1\r\n\r\na`, 417],
  ],
};

const KINDS = [
  { name: '(req, res)', app: 'http-node.mjs', args: ['--threads', '2'] },
  { name: 'fetch', app: 'http-fetch.mjs', args: ['--threads', '2'] },
  { name: '(req, res), sync', app: 'http-node.mjs', args: ['-k', 'sync'] },
];

for (const kind of KINDS) {
  describe(`strict on the wire, ${kind.name}`, () => {
    let server: HttpServer;
    before(async () => {
      server = await HttpServer.start(kind.app, kind.args);
    });
    after(() => server?.stop());

    for (const [what, cases] of Object.entries(CASES)) {
      it(what, async () => {
        for (const [text, status] of cases) {
          const client = await server.connect();
          const shown = JSON.stringify(text.slice(0, 120));
          client.write(text);
          let response = await client.response().catch((error: Error) => assert.fail(`${shown}: ${error.message}`));
          if (response.status === 100) response = await client.response();
          assert.equal(response.status, status, `${shown}: ${response.body}`);
          if (status === 200 || status === 404) client.destroy();
          else {
            assert.equal(response.headers.connection, 'close', shown);
            assert.match(response.body, new RegExp(`^${status} `), shown);
            // What the client goes on to send is no reset's reason to take the answer away, and gets none.
            await client.send(`${GET}\r\n`.repeat(100)).catch(() => {});
            assert.equal(await client.end(), '', shown);
            client.destroy();
          }
        }
        await server.stillServes();
      });
    }

    it('rubbish behind a request: the request is answered first', async () => {
      const garbage = ['\x16\x03\x01\x00', 'rubbish\r\n\r\n', `${GET}A : b\r\n\r\n`, 'GET  / HTTP/1.1\r\n\r\n'];
      for (const text of garbage) {
        const client = await server.connect();
        client.write(`GET /async HTTP/1.1\r\n${HOST}\r\n${text}`);
        assert.equal((await client.response()).body, 'async /async');
        if (kind.args.includes('sync')) assert.equal(await client.end(), '');
        else {
          assert.equal((await client.response()).status, 400, text);
          assert.equal(await client.end(), '');
        }
        client.destroy();
      }
    });

    it('a body that goes wrong behind its response takes nothing of that away', async () => {
      const client = await server.connect();
      client.write(`POST /atonce HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n`);
      await client.when(() => (client.received > 0 ? true : null), 'the response');
      client.socket.pause();
      await client.send(`zz\r\n${'x'.repeat(300_000)}`);
      client.socket.resume();
      const { status, body } = await client.response();
      assert.deepEqual([status, body.length], [200, 1 << 20]);
      assert.equal(await client.end(), '');
      assert.equal(client.error, null);
      await server.stillServes();
    });

    it('a HEAD is refused without a body', async () => {
      for (const text of ['HEAD / HTTP/1.1\r\n\r\n', `HEAD / HTTP/1.1\r\n${HOST}Expect: x\r\n\r\n`]) {
        assert.match(await server.talk(text), /^HTTP\/1\.1 4\d\d .*Connection: close\r\n\r\n$/s);
      }
    });
  });
}

for (const kind of KINDS) {
  describe(`deadlines, ${kind.name}`, () => {
    const DRIPS = 25;

    /** Sends a piece every 100 ms, so many of them or until the server has answered or ended. */
    async function drip(
      server: HttpServer,
      begin: string,
      piece: string,
      end: string,
      most = DRIPS,
    ): Promise<RawClient> {
      const client = await server.connect();
      client.write(begin);
      let sent = 0;
      const timer = setInterval(() => sent++ < most && !client.ended && client.write(piece), 100);
      try {
        await until(() => sent >= most || client.ended || client.error !== null, {
          timeoutMs: 60_000,
          what: 'the drips',
        });
      } finally {
        clearInterval(timer);
      }
      if (!client.ended) client.write(end);
      return client;
    }

    const serve = async (args: string[], work: (server: HttpServer) => Promise<void>) => {
      const server = await HttpServer.start(kind.app, [...kind.args, ...args]);
      try {
        await work(server);
      } finally {
        await server.cleanup();
      }
    };
    const chunked = (path: string) => `POST ${path} HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n`;

    it('--body-min-rate: a body that comes byte by byte gets 408, an honest one and a conversation go on', () =>
      serve(['--body-timeout', '1', '--body-min-rate', '500'], async (server) => {
        const slow = await drip(server, chunked('/echo'), '1\r\na\r\n', '0\r\n\r\n', 300);
        assert.equal((await slow.response()).status, 408);
        assert.equal(await slow.end(), '');
        const piece = 'b'.repeat(0x100);
        const honest = await drip(server, chunked('/echo'), `100\r\n${piece}\r\n`, '0\r\n\r\n');
        assert.equal((await honest.response()).body, piece.repeat(DRIPS));
        const talking = await drip(server, chunked('/upper'), '1\r\na\r\n', '0\r\n\r\n');
        assert.equal((await talking.response()).body, 'A'.repeat(DRIPS));
        for (const client of [slow, honest, talking]) client.destroy();
      }));

    it('--body-timeout 1: nobody has less, whenever a thread has last looked', () =>
      serve(['--body-timeout', '1'], async (server) => {
        // The thread has nothing to look after meanwhile.
        await server.stillServes();
        for (let i = 0; i < 3; i++) {
          const client = await server.connect();
          const begun = performance.now();
          client.write(`${chunked('/echo')}1\r\na\r\n`);
          assert.equal((await client.response()).status, 408);
          assert.ok(performance.now() - begun > 950);
          client.destroy();
        }
      }));

    it('--header-timeout: 408 also to the second request of a connection', { skip: kind.args.includes('sync') }, () =>
      serve(['--header-timeout', '1'], async (server) => {
        const client = await server.connect();
        client.write(`${GET}\r\nGET /hel`);
        assert.equal((await client.response()).status, 200);
        assert.equal((await client.response()).status, 408);
        assert.equal(await client.end(), '');
        client.destroy();
        // An empty line is no request.
        for (const text of [`${GET}\r\n\r\n`, '\r\n']) assert.doesNotMatch(await server.talk(text), / 408 /);
      }),
    );

    it('--body-min-rate 0: only pauses count', () =>
      serve(['--body-timeout', '1', '--body-min-rate', '0'], async (server) => {
        const slow = await drip(server, chunked('/echo'), '1\r\na\r\n', '0\r\n\r\n');
        assert.equal((await slow.response()).body, 'a'.repeat(DRIPS));
        slow.destroy();
      }));

    it('--send-timeout: who takes nothing of a response is ended', () =>
      serve(['--send-timeout', '1', '--body-timeout', '60'], async (server) => {
        const client = await server.connect();
        client.socket.pause();
        client.write(`GET /big HTTP/1.1\r\n${HOST}\r\n`);
        await server.waitFor('Client too slow in GET /big');
        client.socket.resume();
        await client.closed();
        assert.ok(client.received > 0 && client.received < 50 << 20);
        client.destroy();
        await server.stillServes();
      }));
  });
}

for (const secure of [false, true]) {
  test(`--send-timeout: a client that takes a little all the time is no slow one${secure ? ', over TLS' : ''}`, async () => {
    const args = [...(secure ? CERT_ARGS : []), '--threads', '1', '--send-timeout', '1'];
    const server = await HttpServer.start('http2-strict.mjs', args);
    try {
      const at = { port: server.port, host: '127.0.0.1', rejectUnauthorized: false };
      const socket = secure ? connectTls(at) : connect(at);
      let taken = 0;
      socket.on('data', (data) => {
        taken += data.length;
        // About 500 KB/s: of what waits in the kernel a third has to go until there is room again.
        socket.pause();
        setTimeout(() => socket.resume(), data.length / 500);
      });
      socket.write('GET /bytes?50000000 HTTP/1.1\r\nHost: x\r\n\r\n');
      await until(() => taken > 3_000_000 || socket.closed, { timeoutMs: 30_000, what: '3 MB' });
      assert.doesNotMatch(server.log, /too slow|left|finished/);
      socket.destroy();
      await server.waitFor(/bytes\?50000000 (left|finished)/);
    } finally {
      await server.cleanup();
    }
  });
}

describe('handlers cannot split a response', () => {
  for (const [app, paths] of [
    [
      'http-split.mjs',
      [
        ...['header', 'name', 'status', 'statusmessage', 'trailer', 'trailername'],
        ...['hint', 'hintname', 'link', 'linktarget', 'linklist', 'linkwide', 'raw'],
      ],
    ],
    ['http-split-fetch.mjs', ['header', 'name', 'status', 'native', 'object', 'objectstatus']],
  ] as const) {
    it(app, async () => {
      const server = await HttpServer.start(app, ['--threads', '1']);
      try {
        for (const path of paths) {
          const text = await server.talk(`GET /${path} HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`);
          // The handler's call throws, which it reports; or where it goes unnoticed, the engine does.
          assert.match(text, /^HTTP\/1\.1 (200 OK\r\n.*\r\nrefused: ERR_\w+|500 )/s, `${path}: ${text}`);
          assert.doesNotMatch(text, /^evil/im, path);
        }
        const fine = await server.talk(`GET /hints HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`);
        if (app === 'http-split.mjs') {
          assert.match(
            fine,
            /^HTTP\/1\.1 103 Early Hints\r\nLink: <\/a>; rel=preload\r\nX-Hint: b\r\n\r\nHTTP\/1\.1 200 OK\r\n/,
          );
        }
      } finally {
        await server.cleanup();
      }
    });
  }
});

describe('what Node would send, and is not sent', () => {
  let server: HttpServer;
  before(async () => {
    server = await HttpServer.start('http-split.mjs', ['--threads', '1']);
  });
  after(() => server?.stop());

  it('a Content-Disposition of UTF-8 bytes, which Node makes CR LF of, leaves as it was set', async () => {
    // Its characters end in the bytes of CR and LF.
    const name = Buffer.from('\u010d\u010aEvil: b').toString('latin1');
    for (const path of ['bytes', 'text', 'empty', 'chunks']) {
      const text = await server.talk(`GET /disposition-${path} HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`);
      const [head, ...rest] = text.split('\r\n\r\n');
      assert.ok(head.split('\r\n').includes(`Content-Disposition: attachment; filename="${name}"`), text);
      assert.equal(rest.join('').replace(/^4\r\nb\xf6dy\r\n0$/, 'b\xf6dy'), path === 'empty' ? '' : 'b\xf6dy', path);
    }
  });

  it('interim responses to a client of HTTP/1.0', async () => {
    const text = await server.talk('GET /interim HTTP/1.0\r\n\r\n');
    assert.match(text, /^HTTP\/1\.1 200 OK\r\n.*\r\n\r\ndone, 3 callbacks$/s);
  });
});

describe('what a client sends does not write the log', () => {
  let server: HttpServer;
  let folder: string;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'tunicorn-strict-'));
    server = await HttpServer.start('http-node.mjs', [
      '--access-logfile',
      join(folder, 'access'),
      '--log-level',
      'debug',
    ]);
  });
  after(async () => {
    await server?.stop();
    rmSync(folder, { recursive: true });
  });

  const EVIL = '\x1b[2J" 200 "-\xe9\x9b\x85\x7f%0d%0a';

  it('neither by what is refused nor by what is served', async () => {
    const requests = [
      `GET /${EVIL}\r[2026-11-23 12:00:00 +0000] [1] [ERROR] forged HTTP/1.1\r\n${HOST}\r\n`,
      `GET /hello HTTP/1.1\r\nHost: ${EVIL}\r\n\r\n`,
      `${EVIL} /hello HTTP/1.1\r\n${HOST}\r\n`,
      `GET /hello HTTP/1.1 ${EVIL}\r\n${HOST}\r\n`,
      `GET /hello HTTP/1.1\r\n${HOST}${EVIL}: x\r\n\r\n`,
      `${POST}Transfer-Encoding: chunked\r\n\r\n5;${EVIL}\r\nabcde\r\n`,
      `${POST}Expect: forged"\xff\r\n\r\n`,
      `GET /hello?"\\x HTTP/1.1\r\n${HOST}User-Agent: forged" "\xe9\x9b\x85\xff\r\nReferer: \\"\tforged\r\nConnection: close\r\n\r\n`,
    ];
    for (const text of requests) assert.match(await server.talk(text), /^HTTP\/1\.1 (200|4\d\d|501) /);
    const lines = () => readFileSync(join(folder, 'access'), 'utf8').split('\n').slice(0, -1);
    await until(() => lines().length === requests.length, { what: 'the access log' });
    await until(() => (server.log.match(/Refused a request/g) ?? []).length === requests.length - 1);
    for (const line of lines()) {
      assert.match(line, /^[\x20-\x7e\xa1-\xff]*$/);
      // Its quotes still hold: request, referrer and user agent.
      assert.match(
        line,
        /^127\.0\.0\.1 - - \[[^\]]+\] "(?:[^"\\]|\\.)*" \d{3} \d+ "(?:[^"\\]|\\.)*" "(?:[^"\\]|\\.)*"$/,
      );
    }
    assert.match(lines().at(-1)!, /"GET \/hello\?\\"\\\\x HTTP\/1\.1" 200 /);
    for (const text of ['forged', '\x1b', '\xe9', 'ERROR']) assert.ok(!server.log.includes(text), JSON.stringify(text));
  });
});

describe('a long head in pieces, of which the last without a line is not parsed until the client ends its side', () => {
  for (const args of [
    ['--threads', '1'],
    ['-k', 'sync'],
  ]) {
    const server = HttpServer.start('http-node.mjs', args);
    after(async () => (await server).cleanup());

    /** Each piece has been read when the next one is sent: one that asks on a connection of its own comes behind it. */
    const pieces = async (...texts: string[]): Promise<string> => {
      const it = await server;
      const client = await it.connect();
      for (const text of texts) {
        await client.send(text);
        await it.stillServes();
      }
      client.socket.end();
      const all = await client.end();
      client.destroy();
      return all;
    };
    const begin = `${GET}X-A: ${'a'.repeat(2100)}`;

    for (const [what, bytes] of [
      ['bare CR', '\r\0\xff'],
      ['NUL', '\0b'],
    ]) {
      it(`${what}, ${args.join(' ')}: refused`, async () => {
        assert.match(await pieces(begin, `a${bytes}`), /^HTTP\/1\.1 400 [\s\S]*\r\nConnection: close\r\n/);
        assert.match(await pieces(begin, 'a'.repeat(500), `a${bytes}`), /^HTTP\/1\.1 400 /);
      });
    }

    it(`nothing wrong, ${args.join(' ')}: ends without an answer`, async () => {
      assert.equal(await pieces(begin, 'a'.repeat(500)), '');
    });
  }
});
