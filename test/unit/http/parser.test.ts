/** RequestParser: the same outcome wherever a message is split, limits of heads in pieces, and what is kept between messages. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FAILED, HEAD_DONE, MESSAGE_DONE, NEED_MORE, RequestParser } from '../../../src/http/parser.js';

const parser = new RequestParser({ line: 200, fields: 10, fieldSize: 200 });

interface Outcome {
  status: number;
  reason: string;
  method: string;
  url: string;
  headers: string[];
  body: string;
  trailers: string[];
  rest: string;
  /** The input has ended too early. */
  open: boolean;
}

/** Feeds one message in pieces, as thread/handle.ts and http/body.ts do. */
function feed(pieces: string[]): Outcome {
  const message = parser.begin();
  const seen: Outcome = {
    ...{ status: 0, reason: '', method: '', url: '', headers: [], body: '', trailers: [], rest: '', open: true },
  };
  let head = '';
  let inBody = false;
  let result = NEED_MORE;
  for (const [index, piece] of pieces.entries()) {
    if (piece === '') continue;
    const input = inBody ? piece : head + piece;
    parser.memory.write(input, parser.inputAt, 'latin1');
    result = inBody
      ? parser.more(message, parser.inputAt, input.length)
      : parser.head(message, parser.inputAt, input.length);
    if (result === FAILED) {
      seen.status = parser.status;
      seen.reason = parser.reason;
    } else if (result === NEED_MORE) {
      head = input;
      // Of a head that is parsed anew the state must not be used again.
      parser.end(message);
      assert.equal(parser.begin(), message);
      continue;
    } else {
      if (!inBody) Object.assign(seen, { method: parser.method, url: parser.url, headers: parser.headers });
      inBody = true;
      for (let i = 0; i < parser.body.length; i += 2) {
        seen.body += parser.memory.latin1Slice(parser.body[i], parser.body[i] + parser.body[i + 1]);
      }
    }
    if (result === HEAD_DONE) continue;
    seen.open = false;
    seen.trailers = message.trailers.list;
    if (result === MESSAGE_DONE) seen.rest = input.slice(parser.consumed) + pieces.slice(index + 1).join('');
    break;
  }
  // What came before a refusal is nobody's: in one piece it was not looked at.
  if (result === FAILED) Object.assign(seen, { method: '', url: '', headers: [], body: '', trailers: [] });
  parser.end(message);
  return seen;
}

const SHORT = [
  'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
  '\r\n\r\nGET / HTTP/1.0\r\n\r\nGET',
  'POST / HTTP/1.1\r\nHost:x\r\nContent-Length:3\r\n\r\nabcGET /',
  'POST / HTTP/1.1\r\nHost:x\r\nTransfer-Encoding:chunked\r\n\r\n3;a="b;"\r\nabc\r\n0\r\nT: u\r\n\r\nx',
  'GET / HTTP/1.1\r\nHost:\r\nA:\r\nB: \t c \r\n\r\n',
  'OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n',
  'GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n',
  // What has to be refused.
  '\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n',
  '\r\rGET / HTTP/1.1\r\n',
  'GET / HTTP/1.1\r\n\r\n',
  'GET  / HTTP/1.1\r\nHost: x\r\n\r\n',
  'GET /\r\nHost: x\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n',
  'GET / HTTP/1.1\nHost: x\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n',
  'GET / HTTP/2.0\r\nHost: x\r\n\r\n',
  'GET / HTTP/1.2\r\nHost: x\r\n\r\n',
  'GET / http/1.1\r\nHost: x\r\n\r\n',
  'GET / RTSP/1.0\r\n\r\n',
  'FOO / HTTP/1.1\r\nHost: x\r\n\r\n',
  'SETUP / HTTP/1.1\r\nHost: x\r\n\r\n',
  `${'M'.repeat(40)} / HTTP/1.1\r\n`,
  'GETT / HTTP/1.1\r\nHost: x\r\n\r\n',
  'F\x01O / HTTP/1.1\r\n\r\n',
  'GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n',
  'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  '\x16\x03\x01\x02\x00\x01',
  'POST / HTTP/1.1\r\nHost:x\r\nContent-Length:+3\r\n\r\nabc',
  'POST / HTTP/1.1\r\nHost:x\r\nContent-Length:3\r\nContent-Length:3\r\n\r\nabc',
  'POST / HTTP/1.1\r\nHost:x\r\nTransfer-Encoding:xchunked\r\n\r\n0\r\n\r\n',
  'POST / HTTP/1.1\r\nHost:x\r\nTransfer-Encoding:gzip,chunked\r\n\r\n0\r\n\r\n',
  'POST / HTTP/1.1\r\nHost:x\r\nTransfer-Encoding:chunked\r\n\r\n3;;\r\nabc\r\n0\r\n\r\n',
  'POST / HTTP/1.1\r\nHost:x\r\nTransfer-Encoding:chunked\r\n\r\n3\nabc\r\n0\r\n\r\n',
  'POST / HTTP/1.1\r\nHost:x\r\nTransfer-Encoding:chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n',
  'POST / HTTP/1.1\r\nHost:x\r\nTransfer-Encoding:chunked\r\n\r\n0;=a\r\n\r\n',
  'POST / HTTP/1.1\r\nHost:x\r\nTransfer-Encoding:chunked\r\n\r\n0\r\nT : u\r\n\r\n',
  'POST / HTTP/1.1\r\nHost:x\r\nTransfer-Encoding:chunked\r\n\r\n0\r\nContent-Length:3\r\n\r\n',
  'POST / HTTP/1.1\r\nHost:x\r\nTransfer-Encoding:chunked\r\n\r\n0\r\nTransfer-Encoding:chunked\r\n\r\n',
];

const LONG = [
  `GET /${'a'.repeat(300)} HTTP/1.1\r\nHost: x\r\n\r\n`,
  `GET / HTTP/1.1\r\nHost: x\r\nA: ${'b'.repeat(300)}\r\n\r\n`,
  `GET / HTTP/1.1\r\nHost: x\r\n${'A: b\r\n'.repeat(10)}\r\n`,
  `POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;${'a'.repeat(4200)}\r\nabc\r\n0\r\n\r\n`,
  `POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;${'a'.repeat(3900)}\r\nabc\r\n0\r\n\r\n`,
  `POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: ${'a'.repeat(300)}\r\n\r\n`,
  `POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: ${' '.repeat(3000)}a\r\n\r\n`,
];

/** The words of llhttp name the byte where it stopped, those of the limits the place; the status is what counts. */
function same(actual: Outcome, expected: Outcome, where: string): void {
  assert.deepEqual({ ...actual, reason: '' }, { ...expected, reason: '' }, `${where}: ${actual.reason}`);
}

test('split at every byte, and short ones at every pair of bytes', () => {
  for (const text of [...SHORT, ...LONG]) {
    const whole = feed([text]);
    for (let i = 1; i < text.length; i++) {
      same(feed([text.slice(0, i), text.slice(i)]), whole, `${JSON.stringify(text.slice(0, 200))} at ${i}`);
      if (text.length > 100) continue;
      for (let j = i + 1; j < text.length; j++) {
        const pieces = [text.slice(0, i), text.slice(i, j), text.slice(j)];
        same(feed(pieces), whole, `${JSON.stringify(text)} at ${i} and ${j}`);
      }
    }
    same(feed([...text]), whole, `${JSON.stringify(text.slice(0, 200))}, byte by byte`);
  }
});

test('what the messages above are', () => {
  const statuses = SHORT.map((text) => feed([text]).status);
  const ok = statuses.indexOf(400);
  assert.equal(ok, 7);
  assert.deepEqual(feed([SHORT[6]]).headers, ['Host', 'y'], 'the target stands above Host');
  assert.ok(statuses.slice(0, ok).every((status) => status === 0));
  assert.deepEqual([...new Set(statuses.slice(ok))].sort(), [400, 501, 505]);
  assert.deepEqual(
    LONG.map((text) => feed([text]).status),
    [414, 431, 431, 400, 0, 431, 431],
  );
  const chunked = feed([SHORT[3]]);
  assert.deepEqual([chunked.body, chunked.trailers, chunked.rest], ['abc', ['T', 'u'], 'x']);
  assert.equal(feed([SHORT[1]]).rest, 'GET');
});

test('nothing of a refused message is left for the next', () => {
  for (const text of [...SHORT, ...LONG]) {
    feed([text]);
    const { status, body, trailers, rest } = feed([SHORT[3]]);
    assert.deepEqual([status, body, trailers, rest], [0, 'abc', ['T', 'u'], 'x'], text);
  }
});

test('a percent sign in Host, or in an authority, begins two hexadecimal digits', () => {
  const ask = (host: string) => feed([`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`]).status;
  assert.equal(ask('a%2Db:80'), 0);
  for (const host of ['%', 'localho%t', 'a%2']) assert.equal(ask(host), 400, host);
  assert.equal(feed(['GET http://a%/ HTTP/1.1\r\nHost: a\r\n\r\n']).status, 400);
});

test("HTTP/2's preface is refused as soon as its method is there", () => {
  for (const text of ['PRI ', 'PRI / HTTP/1.1\r\n\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n']) {
    assert.equal(feed([text]).status, 400, text);
  }
  assert.equal(feed(['PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n']).method, 'PROPFIND');
});

test('a request line without a version is refused, also where the head is not whole', () => {
  for (const text of ['PUT /\nH', 'PUT /\r\nH', 'GET /r\nHost: a\r\nX']) assert.equal(feed([text]).status, 400, text);
});
