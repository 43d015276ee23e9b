/** Sinks and targets: full pipes, threads that are terminated, files that are renamed under all threads at once. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { Worker } from 'node:worker_threads';
import { FileSink, heldMemory, rescue } from '../../../src/log/file-sink.js';
import { LogTarget } from '../../../src/log/target.js';
import { createLogger, openAccessLog, reopenLogs } from '../../../src/log.js';
import { native } from '../../../src/native/binding.js';
import { until } from '../../support/poll.js';

const dir = mkdtempSync(join(tmpdir(), 'tunicorn-sink-'));
after(() => rmSync(dir, { recursive: true }));
let count = 0;
const fresh = () => join(dir, `log${count++}`);
const SINK = new URL('../../../src/log/file-sink.js', import.meta.url).href;
const LOG = new URL('../../../src/log.js', import.meta.url).href;

function fifo(): string {
  const path = fresh();
  assert.equal(spawnSync('mkfifo', [path]).status, 0);
  return path;
}

/** What stands in a FIFO now. */
function drainFifo(fd: number): string {
  const buffer = Buffer.alloc(64 * 1024);
  let text = '';
  for (;;) {
    try {
      const n = readSync(fd, buffer);
      if (n === 0) return text;
      text += buffer.toString('latin1', 0, n);
    } catch {
      return text;
    }
  }
}

describe('FileSink', () => {
  it('a FIFO without a reader holds nobody up; its lines come when somebody reads', async () => {
    const path = fifo();
    const log = openAccessLog(path)!;
    const startedAt = performance.now();
    for (let n = 0; n < 5000; n++) {
      log.write(`line ${n} ${'x'.repeat(90)}`);
      if (n % 50 === 0) log.flush();
    }
    log.flush();
    assert.ok(performance.now() - startedAt < 5000);
    assert.equal(log.dropped, 0);
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    let text = '';
    await until(() => {
      text += drainFifo(fd);
      return text.split('\n').length === 5001;
    });
    assert.ok(text.split('\n').every((line, n) => n === 5000 || line === `line ${n} ${'x'.repeat(90)}`));
    closeSync(fd);
    log.close();
  });

  it('tells how many lines a full pipe has cost, when it works again', async () => {
    const path = fifo();
    const log = createLogger({ level: 'info', errorlog: path });
    for (let n = 0; n < 3000; n++) log.info(`${n} ${'x'.repeat(1000)}`);
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    let text = '';
    await until(() => (text += drainFifo(fd)).includes('The error log lost'));
    const [, lost] = /\[WARNING\] The error log lost (\d+) lines: nobody reads it\n$/.exec(text)!;
    const lines = text.trimEnd().split('\n');
    assert.equal(lines.length - 1 + Number(lost), 3000);
    assert.ok(
      lines.slice(0, -1).every((line, n) => line.includes(`[INFO] ${n} xxx`)),
      'the first ones are there',
    );
    closeSync(fd);
    log.close();
  });

  it('the error log tells of what the access log has lost, when it works again', () => {
    const path = fresh();
    const log = createLogger({ level: 'info', errorlog: path });
    const { fd } = new LogTarget('access log', '/dev/full', 1);
    const access = openAccessLog('/dev/full', { sink: new FileSink({ fd, held: heldMemory() }), log })!;
    access.write('one');
    access.write('two');
    access.flush();
    access.write('three');
    access.flush();
    assert.equal(access.dropped, 3);
    assert.equal(readFileSync(path, 'utf8'), '');
    // The disk has room again.
    const disk = fresh();
    const room = openSync(disk, 'a');
    assert.equal(native.dupTo(room, fd), fd);
    closeSync(room);
    access.write('four');
    access.flush();
    assert.equal(readFileSync(disk, 'utf8'), 'four\n');
    assert.match(readFileSync(path, 'utf8'), /\[WARNING\] The access log lost 3 lines: ENOSPC\n$/);
    log.close();
  });

  it('a line of any length leaves whole', () => {
    const path = fresh();
    const sink = new FileSink({ fd: new LogTarget('log', path, 1).fd, held: heldMemory() });
    const long = 'é'.repeat(3_000_000);
    sink.write('before\n');
    sink.write(`${long}\n`);
    sink.write('after\n');
    sink.close();
    assert.equal(readFileSync(path, 'utf8'), `before\n${long}\nafter\n`);
  });

  it('what a thread has left in its memory is written by another one', async () => {
    const path = fresh();
    const { fd } = new LogTarget('log', path, 1);
    const held = heldMemory();
    const thread = new Worker(
      `const { workerData: { outlet, url }, parentPort } = require('node:worker_threads');
      import(url).then(({ FileSink }) => {
        const sink = new FileSink(outlet);
        for (let n = 0; n < 500; n++) sink.write('line ' + n + '\\n');
        parentPort.postMessage('written');
        setImmediate(() => { while (true); });
      });`,
      { eval: true, workerData: { outlet: { fd, held }, url: SINK } },
    );
    await new Promise((resolve) => thread.once('message', resolve));
    await thread.terminate();
    assert.equal(readFileSync(path, 'utf8'), '');
    rescue({ fd, held });
    rescue({ fd, held });
    assert.equal(readFileSync(path, 'utf8'), Array.from({ length: 500 }, (_, n) => `line ${n}\n`).join(''));
  });
});

describe('standard streams', () => {
  it('a pipe that nobody reads holds up no process, and its other users still block', async () => {
    const child = spawn(
      'sh',
      [
        '-c',
        // The shell shares the pipe: its own write has to wait for the reader, not to fail.
        '"$0" "$@" && head -c 200000 /dev/zero | tr "\\0" z && echo over >&2',
        process.execPath,
        '--input-type=module',
        '-e',
        `const { openAccessLog } = await import(${JSON.stringify(LOG)});
        const log = openAccessLog('-');
        for (let n = 0; n < 20000; n++) { log.write('x'.repeat(99)); if (n % 10 === 0) log.flush(); }
        console.error('wrote, lost ' + (log.dropped > 0));
        process.reallyExit(0);`,
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    const closed = new Promise((resolve) => child.once('close', resolve));
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (text) => (errors += text));
    await until(() => errors.includes('wrote, lost true'));
    let out = '';
    child.stdout.setEncoding('latin1').on('data', (text) => (out += text));
    await until(() => errors.includes('over'));
    await closed;
    assert.match(out, /^(x{99}\n)+z{200000}$/);
  });
});

describe('reopenLogs', () => {
  it('moves all writers of a process to the new file at once, threads that are stuck too', async () => {
    const path = fresh();
    const target = new LogTarget('log', path, 1);
    const flag = new Int32Array(new SharedArrayBuffer(8));
    const thread = new Worker(
      `const { workerData: { outlet, url, flag } } = require('node:worker_threads');
      import(url).then(({ FileSink }) => {
        const sink = new FileSink(outlet);
        let n = 0;
        while (Atomics.load(flag, 0) === 0) { sink.write('line ' + n++ + '\\n'); sink.flush(); Atomics.store(flag, 1, n); }
      });`,
      { eval: true, workerData: { outlet: { fd: target.fd, held: heldMemory() }, url: SINK, flag } },
    );
    const exited = new Promise((resolve) => thread.once('exit', resolve));
    const log = createLogger({ level: 'info', errorlog: '/dev/null' });
    const files: string[] = [];
    for (let n = 0; n < 20; n++) {
      const seen = Atomics.load(flag, 1);
      await until(() => Atomics.load(flag, 1) > seen + 10);
      renameSync(path, `${path}.${n}`);
      files.push(`${path}.${n}`);
      reopenLogs(log);
    }
    Atomics.store(flag, 0, 1);
    await exited;
    const all = [...files, path].map((file) => readFileSync(file, 'utf8'));
    assert.ok(all.slice(0, -1).every((text) => text.length > 0));
    assert.equal(all.join(''), Array.from({ length: Atomics.load(flag, 1) }, (_, n) => `line ${n}\n`).join(''));
    target.close();
    log.close();
  });

  it('keeps the old file where the new one cannot be opened, and says so', () => {
    const folder = mkdtempSync(join(dir, 'gone-'));
    const path = join(folder, 'access.log');
    const errors = fresh();
    const log = createLogger({ level: 'info', errorlog: errors });
    const access = openAccessLog(path)!;
    const kept = openSync(path, 'r');
    rmSync(folder, { recursive: true });
    reopenLogs(log);
    access.write('goes on');
    access.flush();
    const buffer = Buffer.alloc(100);
    assert.equal(buffer.toString('utf8', 0, readSync(kept, buffer)), 'goes on\n');
    assert.match(
      readFileSync(errors, 'utf8'),
      /\[ERROR\] Cannot reopen the access log '.*', the old one goes on: ENOENT/,
    );
    closeSync(kept);
    access.close();
    log.close();
  });
});
