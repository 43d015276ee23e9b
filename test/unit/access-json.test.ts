/** The access log's JSON form. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DEFAULT_ACCESS_FORMAT } from '../../src/access-format.js';
import { compileAccess } from '../../src/access-json.js';

const facts = {
  remoteAddress: '192.0.2.7',
  remotePort: '40000',
  localAddress: '192.0.2.1',
  localPort: '8000',
  method: 'GET',
  target: '/a/b%20c?x=1',
  scheme: 'https',
  versionMinor: 0,
  status: 404,
  bodyBytes: 12,
  rawHeaders: [
    'Referer',
    'http://x/',
    'User-Agent',
    'a"\\\x9b\u202e',
    'X-A',
    'one',
    'x-a',
    'two',
    'Authorization',
    'Basic YW4gbjpw',
  ],
  responseHeader: (name: string) => (name === 'x-b' ? 'of "it"' : null),
  durationMs: 1.23456,
  queueMs: 0,
  cpuUs: 1500,
  loopUs: -1,
  thread: 3,
  route: 'GET /a/:id',
  id: '17.2.5',
} as const;

describe('compileAccess json', () => {
  it('has the same members for every request', () => {
    const format = compileAccess('json', DEFAULT_ACCESS_FORMAT);
    assert.deepEqual([format.needsTime, format.needsCost], [true, false]);
    const { time, ...rest } = JSON.parse(format.line(facts));
    assert.ok(Math.abs(Date.parse(time) - Date.now()) < 60_000);
    const whole = {
      pid: process.pid,
      thread: 3,
      remote_addr: '192.0.2.7',
      user: 'an n',
      method: 'GET',
      path: '/a/b c',
      query: 'x=1',
      protocol: 'HTTP/1.0',
      status: 404,
      bytes: 12,
      duration_ms: 1.235,
      queue_ms: 0,
      referer: 'http://x/',
      user_agent: 'a"\\\x9b\u202e',
      route: 'GET /a/:id',
      id: '17.2.5',
    };
    assert.deepEqual(rest, whole);
    const nothing = {
      ...facts,
      method: '',
      target: '',
      rawHeaders: [],
      durationMs: -1,
      queueMs: -1,
      thread: '' as const,
    };
    const none = JSON.parse(
      format.line({ ...nothing, remoteAddress: '', route: '', id: '', status: 400, bodyBytes: 0 }),
    );
    assert.deepEqual(Object.keys(none), ['time', ...Object.keys(whole)]);
    const { pid, status, bytes, time: at, ...nulls } = none;
    assert.deepEqual([pid, status, bytes, typeof at], [process.pid, 400, 0, 'string']);
    assert.ok(Object.values(nulls).every((value) => value === null));
  });

  it('is one line of plain text, whatever the client sent', () => {
    const line = compileAccess('json', '%(h)s').line({ ...facts, target: '/\n\x1b\x85\u2028' });
    assert.match(line, /^[ -~]+$/);
    assert.equal(JSON.parse(line).path, '/\n\x1b\x85\u2028');
  });

  it('adds what the format names beyond them', () => {
    const format = compileAccess(
      'json',
      '%(h)s %({X-A}i)s %({x-b}o)s %({x-c}O)s %({QUERY_STRING}e)s %(C)s %(E)8s %%(z)s %(z)s %(T)s',
    );
    assert.equal(format.needsCost, true);
    const object = JSON.parse(format.line(facts));
    assert.deepEqual(Object.entries(object).slice(17), [
      ['{X-A}i', 'two'],
      ['{x-b}o', 'of "it"'],
      ['{x-c}O', null],
      ['{QUERY_STRING}e', 'x=1'],
      ['C', 1.5],
      ['E', null],
    ]);
  });

  it('refuses the formats that the text form refuses', () => {
    assert.throws(() => compileAccess('json', '%(h'), SyntaxError);
    assert.match(compileAccess('text', '%(s)s').line(facts), /^404$/);
  });
});
