/** AllowList: whom we believe. Forwarded: what the fields of a request say, from whom we believe and from whom not. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { settingList } from '../../src/config/settings.js';
import { AllowList, Forwarded, type HeaderMap } from '../../src/trust.js';

const at = (address: string) => ({ family: address.includes(':') ? 'tcp6' : 'tcp4', address });

describe('AllowList', () => {
  const CASES: Array<[entries: string[], inside: string[], outside: string[]]> = [
    [
      ['127.0.0.1', '::1'],
      ['127.0.0.1', '::1', '::ffff:127.0.0.1'],
      ['127.0.0.2', '::2', '::ffff:127.0.0.2', ''],
    ],
    [['10.0.0.0/8'], ['10.0.0.0', '10.255.255.255', '::ffff:10.1.2.3'], ['11.0.0.0', '9.255.255.255', '::10.1.2.3']],
    [['192.0.2.128/25'], ['192.0.2.128', '192.0.2.255'], ['192.0.2.127']],
    [['192.0.2.7/32'], ['192.0.2.7'], ['192.0.2.6']],
    [['0.0.0.0/0'], ['1.2.3.4', '::ffff:1.2.3.4'], ['::1']],
    [['::/0'], ['::1', 'fe80::1%eth0'], ['1.2.3.4', '::ffff:1.2.3.4']],
    [['2001:db8::/33'], ['2001:db8:7fff::1'], ['2001:db8:8000::1', '2001:db9::1']],
    [['fe80::1'], ['fe80::1', 'fe80::1%eth0'], ['fe80::2']],
    [['*'], ['1.2.3.4', '::1', ''], []],
    [['10.0.0.1', '*'], ['1.2.3.4'], []],
    [[], [], ['127.0.0.1', '::1']],
  ];
  for (const [entries, inside, outside] of CASES) {
    it(entries.join(',') || 'none', () => {
      const list = new AllowList(entries);
      for (const address of inside) assert.equal(list.has(at(address)), true, address);
      for (const address of outside) assert.equal(list.has(at(address)), false, address);
    });
  }

  it('unix sockets always, a peer that is not known never', () => {
    assert.equal(new AllowList([]).has({ family: 'unix', address: '' }), true);
    assert.equal(new AllowList(['127.0.0.1']).has(null), false);
  });
});

const defaultOf = (key: string) => settingList.find((s) => s.key === key)?.default();
const SCHEMES = defaultOf('secureSchemeHeaders') as Record<string, string>;
const FORWARDERS = defaultOf('forwarderHeaders') as string[];

function look(fields: string[], trusted: boolean, headerMap: HeaderMap = 'drop', forwarderHeaders = FORWARDERS) {
  const forwarded = new Forwarded({ secureSchemeHeaders: SCHEMES, forwarderHeaders, headerMap });
  const wrong = forwarded.look(fields, { trusted });
  return wrong !== '' ? wrong : { secure: forwarded.secure, fields: forwarded.fields };
}

describe('Forwarded: scheme', () => {
  const CASES: Array<[fields: string[], secure: boolean | 'refused']> = [
    [[], false],
    [['X-Forwarded-Proto', 'https'], true],
    [['x-forwarded-proto', 'https'], true],
    [['X-Forwarded-Proto', 'HTTPS'], false],
    [['X-Forwarded-Proto', 'http'], false],
    [['X-Forwarded-Proto', 'https,http'], false],
    [['X-Forwarded-Ssl', 'on'], true],
    [['X-Forwarded-Protocol', 'ssl'], true],
    [['X-Forwarded-Protocol', 'https'], false],
    [['X-Forwarded-Port', 'https'], false],
    [['X-Forwarded-Proto', 'https', 'X-Forwarded-Ssl', 'on'], true],
    [['X-Forwarded-Proto', 'http', 'X-Forwarded-Ssl', 'off'], false],
    [['X-Forwarded-Proto', 'http', 'X-Forwarded-Ssl', 'on'], 'refused'],
    [['X-Forwarded-Proto', 'https', 'X-Forwarded-Proto', 'http'], 'refused'],
    [['X-Forwarded-Proto', 'https', 'A', 'b', 'X-Forwarded-Proto', 'https'], true],
  ];
  for (const [fields, secure] of CASES) {
    it(JSON.stringify(fields), () => {
      const found = look(fields, true);
      if (secure === 'refused') assert.equal(found, 'Contradictory scheme headers');
      else assert.deepEqual(found, { secure, fields });
      assert.deepEqual(look(fields, false), { secure: false, fields }, 'from anybody else it means nothing');
    });
  }
});

describe('Forwarded: names with underscores', () => {
  const FIELDS = ['Host', 'x', 'X_Forwarded_For', '1.2.3.4', 'Accept', '*/*', 'script_name', '/app', 'Z_', '1'];
  const NONE = ['Host', 'x', 'Accept', '*/*'];

  it('drop', () => {
    assert.deepEqual(look(FIELDS, false), { secure: false, fields: NONE });
    assert.deepEqual(look(FIELDS, true), { secure: false, fields: [...NONE, 'script_name', '/app'] });
    assert.deepEqual(look(FIELDS, true, 'drop', ['*']), { secure: false, fields: FIELDS });
    assert.deepEqual(look(FIELDS, false, 'drop', ['*']), { secure: false, fields: NONE });
    assert.deepEqual(look(FIELDS, true, 'drop', []), { secure: false, fields: NONE });
  });

  it('refuse', () => {
    const REFUSED = 'Header name with an underscore';
    assert.equal(look(FIELDS, true, 'refuse'), REFUSED);
    assert.equal(look(['script_name', '/app'], false, 'refuse'), REFUSED);
    assert.deepEqual(look(['script_name', '/app'], true, 'refuse'), { secure: false, fields: ['script_name', '/app'] });
    assert.deepEqual(look(NONE, false, 'refuse'), { secure: false, fields: NONE });
  });

  it('dangerous', () => {
    assert.deepEqual(look(FIELDS, false, 'dangerous'), { secure: false, fields: FIELDS });
  });

  it('a scheme header with an underscore counts, and is dropped', () => {
    const forwarded = new Forwarded({ secureSchemeHeaders: { X_PROTO: 's' }, forwarderHeaders: [], headerMap: 'drop' });
    assert.equal(forwarded.look(['x_proto', 's'], { trusted: true }), '');
    assert.deepEqual([forwarded.secure, forwarded.fields], [true, []]);
  });

  it('asks whether the peer is trusted only where it matters', () => {
    const nobody = {
      get trusted(): boolean {
        throw new Error('asked');
      },
    };
    const forwarded = new Forwarded({ secureSchemeHeaders: SCHEMES, forwarderHeaders: FORWARDERS, headerMap: 'drop' });
    assert.equal(forwarded.look(['Host', 'x', 'a_b', '1', 'X-Fifteen-Chars', '1'], nobody), '');
    assert.throws(() => forwarded.look(['X-Forwarded-Ssl', '1'], nobody), /asked/);
  });
});
