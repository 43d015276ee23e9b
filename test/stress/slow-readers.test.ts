/**
 * Readers at 10 KB/s of a response of 100 MB: what each costs in memory is bounded by the high-water marks, no thread is held,
 * and when they leave nothing stays. 20 readers for 3 s; STRESS=full: 100 readers for 20 s.
 */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ask } from '../support/ask.js';
import { percentile } from '../support/load-client.js';
import { patternAt } from '../support/pattern.js';
import { settled, until } from '../support/poll.js';
import { fdCount, peakRss, resetPeakRss, rss } from '../support/proc.js';
import { complaints, FULL, serverStarter } from '../support/stress-server.js';
import { download } from '../support/transfer.js';

const READERS = FULL ? 100 : 20;
const SECONDS = FULL ? 20 : 3;
const SIZE = 100 * 1000 * 1000;
const RATE = 10 * 1000;
/** Memory a reader may cost: two pieces of 64 KiB on their way, the objects, and garbage that nobody has collected yet. */
const MIB_EACH = 0.3;
const MIB_ALL = 32;

const folder = mkdtempSync(join(tmpdir(), 'tunicorn-slow-'));
before(() => {
  const file = join(folder, 'pattern.bin');
  const fd = openSync(file, 'w');
  for (let at = 0; at < SIZE; ) at += writeSync(fd, patternAt(at, Math.min(1 << 20, SIZE - at)));
  closeSync(fd);
  process.env.PATTERN_FILE = file;
});
after(() => rmSync(folder, { recursive: true }));
const start = serverStarter();

/** Reads ten times a second, and no more than the rate allows; checks every byte. */
class SlowReader {
  readonly socket: Socket;
  body = -1;
  error: Error | null = null;
  private head = '';

  constructor(port: number, path: string) {
    // What it does not read must not wait in Node's buffers.
    this.socket = connect({ port, host: '127.0.0.1', readableHighWaterMark: 1000 } as never);
    this.socket.on('error', (error) => (this.error = error));
    this.socket.on('close', () => (this.error ??= new Error(`closed after ${this.body} bytes`)));
    this.socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    this.socket.pause();
  }

  /** Takes what is due. */
  read(bytes: number): void {
    while (bytes > 0) {
      const chunk = (this.socket.read(Math.min(bytes, this.socket.readableLength)) ?? null) as Buffer | null;
      if (chunk === null) return;
      bytes -= chunk.length;
      this.take(chunk);
    }
  }

  private take(chunk: Buffer): void {
    if (this.body < 0) {
      this.head += chunk.toString('latin1');
      const end = this.head.indexOf('\r\n\r\n');
      if (end < 0) return;
      assert.match(this.head, /^HTTP\/1\.1 200 OK\r\n/);
      assert.match(this.head, new RegExp(`\r\ncontent-length: ${SIZE}\r\n`, 'i'));
      chunk = Buffer.from(this.head.slice(end + 4), 'latin1');
      this.body = 0;
    }
    assert.ok(chunk.equals(patternAt(this.body, chunk.length)), `wrong bytes at ${this.body}`);
    this.body += chunk.length;
  }
}

for (const [app, path] of [
  ['slow.js', '/pipe'],
  ['slow.js', '/buffer'],
  ['slow-fetch.js', '/stream'],
]) {
  test(`slow readers of ${app}${path}`, async (t) => {
    const server = await start(app, ['--threads', '2', '--keep-alive', '1']);
    const [worker] = server.workers;
    const { port } = server;
    // What is allocated and compiled once is there, and so is the garbage of as much as the kernel will take at first.
    for (let i = 0; i < 2; i++) assert.equal((await download(port, path)).bytes, SIZE);
    for (let i = 0; i < 100; i++) assert.equal((await ask(port, '/light')).body, 'light');
    const fds = await settled(() => fdCount(worker));
    const from = rss(worker);
    resetPeakRss(worker);
    const readers = Array.from({ length: READERS }, () => new SlowReader(port, path));
    const light: number[] = [];
    const begun = performance.now();
    let taken = 0;
    while (performance.now() - begun < SECONDS * 1000) {
      const due = Math.floor(((performance.now() - begun) / 1000) * RATE) - taken;
      taken += due;
      for (const reader of readers) reader.read(due);
      const answer = await ask(port, '/light');
      assert.equal(answer.body, 'light');
      light.push(answer.ms);
      await sleep(50);
    }
    const grown = (peakRss(worker) - from) / 2 ** 20;
    for (const reader of readers) {
      assert.equal(reader.error, null);
      assert.ok(reader.body > RATE * SECONDS * 0.5, `a reader got ${reader.body} bytes`);
    }
    t.diagnostic(
      `${READERS} readers: grew by ${grown.toFixed(1)} MiB; light p50 ${percentile(light, 50).toFixed(1)}, ` +
        `p99 ${percentile(light, 99).toFixed(1)} ms`,
    );
    const most = MIB_ALL + READERS * MIB_EACH;
    assert.ok(grown < most, `grew by ${grown} MiB, more than ${most}`);
    assert.ok(percentile(light, 90) < 250, `light p90 ${percentile(light, 90)} ms`);
    for (const reader of readers) reader.socket.destroy();
    await until(() => fdCount(worker) <= fds, { what: 'the connections and files to be closed', timeoutMs: 20_000 });
    if (path === '/stream') {
      const cancelled = async () => Number((await ask(port, '/cancelled')).body);
      await until(async () => (await cancelled()) > 0, { what: 'cancelled streams' });
    }
    assert.deepEqual(complaints(server.log), []);
  });
}
