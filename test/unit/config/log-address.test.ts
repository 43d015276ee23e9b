import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { metricText, parseStatsdAddress, parseSyslogAddress } from '../../../src/config/log-address.js';
import { InvalidValue } from '../../../src/config/validate.js';

const inet = (stream: boolean, host: string, port: number) => ({ family: 'inet', stream, host, port });
const unix = (stream: boolean | null, path: string) => ({ family: 'unix', stream, path });

describe('parseSyslogAddress', () => {
  for (const [text, expected] of [
    ['udp://localhost:514', inet(false, 'localhost', 514)],
    ['udp://Log.Example', inet(false, 'log.example', 514)],
    ['udp://', inet(false, 'localhost', 514)],
    ['tcp://[::1]:6514', inet(true, '::1', 6514)],
    ['unix:///dev/log', unix(null, '/dev/log')],
    ['unix:///dev/log#dgram', unix(false, '/dev/log')],
    ['unix:///dev/log#stream', unix(true, '/dev/log')],
  ] as const) {
    it(text, () => assert.deepEqual(parseSyslogAddress(text), expected));
  }
  for (const text of [
    'localhost:514',
    'http://x',
    'unix://',
    'unix:///a#tcp',
    'udp://h:0',
    'udp://h:99999',
    'tcp://h:p',
  ]) {
    it(`refuses ${text}`, () => assert.throws(() => parseSyslogAddress(text), InvalidValue));
  }
});

describe('parseStatsdAddress', () => {
  for (const [text, expected] of [
    ['localhost:8125', inet(false, 'localhost', 8125)],
    ['10.0.0.1', inet(false, '10.0.0.1', 8125)],
    ['[::1]:9', inet(false, '::1', 9)],
    ['unix:///run/statsd', unix(false, '/run/statsd')],
    ['unix:run/statsd', unix(false, 'run/statsd')],
    ['unix:8125', inet(false, 'unix', 8125)],
  ] as const) {
    it(text, () => assert.deepEqual(parseStatsdAddress(text), expected));
  }
  for (const text of ['tcp://h:1', 'a b:1', 'h:', 'unix://', `unix:///${'x'.repeat(108)}`]) {
    it(`refuses ${text}`, () => assert.throws(() => parseStatsdAddress(text), InvalidValue));
  }
});

describe('metricText', () => {
  it('takes what a metric may carry', () => {
    assert.equal(metricText('a prefix').parse('my.app.'), 'my.app.');
    assert.equal(metricText('tags').parse('a:b,c'), 'a:b,c');
    for (const text of ['a b', 'a|c', 'a\nb', 'é', 'a:b']) {
      assert.throws(() => metricText('a prefix').parse(text), InvalidValue, text);
    }
    assert.throws(() => metricText('tags').parse('a|#b'), InvalidValue);
  });
});
