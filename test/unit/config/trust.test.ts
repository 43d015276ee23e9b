/** How the settings about proxies are read: networks, header names, schemes, the mode of the PROXY protocol. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readCommand } from '../../../src/config/argv.js';
import { buildConfig, type ConfigInput, createConfig } from '../../../src/config/config.js';
import { AllowList } from '../../../src/trust.js';

const read = (input: object, env = {}) => createConfig({ app: 'a', ...input } as ConfigInput, env);
const refused = (input: object, message: RegExp) =>
  assert.throws(() => read(input), { code: 'ERR_TUNICORN_CONFIG', message });

describe('forwarded_allow_ips and proxy_allow_ips', () => {
  const networks = (value: unknown) => read({ forwarded_allow_ips: value }).forwardedAllowIps;

  it('take addresses, networks and *, in a list or with commas', () => {
    assert.deepEqual(networks('127.0.0.1, ::1'), ['127.0.0.1', '::1']);
    assert.deepEqual(networks(['10.0.0.0/8', '2001:db8::/32', '*']), ['10.0.0.0/8', '2001:db8::/32', '*']);
    for (const network of ['0.0.0.0/0', '::/0', '192.0.2.128/25', '1.2.3.4/32', '::1/128']) {
      assert.deepEqual(networks(network), [network]);
      assert.doesNotThrow(() => new AllowList([network]));
    }
    assert.deepEqual(networks('::1,'), ['::1']);
    assert.deepEqual(networks(''), []);
    assert.deepEqual(networks([]), []);
    assert.deepEqual(read({ proxyAllowIps: '10.0.0.0/8' }).proxyAllowIps, ['10.0.0.0/8']);
  });

  it('refuse what is none, and networks with bits of a host, as gunicorn does', () => {
    for (const wrong of [
      'localhost',
      '1.2.3',
      '1.2.3.4/',
      '1.2.3.4/x',
      '1.2.3.4:80',
      '127.0.0.1, ',
      'fe80::1%eth0',
      7,
      null,
    ]) {
      refused({ forwarded_allow_ips: wrong }, /is not an address, a network/);
    }
    refused({ forwarded_allow_ips: '::ffff:10.0.0.0/104' }, /write IPv4 addresses as such/);
    refused({ forwarded_allow_ips: '10.0.0.0/33' }, /0 to 32 bits/);
    refused({ forwarded_allow_ips: '::/129' }, /0 to 128 bits/);
    for (const wrong of ['192.168.1.1/24', '10.0.0.0/4', '2001:db8::1/64', '2001:db8:8000::/32', '::1/127']) {
      refused({ proxy_allow_ips: wrong }, /has bits set behind the first/);
    }
  });

  it('$FORWARDED_ALLOW_IPS is the default, an empty one trusts nobody', () => {
    assert.deepEqual(read({}).forwardedAllowIps, ['127.0.0.1', '::1']);
    assert.deepEqual(read({}, { FORWARDED_ALLOW_IPS: '*' }).forwardedAllowIps, ['*']);
    assert.deepEqual(read({}, { FORWARDED_ALLOW_IPS: '' }).forwardedAllowIps, []);
    assert.deepEqual(read({ forwardedAllowIps: '::1' }, { FORWARDED_ALLOW_IPS: '*' }).forwardedAllowIps, ['::1']);
    assert.throws(() => read({}, { FORWARDED_ALLOW_IPS: 'x' }), /^TunicornError: \$FORWARDED_ALLOW_IPS: "x" is not/);
  });
});

describe('secure_scheme_headers, forwarder_headers, header_map', () => {
  it('take names in any case', () => {
    const { secureSchemeHeaders, forwarderHeaders, headerMap } = read({
      secure_scheme_headers: { 'x-scheme': 'TLS' },
      forwarder_headers: 'remote_user, *',
      header_map: 'Refuse',
    });
    assert.deepEqual(
      [secureSchemeHeaders, forwarderHeaders, headerMap],
      [{ 'X-SCHEME': 'TLS' }, ['REMOTE_USER', '*'], 'refuse'],
    );
    assert.deepEqual(read({ secureSchemeHeaders: {} }).secureSchemeHeaders, {});
  });

  it('refuse what is none', () => {
    for (const wrong of ['https', null, [], 1]) refused({ secure_scheme_headers: wrong }, /is not an object such as/);
    refused({ secure_scheme_headers: { 'a b': 'x' } }, /"a b" is not a header name/);
    for (const value of ['', 1, null])
      refused({ secure_scheme_headers: { A: value } }, /is not a value of the header A/);
    refused({ forwarder_headers: 'a:b' }, /"a:b" is not a header name/);
    refused({ header_map: 'pass' }, /choose from drop, refuse, dangerous/);
  });
});

describe('proxy_protocol', () => {
  it('takes words, and what gunicorn took when it was a flag', () => {
    for (const mode of ['off', 'v1', 'v2', 'auto']) assert.equal(read({ proxy_protocol: mode }).proxyProtocol, mode);
    for (const mode of [true, 'true', 'True', '1', 'AUTO'])
      assert.equal(read({ proxy_protocol: mode }).proxyProtocol, 'auto');
    for (const mode of [false, 'false', '0', 'none', null])
      assert.equal(read({ proxy_protocol: mode }).proxyProtocol, 'off');
    refused({ proxy_protocol: 'v3' }, /unknown PROXY protocol "v3": choose from off, v1, v2, auto/);
  });

  it('the flag alone means auto', () => {
    const parse = (...argv: string[]) => {
      const command = readCommand(argv, {});
      assert.ok('layers' in command);
      return buildConfig(command.layers, {}).config.proxyProtocol;
    };
    assert.equal(parse('app.js', '--proxy-protocol'), 'auto');
    assert.equal(parse('--proxy-protocol', '--threads', '2', 'app.js'), 'auto');
    assert.equal(parse('--proxy-protocol', 'v2', 'app.js'), 'v2');
    assert.equal(parse('--proxy-protocol=v1', 'app.js'), 'v1');
    assert.equal(parse('app.js'), 'off');
  });
});
