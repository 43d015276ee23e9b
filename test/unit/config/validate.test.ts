import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { groupId, userId } from '../../../src/config/accounts.js';
import { envList, fileMask, hint, InvalidValue, optionalPath, parseAddress } from '../../../src/config/validate.js';

describe('parseAddress', () => {
  for (const [text, want] of [
    ['127.0.0.1:8000', { family: 'tcp', host: '127.0.0.1', port: 8000 }],
    ['localhost', { family: 'tcp', host: 'localhost', port: 8000 }],
    [':80', { family: 'tcp', host: '0.0.0.0', port: 80 }],
    ['[::1]:0', { family: 'tcp', host: '::1', port: 0 }],
    ['[::]', { family: 'tcp', host: '::', port: 8000 }],
    ['tcp://a.example:1', { family: 'tcp', host: 'a.example', port: 1 }],
    ['http://a.example:1', { family: 'tcp', host: 'a.example', port: 1 }],
    ['unix:/run/x.sock', { family: 'unix', path: '/run/x.sock' }],
    ['unix:///run/x.sock', { family: 'unix', path: '/run/x.sock' }],
    ['unix:rel.sock', { family: 'unix', path: 'rel.sock' }],
    ['fd://3', { family: 'fd', fd: 3 }],
    ['FD://007', { family: 'fd', fd: 7 }],
    [' :80 ', { family: 'tcp', host: '0.0.0.0', port: 80 }],
  ] as const) {
    it(`reads ${text}`, () => assert.deepEqual(parseAddress(text), want));
  }

  for (const [text, message] of [
    ['8000', /no host \(did you mean :8000/],
    ['::1', /in brackets/],
    ['::1:8000', /not host:port/],
    ['[127.0.0.1]:1', /not an IPv6 address/],
    ['[]:1', /not an IPv6 address/],
    ['a:65536', /port must be/],
    ['a:99999999', /not host:port/],
    ['a:-1', /not host:port/],
    ['a:b', /not host:port/],
    ['http://a:1/', /not host:port/],
    ['unix:', /no path/],
    [`unix:/${'x'.repeat(107)}`, /at most 107 bytes/],
    ['fd://2', /3 or more/],
    ['fd:3', /is not fd:\/\/N/],
    ['fd://', /is not fd:\/\/N/],
    ['fd://3x', /is not fd:\/\/N/],
    ['fd://9999999', /is not fd:\/\/N/],
    ['', /not an address/],
    [null, /not an address/],
  ] as const) {
    it(`refuses ${text}`, () => {
      assert.throws(
        () => parseAddress(text),
        (err) => err instanceof InvalidValue && message.test(err.message),
      );
    });
  }
});

describe('hint', () => {
  it('names the nearest word, if one is near', () => {
    assert.equal(hint('wrokers', ['bind', 'workers', 'worker_class']), ' (did you mean workers?)');
    assert.equal(hint('zzz', ['bind', 'workers']), '');
    assert.equal(hint('', ['bind']), '');
    assert.equal(hint('warn', ['info', 'warning']), ' (did you mean warning?)', 'the beginning of a word');
    assert.equal(hint('work', ['work_x', 'work_one']), ' (did you mean work_x?)', 'the shortest');
  });
});

function refuses(fn: () => unknown, message: RegExp): void {
  assert.throws(fn, (err) => err instanceof InvalidValue && message.test(err.message));
}

describe('fileMask', () => {
  for (const [value, want] of [
    [0, 0],
    ['0', 0],
    [0o77, 63],
    ['077', 63],
    ['0o77', 63],
    ['0O77', 63],
    ['0x3F', 63],
    [' 63 ', 63],
    ['0777', 511],
  ] as const) {
    it(`reads ${JSON.stringify(value)}`, () => assert.equal(fileMask().parse(value), want));
  }

  it('refuses what is no mask', () => {
    for (const value of ['', '08', '0x', '0o8', '-1', '1.5', '1000', -1, 512, 1.5, null, undefined, [], true]) {
      refuses(() => fileMask().parse(value), /is not a mask from 0 to 0o777/);
    }
  });
});

describe('envList', () => {
  it('reads one or several NAME=VALUE', () => {
    assert.deepEqual(envList().parse(['A=1', 'B=', 'C=x=y']), ['A=1', 'B=', 'C=x=y']);
    assert.deepEqual(envList().parse('A=1,2'), ['A=1,2']);
    assert.deepEqual(envList().parse([]), []);
  });

  it('refuses others', () => {
    for (const value of ['A', '=1', '', null, 3, ['A=1', 'B'], [1], 'A=\0', 'A\0=1', { A: '1' }]) {
      refuses(() => envList().parse(value), /is not NAME=VALUE/);
    }
  });
});

describe('accounts', () => {
  it('are found by name and by number', () => {
    assert.equal(userId().parse('root'), 0);
    assert.equal(groupId().parse('root'), 0);
    assert.equal(userId().parse('12345'), 12345);
    assert.equal(userId().parse(0), 0);
    assert.equal(groupId().parse(null), null);
  });

  it('are refused if unknown', () => {
    for (const value of ['no-such-user', '', '-x', 'a:b', '1.5', -1, 1.5, 2 ** 32, [], true]) {
      refuses(() => userId().parse(value), /is not a user of this system/);
      refuses(() => groupId().parse(value), /is not a group of this system/);
    }
  });
});

describe('optionalPath', () => {
  it('takes a path or null', () => {
    assert.equal(optionalPath().parse('a/b'), 'a/b');
    assert.equal(optionalPath().parse(null), null);
    refuses(() => optionalPath().parse(''), /is not a file path/);
    refuses(() => optionalPath().parse(3), /is not a file path/);
    refuses(() => optionalPath().parse('a\0'), /NUL/);
  });
});
