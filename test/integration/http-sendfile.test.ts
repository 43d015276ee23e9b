/**
 * Files piped into responses, with sendfile and without: the same bytes, the same events in the same order, and where nobody else
 * looks at the data, hardly a read.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { request } from 'undici';
import { HttpServer } from '../support/http-server.js';
import { patternAt } from '../support/pattern.js';
import { until } from '../support/poll.js';
import { fdCount } from '../support/proc.js';

/** More than the kernel takes of a client that does not read: what happens in the middle does. */
const SIZE = 24 * 1000 * 1000;

interface Report {
  events: string[];
  reads: number;
  destroyed: boolean;
  fd: number | null;
}

/** Way, bytes that must come (offset, length), whether they leave by sendfile. */
const WAYS: [way: string, from: number, length: number, sent: boolean][] = [
  ['whole', 0, SIZE, true],
  ['range', 1000, 2_000_000, true],
  ['tail', SIZE - 300_000, 300_000, true],
  ['short', 5, 1000, false],
  ['writehead', 0, SIZE, true],
  ['flushed', 0, SIZE, true],
  ['pipeline', 0, SIZE, true],
  ['chunked', 0, SIZE, true],
  ['chunkedrange', 1000, 2_000_000, true],
  ['listened', 0, SIZE, false],
  ['wrapped', 0, SIZE, false],
];

describe('http, sendfile', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tunicorn-sendfile-'));
  let by: HttpServer;
  let without: HttpServer;
  before(async () => {
    const file = join(folder, 'pattern.bin');
    const fd = openSync(file, 'w');
    for (let at = 0; at < SIZE; ) at += writeSync(fd, patternAt(at, Math.min(1 << 20, SIZE - at)));
    closeSync(fd);
    process.env.BIG_FILE = file;
    process.env.BIG_FOLDER = folder;
    by = await HttpServer.start('http-sendfile.mjs', ['--threads', '1', '--keep-alive', '60']);
    without = await HttpServer.start('http-sendfile.mjs', ['--threads', '1', '--keep-alive', '60', '--no-sendfile']);
  });
  after(async () => {
    await by?.stop();
    await without?.stop();
    rmSync(folder, { recursive: true });
  });

  /** What the handler saw, when it is over. */
  async function report(server: HttpServer): Promise<Report> {
    const get = async () => (await (await request(`${server.url}/report`)).body.json()) as Report;
    const closed = (events: string[]) => events.includes('src close') && events.includes('res close');
    await until(async () => closed((await get()).events), { what: 'file and response to be closed' }).catch((error) => {
      throw new Error(`${error.message}: ${error.cause}; the log:\n${server.log}`);
    });
    return get();
  }

  function hashOf(from: number, length: number): string {
    const hash = createHash('sha1');
    for (let at = 0; at < length; at += 1 << 20) hash.update(patternAt(from + at, Math.min(1 << 20, length - at)));
    return hash.digest('hex');
  }

  for (const [way, from, length, sent] of WAYS) {
    it(way, async () => {
      const reports: Report[] = [];
      for (const server of [by, without]) {
        const { statusCode, body } = await request(`${server.url}/way/${way}`);
        assert.equal(statusCode, 200);
        const bytes = Buffer.from(await body.arrayBuffer());
        assert.equal(bytes.length, length);
        assert.equal(createHash('sha1').update(bytes).digest('hex'), hashOf(from, length));
        reports.push(await report(server));
      }
      assert.deepEqual(reports[0].events, reports[1].events);
      if (sent) assert.ok(reports[0].reads <= 1, `${reports[0].reads} reads`);
      else assert.equal(reports[0].reads, reports[1].reads);
      assert.ok(reports[1].reads >= length / 65_536);
    });
  }

  it('noend, encoded, head, missing, folder: the same answer and events', async () => {
    for (const way of ['noend', 'encoded', 'head', 'missing', 'folder', 'ended']) {
      const seen: unknown[] = [];
      for (const server of [by, without]) {
        const method = way === 'head' ? 'HEAD' : 'GET';
        const answer = await request(`${server.url}/way/${way}`, { method }).catch((error) => error);
        const body = await answer.body?.arrayBuffer().then(
          (bytes: ArrayBuffer) => createHash('sha1').update(Buffer.from(bytes)).digest('hex'),
          (error: NodeJS.ErrnoException) => error.code,
        );
        const { events } = await report(server);
        seen.push([answer.statusCode, answer.headers?.['content-length'], body, events]);
      }
      assert.deepEqual(seen[0], seen[1], way);
    }
  });

  it('many at once, and keep-alive behind one', async () => {
    const all = Array.from({ length: 16 }, async (_, i) => {
      const { body } = await request(`${by.url}/static/pattern.bin`, {
        headers: { range: `bytes=${i * 1e6}-${i * 1e6 + 999_999}` },
      });
      return Buffer.from(await body.arrayBuffer()).equals(patternAt(i * 1e6, 1_000_000));
    });
    assert.deepEqual(await Promise.all(all), Array(16).fill(true));
    const client = await by.connect();
    for (let i = 0; i < 3; i++) {
      client.write('GET /way/range HTTP/1.1\r\nHost: x\r\n\r\nGET /way/tail HTTP/1.1\r\nHost: x\r\n\r\n');
      for (const [from, length] of [
        [1000, 2_000_000],
        [SIZE - 300_000, 300_000],
      ]) {
        // biome-ignore format: a table
        const { body } = await client.response();
        assert.ok(Buffer.from(body, 'latin1').equals(Buffer.concat(pieces(from, length))));
      }
    }
    client.destroy();
  });

  function pieces(from: number, length: number): Buffer[] {
    const all: Buffer[] = [];
    for (let at = 0; at < length; at += 1 << 20) all.push(patternAt(from + at, Math.min(1 << 20, length - at)));
    return all;
  }

  it('serve-static: whole, ranges, not modified', async () => {
    for (const headers of [{}, { range: 'bytes=100000-' }, { range: 'bytes=-200000' }, { range: 'bytes=0-1,5-6' }]) {
      const seen: unknown[] = [];
      for (const server of [by, without]) {
        const { statusCode, headers: got, body } = await request(`${server.url}/static/pattern.bin`, { headers });
        const hash = createHash('sha1').update(Buffer.from(await body.arrayBuffer()));
        seen.push([statusCode, { ...got, date: '' }, hash.digest('hex')]);
        const again = await request(`${server.url}/static/pattern.bin`, {
          headers: { 'if-none-match': String(got.etag) },
        });
        assert.equal(again.statusCode, 304);
        await again.body.dump();
      }
      assert.deepEqual(seen[0], seen[1]);
    }
  });

  /** Begins to read, acts in the middle, reads on; what the client got and what the handler saw. */
  async function amid(server: HttpServer, act: string, way = 'whole') {
    await (await request(`${server.url}/act/forget`)).body.dump();
    const socket = connect(server.port, '127.0.0.1').pause();
    socket.on('error', () => {});
    socket.write(`GET /way/${way} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    await begun(server);
    const { body } = await request(`${server.url}/act/${act}`);
    const { done } = (await body.json()) as { done: boolean };
    const chunks: Buffer[] = [];
    socket.on('data', (chunk) => chunks.push(chunk)).resume();
    await once(socket, 'close');
    const all = Buffer.concat(chunks);
    const sent = all.subarray(all.indexOf('\r\n\r\n') + 4);
    const { content, whole } = way.startsWith('chunked') ? dechunk(sent) : { content: sent, whole: true };
    assert.ok(content.equals(Buffer.concat(pieces(0, content.length))), `wrong bytes after ${act}`);
    assert.equal(done, false, `${act} came too late`);
    return { got: content.length, whole, events: (await report(server)).events };
  }

  /** The data of chunks, of which the last may be cut short; whole: the end is there. */
  function dechunk(bytes: Buffer): { content: Buffer; whole: boolean } {
    const data: Buffer[] = [];
    for (let at = 0; at < bytes.length; ) {
      const line = bytes.indexOf('\r\n', at);
      if (line < 0) break;
      const size = Number.parseInt(bytes.toString('latin1', at, line), 16);
      if (size === 0) return { content: Buffer.concat(data), whole: bytes.length === line + 4 };
      data.push(bytes.subarray(line + 2, line + 2 + size));
      at = line + 2 + size + 2;
    }
    return { content: Buffer.concat(data), whole: false };
  }

  /** Waits until some of the file has left. */
  async function begun(server: HttpServer): Promise<void> {
    await until(async () => {
      const { body } = await request(`${server.url}/act/nothing`);
      return ((await body.json()) as { bytesRead: number }).bytesRead > 0;
    });
  }

  it('a handler that pauses, unpipes, listens in the middle', async () => {
    for (const way of ['whole', 'chunked']) {
      for (const act of ['pause', 'unpipe', 'listen', 'nothing']) {
        const [ours, theirs] = [await amid(by, act, way), await amid(without, act, way)];
        assert.deepEqual([ours.got, ours.whole], [SIZE, true], `${way}, ${act}`);
        assert.deepEqual(ours, theirs, `${way}, ${act}`);
      }
    }
  });

  it('a file that is cut off in the middle', async () => {
    const [ours, theirs] = [await amid(by, 'truncate', 'copy'), await amid(without, 'truncate', 'copy')];
    assert.ok(ours.got < SIZE && theirs.got < SIZE);
    assert.deepEqual(ours.events, theirs.events);
    // The chunk that was begun cannot be completed: the client sees that something is missing.
    const chunked = await amid(by, 'truncate', 'chunkedcopy');
    assert.ok(chunked.got < SIZE && !chunked.whole);
  });

  it('a handler that destroys the stream in the middle, a client that leaves', async () => {
    const fds = fdCount(by.worker);
    for (const way of ['whole', 'chunked']) {
      const [ours, theirs] = [await amid(by, 'destroy', way), await amid(without, 'destroy', way)];
      assert.ok(ours.got < SIZE && theirs.got < SIZE);
      assert.equal(ours.whole, theirs.whole);
      assert.deepEqual(ours.events, theirs.events);
    }
    for (const server of [by, without]) {
      await (await request(`${server.url}/act/forget`)).body.dump();
      const client = connect(server.port, '127.0.0.1').pause();
      client.write('GET /way/pipeline HTTP/1.1\r\nHost: x\r\n\r\n');
      await begun(server);
      client.destroy();
      const { events } = await report(server);
      assert.ok(events.includes('pipeline ERR_STREAM_PREMATURE_CLOSE'), `${events}`);
    }
    await until(() => fdCount(by.worker) <= fds, { what: 'files and connections to be closed' });
  });
});
