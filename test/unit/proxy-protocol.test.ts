/** PROXY headers: what is taken, what is refused, and that nothing depends on where one is split. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type ProxyHeader, type ProxyMode, readProxyHeader } from '../../src/proxy-protocol.js';
import { binaryFor, binaryHeader, textHeader, tlv } from '../support/proxy-header.js';

const FOUR = { address: '192.0.2.7', port: 40_000, proxyAddress: '198.51.100.1', proxyPort: 443 };
const SIX = { address: '2001:db8:0:0:0:0:0:7', port: 1, proxyAddress: '2001:db8:0:0:0:0:1:0', proxyPort: 65_535 };
const SHORT_SIX = { ...SIX, address: '2001:db8::7', proxyAddress: '2001:db8::1:0' };
const TLVS = tlv(0x01, 'h2') + tlv(0x05, 'unique') + tlv(0x20, 'x'.repeat(300)) + tlv(0x04, '');

function read(mode: ProxyMode, text: string, at = 3): ProxyHeader {
  const memory = Buffer.from('?'.repeat(at) + text, 'latin1');
  return readProxyHeader(mode, memory, at, text.length);
}

const TAKEN: Array<[string, string, object | null]> = [
  ['v1, IPv4', textHeader(FOUR), FOUR],
  ['v1, IPv6', textHeader(SIX), SHORT_SIX],
  ['v1, IPv6 in short and capitals', textHeader({ ...SIX, address: '2001:DB8::7' }), SHORT_SIX],
  ['v1, UNKNOWN', 'PROXY UNKNOWN\r\n', null],
  ['v1, UNKNOWN and what is to be ignored', 'PROXY UNKNOWN ffff:f...f:ffff what ever 1 2\r\n', null],
  [
    'v1, the longest line',
    `PROXY TCP6 ${'ffff:'.repeat(7)}ffff ${'ffff:'.repeat(7)}ffff 65535 65535\r\n`,
    { address: `${'ffff:'.repeat(7)}ffff`, port: 65535, proxyAddress: `${'ffff:'.repeat(7)}ffff`, proxyPort: 65535 },
  ],
  ['v2, IPv4', binaryFor(FOUR), FOUR],
  ['v2, IPv6', binaryFor(SIX), SHORT_SIX],
  ['v2, TLVs', binaryFor(FOUR, TLVS), FOUR],
  ['v2, LOCAL', binaryHeader(0x20, 0, ''), null],
  ['v2, LOCAL with addresses that are to be ignored', binaryHeader(0x20, 0x11, 'x'.repeat(12)), null],
  ['v2, LOCAL of no known family', binaryHeader(0x20, 0x9f, 'xy'), null],
  ['v2, unspecified', binaryHeader(0x21, 0x00, ''), null],
  ['v2, unspecified with TLVs', binaryHeader(0x21, 0x00, TLVS), null],
  ['v2, unix sockets', binaryHeader(0x21, 0x31, '/'.padEnd(216, '\0')), null],
];

const BAD: Array<[string, string, RegExp]> = [
  ['v1, one field too few', 'PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n', /malformed line/],
  ['v1, one field too many', 'PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n', /malformed line/],
  ['v1, two spaces', 'PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n', /malformed line/],
  ['v1, a tab', 'PROXY TCP4\t1.2.3.4 5.6.7.8 1 2\r\n', /malformed line/],
  ['v1, a blank at the end', 'PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n', /malformed line/],
  ['v1, another protocol', 'PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n', /malformed line/],
  ['v1, lower case', 'PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n', /malformed line/],
  ['v1, UNKNOWN with a tail', 'PROXY UNKNOWNS\r\n', /malformed line/],
  ['v1, a negative port', 'PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n', /malformed line/],
  ['v1, a port with a leading zero', 'PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n', /malformed line/],
  ['v1, a port too large', 'PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n', /no port/],
  ['v1, no address', 'PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n', /no address/],
  ['v1, a number too large', 'PROXY TCP4 1.2.3.4 5.6.7.256 1 2\r\n', /no address/],
  ['v1, leading zeros', 'PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n', /no address/],
  ['v1, an address of the other family', 'PROXY TCP4 ::1 ::1 1 2\r\n', /no address/],
  ['v1, the other way round', 'PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n', /no address/],
  ['v1, a bare LF', `PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n${'x'.repeat(107)}`, /too long/],
  ['v1, a line without end', `PROXY UNKNOWN ${'x'.repeat(200)}`, /too long/],
  ['v1, one byte too long', `PROXY UNKNOWN ${'x'.repeat(92)}\r\n`, /too long/],
  ['v2, another version', binaryHeader(0x11, 0x11, 'x'.repeat(12)), /unknown version/],
  ['v2, another command', binaryHeader(0x22, 0x11, 'x'.repeat(12)), /unknown command/],
  ['v2, datagrams', binaryHeader(0x21, 0x12, 'x'.repeat(12)), /no stream/],
  ['v2, another transport', binaryHeader(0x21, 0x13, 'x'.repeat(12)), /no stream/],
  ['v2, another family', binaryHeader(0x21, 0x41, 'x'.repeat(12)), /no stream/],
  ['v2, IPv4 cut off', binaryHeader(0x21, 0x11, 'x'.repeat(11)), /cut off/],
  ['v2, IPv6 cut off', binaryHeader(0x21, 0x21, 'x'.repeat(35)), /cut off/],
  ['v2, unix cut off', binaryHeader(0x21, 0x31, 'x'.repeat(215)), /cut off/],
  ['v2, too long', binaryHeader(0x21, 0x11, '', 8177), /too long/],
];

const REST = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n';

describe('PROXY headers', () => {
  for (const [name, text, addresses] of TAKEN) {
    it(`${name}: taken, whole and in pieces`, () => {
      const mode = name.startsWith('v1') ? 'v1' : 'v2';
      for (const rest of ['', REST, text]) {
        for (const m of ['auto', mode] as const) {
          assert.deepEqual(read(m, text + rest), { kind: 'whole', length: text.length, addresses });
        }
      }
      const sign = mode === 'v1' ? 6 : 12;
      for (let n = 1; n < text.length; n++) {
        assert.equal(read('auto', text.slice(0, n)).kind, n < sign ? 'maybe' : 'more', `${n} bytes`);
      }
      assert.equal(read(mode === 'v1' ? 'v2' : 'v1', text).kind, 'none');
    });
  }

  for (const [name, text, reason] of BAD) {
    it(`${name}: refused`, () => {
      const header = read('auto', text);
      assert.ok(header.kind === 'bad', header.kind);
      assert.match(header.reason, reason);
      assert.match(header.reason, /^Invalid PROXY header: [a-z ]+$/i, 'no byte of the client in it');
      // However it comes, it is refused in the end and never taken.
      const kinds = Array.from(text, (_, i) => read('auto', text.slice(0, i + 1)).kind);
      assert.ok(kinds.every((kind) => kind === 'maybe' || kind === 'more' || kind === 'bad'));
      assert.equal(kinds.indexOf('bad'), kinds.length - kinds.filter((kind) => kind === 'bad').length, 'once for all');
    });
  }

  it('requests are none', () => {
    for (const text of [
      REST,
      'P',
      'PR',
      'PROX',
      'POST /',
      'PUT /',
      'PROPFIND /',
      'PROXY/',
      '\r\n',
      `\r\n\r\n${REST}`,
      '\r\n\r\n\0\r\nQUIT\r',
    ]) {
      const kinds = Array.from(text, (_, i) => read('auto', text.slice(0, i + 1)).kind);
      const prefix = [...'PROXY '].some((_, i) => text === 'PROXY '.slice(0, i + 1)) || text === '\r\n';
      assert.equal(kinds.at(-1), prefix ? 'maybe' : 'none', JSON.stringify(text));
      assert.ok(!kinds.includes('more') && !kinds.includes('bad'));
    }
  });
});
