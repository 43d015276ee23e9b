/**
 * Mutated PROXY headers in front of a request, cut anywhere, against an independent reading: what is no header is left to HTTP,
 * what is a wrong one is refused, and otherwise the client is the one it names. FUZZ_SEED as for the hunt.
 */
import assert from 'node:assert/strict';
import { isIPv4, isIPv6 } from 'node:net';
import { test } from 'node:test';
import { HttpServer } from '../support/http-server.js';
import { binaryFor, binaryHeader, textHeader, tlv } from '../support/proxy-header.js';
import { Random, seedOf } from '../support/random.js';
import { RawClient } from '../support/raw-client.js';
import { complaints } from '../support/stress-server.js';

const CASES = 600;
const CLIENTS = 4;
const REQUEST = 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
const FOUR = { address: '192.0.2.7', port: 40_000, proxyAddress: '198.51.100.1', proxyPort: 443 };
const SIX = { address: '2001:db8:1:2:3:4:5:7', port: 1, proxyAddress: '2001:db8:1:2:3:4:5:6', proxyPort: 65_535 };
const SEEDS = [
  textHeader(FOUR),
  textHeader(SIX),
  'PROXY UNKNOWN\r\n',
  'PROXY UNKNOWN a b c\r\n',
  binaryFor(FOUR),
  binaryFor(SIX, tlv(1, 'h2') + tlv(4, '')),
  binaryHeader(0x20, 0x11, 'x'.repeat(12)),
  binaryHeader(0x21, 0x31, '/'.padEnd(216, '\0')),
];
const PIECES = [
  ' ',
  '\r\n',
  '\r',
  '\n',
  '0',
  '65536',
  '::1',
  '1.2.3.4',
  'TCP6',
  'PROXY ',
  '\0',
  '\x21',
  '\xff',
  '\x11\x00\x0c',
];

/** Whom the text names: an address, '' = nobody, 'refused'; null: HTTP has to say. */
function reading(text: string): string | null {
  if (text.startsWith('PROXY ')) {
    const line = text.slice(0, 107);
    if (!line.includes('\r\n')) return 'refused';
    const words = line.slice(0, line.indexOf('\r\n')).split(' ');
    if (words[1] === 'UNKNOWN') return '';
    const is = { TCP4: isIPv4, TCP6: isIPv6 }[words[1]];
    const ports = words
      .slice(4)
      .map((word) => (/^\d+$/.test(word) && String(Number(word)) === word ? Number(word) : 65536));
    const good = words.length === 6 && is?.(words[2]) && is(words[3]) && ports.every((port) => port < 65536);
    return good ? words[2] : 'refused';
  }
  if (!text.startsWith('\r\n\r\n\0\r\nQUIT\n')) return null;
  const bytes = Buffer.from(text, 'latin1');
  // The request behind it is long enough for the fixed part.
  const [command, kind] = [bytes[12], bytes[13]];
  const length = bytes.readUInt16BE(14);
  if ((command & 0xf0) !== 0x20 || (command & 15) > 1 || length > 8176) return 'refused';
  const whole = bytes.length >= 16 + length;
  if (command === 0x20) return whole ? '' : 'incomplete';
  const least = { 0: 0, 1: 12, 2: 36, 3: 216 }[kind >> 4];
  if (least === undefined || (kind & 15) > 1 || length < least) return 'refused';
  if (!whole) return 'incomplete';
  if (kind === 0x11) return bytes.subarray(16, 20).join('.');
  if (kind !== 0x21) return '';
  return Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(16 + 2 * i).toString(16)).join(':');
}

function mutate(random: Random, text: string): string {
  for (let n = random.int(0, 3); n > 0; n--) {
    const at = random.int(0, text.length);
    const gone = random.int(0, 2);
    const piece = random.int(0, 2) === 0 ? '' : random.pick(PIECES);
    text = text.slice(0, at) + piece + text.slice(at + gone);
  }
  return text;
}

/** In the spelling that both sides can be brought to. */
function same(address: string): string {
  return isIPv6(address) ? new URL(`http://[${address}]/`).hostname : address;
}

test('mutated PROXY headers', async (t) => {
  const seed = seedOf({ SEED: process.env.FUZZ_SEED });
  const server = await HttpServer.start('trust-fetch.mjs', ['--threads', '2', '--proxy-protocol', 'auto']);
  const counts = { cases: 0, named: 0, nobody: 0, refused: 0, http: 0 };
  const work = async () => {
    while (counts.cases < CASES) {
      const number = counts.cases++;
      const random = new Random(seed + Math.imul(number, 0x9e3779b1));
      const text = mutate(random, random.pick(SEEDS)) + REQUEST;
      const cuts = Array.from({ length: random.int(0, 3) }, () => random.int(0, text.length - 1)).sort((a, b) => a - b);
      const what = `seed ${seed}, case ${number}: ${JSON.stringify(text)} cut at ${cuts}`;
      const expected = reading(text);
      const client = await RawClient.connect(server.port);
      let from = 0;
      for (const to of [...cuts, text.length]) {
        await client.send(text.slice(from, to));
        from = to;
      }
      client.socket.end();
      await client.closed();
      // One that has ended its side may be asked by interim responses whether it is still there.
      const answer = client.data.toString('latin1').replace(/^(?:HTTP\/1\.1 102 .*\r\n\r\n)+/, '');
      client.destroy();
      const status = Number(/^HTTP\/1\.1 (\d+) /.exec(answer)?.[1] ?? 0);
      if (expected === null) counts.http++;
      else if (expected === 'incomplete') assert.notEqual(status, 200, what);
      else if (expected === 'refused') {
        counts.refused++;
        assert.equal(status, 400, what);
      } else if (status === 200) {
        const { info } = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4));
        if (expected === '') counts.nobody++;
        else counts.named++;
        assert.equal(same(info.address), same(expected || '127.0.0.1'), what);
      } else {
        // The header was good, and what stands behind it is no request.
        assert.ok(status === 400 || status === 501 || status === 0, `${status}, ${what}`);
        assert.doesNotMatch(answer, /PROXY header/, what);
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: CLIENTS }, work));
    t.diagnostic(`FUZZ_SEED=${seed} ${JSON.stringify(counts)}`);
    assert.ok(counts.named > 20 && counts.refused > 20 && counts.nobody > 20, JSON.stringify(counts));
    assert.deepEqual(complaints(server.log), []);
    assert.equal(server.spawned.length, 1);
    await server.stop();
  } finally {
    await server.cleanup();
  }
});
