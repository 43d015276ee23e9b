import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { hint, InvalidValue, parseAddress } from '../../../src/config/validate.js';

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
    ['fd://3', /not supported/],
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
  });
});
