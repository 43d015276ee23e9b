/**
 * No server, but what one is compared with: two plain node processes that do the heavy work without a break, for nobody.
 * Beside them the process that started them answers every request with the same bytes, without HTTP, so that the load
 * generator has what it needs to cost what it always costs. `GET /done` tells how much work has been done, and when (ms)
 * the last piece was.
 */
import { fork } from 'node:child_process';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { HELLO, heavy } from './work.js';

function response(body: string): string {
  return `HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}

/** A turn of the loop between two pieces of work sends the message. */
function burnForEver(): void {
  heavy();
  process.send!('done');
  setImmediate(burnForEver);
}

if (process.send) {
  process.once('disconnect', () => process.exit());
  burnForEver();
} else {
  let done = 0;
  let at = 0;
  for (let i = 0; i < Number(process.env.BENCH_PROCESSES ?? 2); i++) {
    fork(fileURLToPath(import.meta.url)).on('message', () => {
      done++;
      at = performance.now();
    });
  }
  const hello = response(HELLO);
  createServer((socket) => {
    // A client that is gone is no trouble of ours.
    socket.on('error', () => {});
    socket.on('data', (data) => {
      socket.write(data.indexOf('GET /done ') === 0 ? response(JSON.stringify({ done, at })) : hello);
    });
  }).listen(Number(process.env.PORT), '127.0.0.1');
}
