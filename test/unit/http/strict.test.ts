/** ChunkMeter: what stands between the data of chunks, by its two ways to look (RFC 9112, 7.1). */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ChunkMeter } from '../../../src/http/strict.js';
import { Random } from '../../support/random.js';

const LINES = ['1\r\n', '\r\n1\r\n', '\r\nfF\r\n', '\r\n0012345678\r\n', '\r\n1;a=b\r\n', '\r\n1;a="x"\r\n'];
const WRONG = [
  '\r\n\r\n',
  '\n1\r\n',
  '\r\n1\n',
  '\r\ng\r\n',
  '\r\n1 \r\n',
  '\r\n@\r\n',
  '\r\n`\r\n',
  '\r\n1;=b\r\n',
  '\r\n:\r\n',
];

/** Looks at lines with a byte of data behind each, cut at random. */
function look(lines: readonly string[], random: Random): string {
  const text = lines.map((line) => `${line}x`).join('');
  const memory = Buffer.from(text, 'latin1');
  const data: number[] = [];
  let at = 0;
  for (const line of lines) {
    at += line.length + 1;
    data.push(at - 1);
  }
  const meter = new ChunkMeter();
  let from = 0;
  while (from < memory.length) {
    const end = Math.min(memory.length, from + random.int(1, 20));
    const here = data.filter((i) => i >= from && i < end).flatMap((i) => [i, 1]);
    const wrong = meter.look(memory, from, end, here, 0, false);
    if (wrong !== '') return wrong;
    from = end;
  }
  return '';
}

describe('ChunkMeter', () => {
  it('takes good lines and refuses a bad one, wherever the message is cut', () => {
    const random = new Random(20261129);
    for (let i = 0; i < 3000; i++) {
      const lines = [LINES[0], ...Array.from({ length: random.int(1, 6) }, () => LINES[random.int(1, 5)])];
      assert.equal(look(lines, random), '', JSON.stringify(lines));
      const bad = WRONG[random.int(0, WRONG.length - 1)];
      const at = random.int(1, lines.length);
      lines.splice(at, 0, bad);
      assert.equal(look(lines, random), 'Invalid chunk line', JSON.stringify(lines));
    }
  });
});
