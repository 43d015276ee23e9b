/** Each kind of Response as it arrives, and each way to look at a Request, in tables, through the real engine. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { HttpServer } from '../support/http-server.js';
import { until } from '../support/poll.js';
import type { RawClient, RawResponse } from '../support/raw-client.js';

const TEXT = 'text/plain;charset=UTF-8';

/** What must come: status line's rest, content-type, body (latin1), length (null: chunked; undefined: neither). */
type Expected = [status: string, type: string | undefined, body: string | RegExp, length: number | null | undefined];

const RESPONSES: Record<string, Expected> = {
  text: ['200 OK', TEXT, 't\xc3\xa9xt', 5],
  empty: ['200 OK', TEXT, '', 0],
  null: ['200 OK', undefined, '', 0],
  bytes: ['200 OK', undefined, 'bytes', 5],
  buffer: ['200 OK', undefined, 'buffer', 6],
  view: ['200 OK', undefined, 'view', 4],
  blob: ['200 OK', 'x/y', 'blob', 4],
  untyped: ['200 OK', undefined, 'blob', 4],
  file: ['200 OK', 'text/html', 'a file', 6],
  clonedblob: ['200 OK', undefined, 'blob', 4],
  params: ['200 OK', 'application/x-www-form-urlencoded;charset=UTF-8', 'a=1&b=2+3', 9],
  stream: ['200 OK', undefined, 'stream', null],
  strings: ['200 OK', undefined, 't\xc3\xa9xt', null],
  words: ['200 OK', undefined, 'ABCD', null],
  duck: ['200 OK', undefined, '', 0],
  bytestream: ['200 OK', undefined, 'byob', null],
  iterable: ['200 OK', undefined, 'iterable', null],
  transformed: ['200 OK', undefined, 'through', null],
  json: ['201 Made', 'application/json', '{"a":"\xc3\xa9"}', 10],
  redirect: ['307 Temporary Redirect', undefined, '', 0],
  error: ['500 Internal Server Error', 'text/plain; charset=utf-8', /Internal Server Error/, 26],
  clone: ['200 OK', TEXT, 'twotimes 1', 10],
  cloned: ['200 OK', undefined, 'the clone', null],
  cookies: ['200 OK', TEXT, 'x', 1],
  native: ['203 Non-Authoritative Information', TEXT.toLowerCase(), 'wrapped', 7],
  undici: ['202 Accepted', TEXT, 'of another fetch', 16],
  undicistream: ['200 OK', undefined, 'another', null],
  204: ['204 No Content', undefined, '', undefined],
  205: ['205 Reset Content', undefined, '', 0],
  304: ['304 Not Modified', undefined, '', undefined],
  // An unsigned short, as Web IDL converts it.
  '200.5': ['200 OK', TEXT, 'x', 1],
  teapot: ["418 I'm a teapot", TEXT, 'short', 5],
  unknown: ['299 Unknown', TEXT, 'x', 1],
  typed: ['200 OK', 'text/html', '<p>', 3],
  untypedtext: ['200 OK', undefined, 'no type', 7],
  promise: ['200 OK', TEXT, 'promised', 8],
  thenable: ['200 OK', TEXT, 'thenable', 8],
  thrown: ['500 Internal Server Error', 'text/plain; charset=utf-8', /Internal/, 26],
  used: ['500 Internal Server Error', 'text/plain; charset=utf-8', /Internal/, 26],
};

const POST_FORM = [
  '--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n',
  '--b\r\nContent-Disposition: form-data; name="f"; filename="x.txt"\r\nContent-Type: text/plain\r\n\r\nfile\r\n--b--\r\n',
];

/** Handler, header lines, body (in pieces that are sent apart), what it says. */
const REQUESTS: [name: string, lines: string, body: string[], expected: unknown][] = [
  ['facts', '', ['x'], ['POST', 'half', 'follow', true, '[object Request]']],
  [
    'headers',
    'X-A: 1\r\nx-a: 2\r\nCookie: a=1\r\nCookie: b=2\r\nX-Obs: caf\xe9\r\n',
    [],
    [
      [
        ['content-length', '0'],
        ['cookie', 'a=1; b=2'],
        ['host', 'h.test'],
        ['x-a', '1, 2'],
        ['x-obs', 'caf\u00e9'],
      ],
      'n',
      'a=1; b=2; c=3',
      false,
      [],
    ],
  ],
  ['text', '', ['h\xc3', '\xa9', 'llo'], 'h\u00e9llo'],
  ['json', '', ['{"a"', ':[1]}'], { a: [1] }],
  ['bytes', '', ['ab', 'c'], [97, 98, 99]],
  ['buffer', '', ['ab', 'c'], 3],
  ['blob', 'Content-Type: x/y\r\n', ['ab', 'c'], ['x/y', 'abc']],
  ['form', 'Content-Type: application/x-www-form-urlencoded\r\n', ['a=1&', 'b=%C3%A9'], [['a', '', '1'], ['b', '', '\u00e9']]], // biome-ignore format: one line each
  ['form', 'Content-Type: multipart/form-data; boundary=b\r\n', POST_FORM, [['a', '', '1'], ['f', 'x.txt', 'file']]], // biome-ignore format: one line each
  ['used', '', ['{}'], [false, '{}', true, 'TypeError']],
  ['tee', '', ['a', 'b'], ['ab', 'ab', true]],
  ['clone', 'X-A: 1\r\n', ['a', 'b'], ['ab', 'ab', '1', true]],
  ['copy', '', ['a', 'b'], ['POST', 'b', 'ab', true]],
  ['byob', '', ['abcd', 'efghij'], 'abcdefghij'],
  ['iterate', '', ['abcd', 'efghij'], 'abcdefghij'],
  ['cancel', '', ['abcd', 'efghij'], true],
  ['break', '', ['abcd', 'efghij'], true],
  ['nobody', '', [], [true, false, '', true]],
  ['nothing', '', [], ['', true, 'TypeError']],
];

const URLS: [line: string, host: string | null, url: string][] = [
  ['GET /request/url?a=%20b HTTP/1.1', 'Example.TEST:8080', 'http://example.test:8080/request/url?a=%20b'],
  ['GET /request/url HTTP/1.1', '[::1]:8000', 'http://[::1]:8000/request/url'],
  ['GET http://other.test/request/url HTTP/1.1', 'a.test', 'http://other.test/request/url'],
  ['GET /request/url HTTP/1.1', '', 'local/request/url'],
  ['GET /request/url HTTP/1.0', null, 'local/request/url'],
  ['GET /request/url HTTP/1.1', 'a.test:99999', 'local/request/url'],
];

describe('http, fetch in tables', () => {
  let server: HttpServer;
  let client: RawClient;
  before(async () => {
    server = await HttpServer.start('http-fetch-table.mjs', ['--threads', '1']);
    client = await server.connect();
  });
  after(async () => {
    client?.destroy();
    await server?.stop();
  });

  async function ask(line: string, host: string | null, more = ''): Promise<RawResponse> {
    // After an error the connection is closed.
    if (client.ended) client = await server.connect();
    const head = line.startsWith('HEAD');
    client.write(`${line}\r\n${host === null ? '' : `Host: ${host}\r\n`}${more}\r\n`);
    const response = await client.response({ head });
    if (/close/.test(response.headers.connection ?? '')) await client.closed();
    return response;
  }

  for (const [name, [status, type, body, length]] of Object.entries(RESPONSES)) {
    it(`Response: ${name}`, async () => {
      for (const method of ['GET', 'HEAD']) {
        const got = await ask(`${method} /response/${name} HTTP/1.1`, 'h.test');
        assert.equal(got.head.split('\r\n', 1)[0], `HTTP/1.1 ${status}`, method);
        assert.equal(got.headers['content-type']?.toLowerCase(), type?.toLowerCase(), method);
        // That the platform's or a foreign one has all of its body at hand shows only when it is read.
        if (/undici|200\.5/.test(name) && method === 'HEAD') continue;
        // What a GET would get is known of a body, not of its absence.
        const told =
          typeof length === 'number' && (length > 0 || method === 'GET' || type !== undefined)
            ? String(length)
            : undefined;
        assert.equal(got.headers['content-length'], told, method);
        assert.equal(got.headers['transfer-encoding'], length === null ? 'chunked' : undefined, method);
        if (method === 'HEAD') assert.equal(got.body, '');
        else if (typeof body === 'string') assert.equal(got.body, body);
        else assert.match(got.body, body);
        if (/cookies|undici$/.test(name)) assert.deepEqual(got.head.match(/^set-cookie: .=.$/gim)?.length, 2);
        if (name === 'redirect') assert.equal(got.headers.location, 'http://other.test/x?y');
        if (name === '304') assert.equal(got.headers.etag, '"e"');
      }
    });
  }

  it('Response: a form, with the boundary that its type says; a compressed stream', async () => {
    const form = await ask('GET /response/form HTTP/1.1', 'h.test');
    const boundary = /^multipart\/form-data; boundary=(\S+)$/.exec(form.headers['content-type'])![1];
    const parts = form.body.split(`--${boundary}`);
    assert.equal(parts.length, 4);
    assert.match(parts[1], /name="a"\r\n\r\n\xc3\xa9\r\n$/);
    assert.match(parts[2], /name="file"; filename="n.txt"\r\nContent-Type: text\/plain\r\n\r\ncontent\r\n$/);
    const gzip = await ask('GET /response/compressed HTTP/1.1', 'h.test');
    assert.equal(gunzipSync(Buffer.from(gzip.body, 'latin1')).toString(), 'x'.repeat(1000));
  });

  for (const [name, lines, body, expected] of REQUESTS) {
    it(`Request: ${name}${lines && ` (${lines.split('\r\n', 1)[0]})`}`, async () => {
      const length = body.reduce((sum, piece) => sum + piece.length, 0);
      for (const apart of [false, true]) {
        const head = `POST /request/${name} HTTP/1.1\r\nHost: h.test\r\nContent-Length: ${length}\r\n${lines}\r\n`;
        if (!apart) await client.send(head + body.join(''));
        else for (const piece of [head, ...body]) await client.send(piece);
        const { status, body: text } = await client.response();
        assert.equal(status, 200, `${server.log}`);
        assert.deepEqual(JSON.parse(Buffer.from(text, 'latin1').toString()), expected);
      }
    });
  }

  it('Request: an empty body is one, however it is framed and whenever its end comes', async () => {
    const nobody = async (...pieces: string[]) => {
      for (const piece of pieces) await client.send(piece);
      return JSON.parse((await client.response()).body);
    };
    const head = 'POST /request/nobody HTTP/1.1\r\nHost: h.test\r\n';
    assert.deepEqual(await nobody(`${head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`), [true, false, '', true]);
    assert.deepEqual(await nobody(`${head}Transfer-Encoding: chunked\r\n\r\n`, '0\r\n\r\n'), [true, false, '', true]);
    assert.deepEqual(await nobody(`${head}\r\n`), [false, false]);
  });

  it('Request: url', async () => {
    for (const [line, host, url] of URLS) {
      const { body } = await ask(line, host);
      assert.equal(JSON.parse(body), url.replace(/^local/, server.url), `${line}, Host ${host}`);
    }
  });

  it('Request: a body that is cancelled is drained, the connection stays', async () => {
    for (const name of ['cancel', 'break']) {
      await client.send(`POST /request/${name} HTTP/1.1\r\nHost: h.test\r\nContent-Length: 100000\r\n\r\nfirst`);
      assert.equal((await client.response()).body, 'true');
      await client.send(Buffer.alloc(100_000 - 5));
      assert.equal((await ask('GET /response/text HTTP/1.1', 'h.test')).status, 200);
    }
  });

  it('the signal: aborts when the client leaves, through AbortSignal.any too; not when the response is out', async () => {
    const early = await server.connect();
    early.write('GET /request/keepsignal HTTP/1.1\r\nHost: h.test\r\n\r\n');
    assert.equal((await early.response()).body, 'false');
    early.destroy();
    const leaver = await server.connect();
    leaver.write('GET /request/waitany HTTP/1.1\r\nHost: h.test\r\n\r\n');
    const seen = async () => (await ask('GET /request/seen HTTP/1.1', 'h.test')).body;
    await until(async () => (await seen()) === '"waiting"', { what: 'the handler to wait' });
    leaver.destroy();
    await until(async () => (await seen()) === '"AbortError true"', { what: 'the signal to abort' });
    assert.equal((await ask('GET /request/signalafter HTTP/1.1', 'h.test')).body, 'false');
  });
});
