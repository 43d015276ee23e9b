/** The access log's format: every atom, gunicorn's syntax, and that no client can forge a line. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fieldOf } from '../../src/access-atoms.js';
import { type AccessFacts, compileAccessFormat, DEFAULT_ACCESS_FORMAT } from '../../src/access-format.js';
import { version } from '../../src/version.js';

const STAMP = /\[\d\d\/(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]/;

function facts(some: Partial<AccessFacts> = {}): AccessFacts {
  return {
    remoteAddress: '192.0.2.7',
    remotePort: '40000',
    localAddress: '192.0.2.1',
    localPort: '8000',
    scheme: 'http',
    method: 'GET',
    target: '/a/b%20c?x=1&y=%22',
    versionMinor: 1,
    status: 404,
    bodyBytes: 1234,
    rawHeaders: ['Host', 'example.org', 'REFERER', 'http://x/', 'User-Agent', 'curl/8', 'X-A', 'one', 'x-a', 'two'],
    responseHeader: (name) => (name === 'content-type' ? 'text/plain' : null),
    durationMs: 61_234.5678,
    queueMs: 20,
    cpuUs: 1500,
    loopUs: 42,
    thread: 3,
    route: 'GET /a/:id',
    id: '17.2.5',
    ...some,
  };
}

const show = (format: string, some?: Partial<AccessFacts>) => compileAccessFormat(format).line(facts(some));
const basic = (text: string | Buffer) => ({
  rawHeaders: ['Authorization', `Basic ${Buffer.from(text).toString('base64')}`],
});

/** What a Combined Log Format parser makes of a line. */
const COMBINED =
  /^(\S+) (\S+) (\S+) \[([^\]]*)\] "((?:[^"\\]|\\.)*)" (\d+) (\d+) "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"$/;

describe('atoms', () => {
  process.env.TUNICORN_TEST_VARIABLE = 'of "the" process';
  for (const [format, expected, some] of [
    ['%(h)s', '192.0.2.7'],
    ['%(h)s', '-', { remoteAddress: '' }],
    ['%(l)s', '-'],
    ['%(u)s', '-'],
    ['%(u)s', 'ann', basic('ann:secret')],
    ['%(u)s', 'ann', { rawHeaders: ['authorization', 'bAsIc  YW5uOg== '] }],
    ['%(u)s', 'j\u00f6rg', basic('j\u00f6rg:a:b')],
    ['%(u)s', 'nocolon', basic('nocolon')],
    ['%(u)s', '-', basic(':secret')],
    ['%(u)s', '-', basic(Buffer.of(0xff, 0xfe, 0x3a))],
    ['%(u)s', '-', { rawHeaders: ['Authorization', 'Bearer YW5uOg=='] }],
    ['%(u)s', '-', { rawHeaders: ['Authorization', 'Basic'] }],
    ['%(r)s', 'GET /a/b%20c?x=1&y=%22 HTTP/1.1'],
    ['%(r)s|%(m)s|%(H)s', '-|-|-', { method: '', target: '' }],
    ['%(m)s', 'GET'],
    ['%(U)s', '/a/b c'],
    ['%(U)s', '/caf\u00e9', { target: '/caf%C3%A9' }],
    ['%(U)s', '/%ff%2e', { target: '/%ff%2e' }],
    ['%(U)s|%(q)s', '/p|a=b?c', { target: 'http://h:1/p?a=b?c#f' }],
    ['%(U)s|%(q)s', '*|', { target: '*' }],
    ['%(q)s', 'x=1&y=%22'],
    ['%(q)s', '', { target: '/a' }],
    ['%(H)s', 'HTTP/1.0', { versionMinor: 0 }],
    ['%(s)s', '404'],
    ['%(B)s %(b)s', '1234 1234'],
    ['%(B)s %(b)s', '0 0', { bodyBytes: 0 }],
    ['%(f)s', 'http://x/'],
    ['%(f)s', '-', { rawHeaders: ['Referer', ''] }],
    ['%(a)s', 'curl/8'],
    ['%(a)s', '-', { rawHeaders: [] }],
    ['%(T)s', '61'],
    ['%(D)s', '61234568'],
    ['%(M)s', '61234'],
    ['%(L)s', '61.234568'],
    ['%(T)s %(D)s %(M)s %(L)s', '0 40 0 0.000040', { durationMs: 0.04 }],
    ['%(T)s %(D)s %(M)s %(L)s', '- - - -', { durationMs: -1 }],
    ['%(p)s', `<${process.pid}>`],
    ['%({Host}i)s %({x-a}I)s', 'example.org two'],
    ['%({X-Missing}i)s', '-'],
    ['%({Content-Type}o)s', 'text/plain'],
    ['%({X-Missing}o)s', '-'],
    ['%({Content-Type}o)s', '-', { responseHeader: null }],
    ['%({REQUEST_METHOD}e)s %({raw_uri}e)s', 'GET /a/b%20c?x=1&y=%22'],
    ['%({PATH_INFO}e)s %({QUERY_STRING}e)s', '/a/b c x=1&y=%22'],
    ['%({SERVER_PROTOCOL}e)s %({REMOTE_ADDR}e)s', 'HTTP/1.1 192.0.2.7'],
    ['%({REMOTE_PORT}e)s %({SERVER_NAME}e)s:%({server_port}e)s', '40000 192.0.2.1:8000'],
    ['%({REMOTE_PORT}e)s %({SERVER_NAME}e)s', '- -', { remotePort: '', localAddress: '' }],
    ['%({SERVER_SOFTWARE}e)s', `tunicorn/${version}`],
    ['%({wsgi.url_scheme}e)s,%({SCRIPT_NAME}e)s', 'http,'],
    ['%({HTTP_USER_AGENT}e)s %({HTTP_X_A}e)s', 'curl/8 two'],
    ['%({CONTENT_TYPE}e)s', 'a/b', { rawHeaders: ['Content-Type', 'a/b'] }],
    ['%({TUNICORN_TEST_VARIABLE}e)s', 'of \\"the\\" process'],
    ['%({NO_SUCH_VARIABLE}e)s', '-'],
    ['%(Q)s', '20'],
    ['%(C)s', '1.500'],
    ['%(E)s', '0.042'],
    ['%(Q)s %(C)s %(E)s', '- - -', { queueMs: -1, cpuUs: -1, loopUs: -1 }],
    ['%(C)s %(E)s', '0.000 0.000', { cpuUs: 0, loopUs: 0 }],
    ['%(W)s', '3'],
    ['%(W)s %(R)s %(I)s', '- - -', { thread: '', route: '', id: '' }],
    ['%(R)s', 'GET /a/:id'],
    ['%(I)s', '17.2.5'],
    ['%(z)s %(foo)s %()s %({})s %(toString)s', '- - - - -'],
  ] as [string, string, Partial<AccessFacts>?][]) {
    it(`${format} is ${JSON.stringify(expected)}`, () => assert.equal(show(format, some), expected));
  }

  it('%(t)s is the time in the Common Log Format', () => {
    const before = Math.floor(Date.now() / 1000) * 1000;
    const text = show('%(t)s');
    assert.match(text, new RegExp(`^${STAMP.source}$`));
    const [, day, month, year, time, zone] = /^\[(\d+)\/(\w+)\/(\d+):([\d:]+) ([+-]\d+)\]$/.exec(text)!;
    const at = Date.parse(`${day} ${month} ${year} ${time} ${zone}`);
    assert.ok(at >= before && at <= Date.now(), text);
  });
});

describe('fieldOf', () => {
  const head = 'HTTP/1.1 200 OK\r\nX-A: 1\r\nx-b:\r\nX-a:  2 \r\n\r\n';
  for (const [name, value] of [
    ['x-a', '2'],
    ['x-b', ''],
    ['a', null],
    ['x-[', null],
    ['x.a', null],
  ] as const) {
    it(`${name} is ${JSON.stringify(value)}`, () => assert.equal(fieldOf(head, name), value));
  }
});

describe('syntax', () => {
  for (const [format, expected] of [
    ['', ''],
    ['plain', 'plain'],
    ['100%%', '100%'],
    ['%%(h)s', '%(h)s'],
    ['%(s)s%(s)s', '404404'],
    ['{"status": %(s)s, "path": "%(U)s"}', '{"status": 404, "path": "/a/b c"}'],
    ['a\t%(s)s\t%(m)s', 'a\t404\tGET'],
    [
      '[%(s)6s] [%(s)-6s] [%(s)06d] [%(m)05s] [%(l)3s] [%(s)2d] [%(s)i]',
      '[   404] [404   ] [000404] [  GET] [  -] [404] [404]',
    ],
  ]) {
    it(JSON.stringify(format), () => assert.equal(show(format), expected));
  }

  it('a text is cut as in Python, but no escape is halved', () => {
    assert.equal(show('[%(m).2s] [%(m).9s] [%(m).s] [%(a)-6.4s] [%(a)6.4s]'), '[GE] [GET] [] [curl  ] [  curl]');
    const agent = (most: number) => show(`%(a).${most}s`, { rawHeaders: ['User-Agent', 'a"\x01b\ud83d\ude00c'] });
    assert.deepEqual([0, 1, 2, 3, 6, 7, 8, 9, 10, 11].map(agent), [
      '',
      'a',
      'a',
      'a\\"',
      'a\\"',
      'a\\"\\x01',
      'a\\"\\x01b',
      'a\\"\\x01b',
      'a\\"\\x01b\ud83d\ude00',
      'a\\"\\x01b\ud83d\ude00c',
    ]);
    assert.equal(show('%(u).4s', basic('x y:')), 'x');
  });

  for (const [format, place] of [
    ['%', /^"%" at character 1 /],
    ['%h', /^"%h" at character 1 /],
    ['ab %(h) %(l)s', /^"%\(h\) %\(l\)s" at character 4 /],
    ['%(h)', /at character 1 /],
    ['%(h', /at character 1 /],
    ['%(s)s 5%', /^"%" at character 8 /],
    ['%(h)x', /at character 1 /],
    ['%(a).10d', /at character 1 /],
    ['%(a).99999s', /at character 1 /],
    ['%(D)1000s', /at character 1 /],
    ['%({a(b}i)s', /at character 1 /],
  ] as [string, RegExp][]) {
    it(`refuses ${JSON.stringify(format)}`, () => {
      assert.throws(() => compileAccessFormat(format), { name: 'SyntaxError', message: place });
    });
  }
});

describe('what has to be measured', () => {
  const needs = (format: string) => {
    const { needsTime, needsCost } = compileAccessFormat(format);
    return [needsTime, needsCost];
  };
  it('nothing for the default', () => assert.deepEqual(needs(DEFAULT_ACCESS_FORMAT), [false, false]));
  it('time', () => {
    for (const letter of 'TDML') assert.deepEqual(needs(`%(h)s %(${letter})s`), [true, false]);
  });
  it('cost', () => {
    for (const letter of 'QCE') assert.deepEqual(needs(`%(h)s %(${letter})5s`), [false, true]);
  });
  it('no header or variable counts as a letter', () =>
    assert.deepEqual(needs('%({T}i)s %({C}e)s %(TC)s T C'), [false, false]));

  it('only what is shown is read', () => {
    const read = new Set<string>();
    const spy = new Proxy(facts(), {
      get: (target, key) => {
        read.add(String(key));
        return target[key as keyof AccessFacts];
      },
    });
    compileAccessFormat('%(s)s %(l)s').line(spy);
    assert.deepEqual([...read].sort(), ['rawHeaders', 'status']);
  });
});

describe('the default format', () => {
  const line = (some?: Partial<AccessFacts>) => show(DEFAULT_ACCESS_FORMAT, some);

  it("is gunicorn's", () => {
    assert.equal(DEFAULT_ACCESS_FORMAT, '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"');
    assert.equal(
      line().replace(STAMP, 'TIME'),
      '192.0.2.7 - - TIME "GET /a/b%20c?x=1&y=%22 HTTP/1.1" 404 1234 "http://x/" "curl/8"',
    );
    assert.equal(
      line({ method: '', target: '', rawHeaders: [], status: 400, bodyBytes: 0 }).replace(STAMP, 'TIME'),
      '192.0.2.7 - - TIME "-" 400 0 "-" "-"',
    );
  });

  it('shows each line its own request', () => {
    const format = compileAccessFormat('%(a)s %(f)s');
    assert.equal(format.line(facts()), 'curl/8 http://x/');
    assert.equal(format.line(facts({ rawHeaders: ['user-agent', 'b'] })), 'b -');
    assert.equal(format.line(facts({ rawHeaders: [] })), '- -');
  });

  // Everything that could end a field or a line, or make it look like another one.
  const evil = 'a" 200 0 "-" "x\\"\n192.0.2.9 - - [x] "GET / HTTP/1.1\r\t\0\x1b[2J\x7f\x85';
  it('cannot be forged by headers', () => {
    const text = line({ rawHeaders: ['User-Agent', evil, 'Referer', `\\${evil}\\`] });
    const [, host, , user, , request, status, bytes, referer, agent] = COMBINED.exec(text)!;
    assert.deepEqual([host, user, status, bytes], ['192.0.2.7', '-', '404', '1234']);
    assert.equal(request, 'GET /a/b%20c?x=1&y=%22 HTTP/1.1');
    const shown =
      'a\\" 200 0 \\"-\\" \\"x\\\\\\"\\x0a192.0.2.9 - - [x] \\"GET / HTTP/1.1\\x0d\\x09\\x00\\x1b[2J\\x7f\\x85';
    assert.equal(agent, shown);
    assert.equal(referer, `\\\\${shown}\\\\`);
  });

  it('cannot be forged by the target or the user', () => {
    const text = line({ target: `/"\\\n${evil}`, ...basic('x - [y] "GET / HTTP/1.1"\n\u2028\u202e 200:') });
    const match = COMBINED.exec(text);
    assert.ok(match, text);
    assert.equal(match[3], 'x\\x20-\\x20[y]\\x20\\"GET\\x20/\\x20HTTP/1.1\\"\\x0a\\u2028\\u202e\\x20200');
    assert.ok(match[5].startsWith('GET /\\"\\\\\\x0aa\\" 200'), match[5]);
  });

  it('nor other atoms by decoding or by other values', () => {
    const format = '%(U)s|%(q)s|%({x}i)s|%({x}o)s|%({raw_uri}e)s|%(R)s|%(I)s';
    const text = show(format, {
      target: '/%0a%22%5c%E2%80%A8?"\n',
      rawHeaders: ['x', '"\n'],
      responseHeader: () => '"\n',
      route: '"\n',
      id: '"\n',
    });
    const nl = '\\"\\x0a';
    assert.equal(text, `/\\x0a\\"\\\\\\u2028|${nl}|${nl}|${nl}|/%0a%22%5c%E2%80%A8?${nl}|${nl}|${nl}`);
  });
});
