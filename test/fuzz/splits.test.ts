/** Messages cut at every byte, over a socket, on both worker classes: answered as the independent reading says for the whole. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HttpServer } from '../support/http-server.js';
import { tryCase } from './hunt.js';
import { CLASSES } from './servers.js';

const TEXTS = [
  'GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: x\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;;\r\nde\r\n0\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab',
  '\r\nFOO / HTTP/1.1\r\nHost: x\r\n\r\n',
];
const CLIENTS = 8;

for (const kind of CLASSES) {
  test(`split at every byte: ${kind.name}`, async () => {
    const server = await HttpServer.start('dist/test/fuzz/app.js', kind.args);
    try {
      const cases = TEXTS.flatMap((text) => Array.from(text, (_c, i) => ({ text, cuts: [i] })));
      for (const text of TEXTS) cases.push({ text, cuts: Array.from(text, (_c, i) => i) });
      const work = async () => {
        for (let one = cases.pop(); one !== undefined; one = cases.pop()) {
          const { wrong } = await tryCase({ port: server.port, keepAlive: kind.keepAlive }, one);
          assert.equal(wrong, '', `${JSON.stringify(one.text)} cut at ${one.cuts}`);
        }
      };
      await Promise.all(Array.from({ length: CLIENTS }, work));
    } finally {
      await server.cleanup();
    }
  });
}
