import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { TunicornError } from '../../src/errors.js';
import { createLogger, describeError, escapeText, formatTime, openAccessLog } from '../../src/log.js';

const dir = mkdtempSync(join(tmpdir(), 'tunicorn-log-'));
after(() => rmSync(dir, { recursive: true, force: true }));
const MODULE = new URL('../../src/log.js', import.meta.url).href;

let count = 0;
const fresh = () => join(dir, `log${count++}`);

/** Runs code with the log module as `log` in a process of its own. */
function run(code: string, env: Record<string, string> = {}, shell = '"$0" "$@"') {
  const script = `const log = await import(${JSON.stringify(MODULE)}); ${code}`;
  return spawnSync('sh', ['-c', shell, process.execPath, '--input-type=module', '-e', script], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    timeout: 20_000,
    maxBuffer: 64 * 1024 * 1024,
  });
}

describe('createLogger', () => {
  it("writes gunicorn's lines at once, from its level on", () => {
    const path = fresh();
    const log = createLogger({ level: 'info', errorlog: path });
    log.debug('no');
    log.info('one');
    log.warning('two');
    log.error('three');
    log.critical('four');
    const lines = readFileSync(path, 'utf8').split('\n');
    const head = /^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] /;
    for (const line of lines.slice(0, 4)) assert.match(line, head);
    assert.deepEqual(
      lines.map((line) => line.replace(head, '')),
      [
        `[${process.pid}] [INFO] one`,
        `[${process.pid}] [WARNING] two`,
        `[${process.pid}] [ERROR] three`,
        `[${process.pid}] [CRITICAL] four`,
        '',
      ],
    );
    log.close();
    log.error('after close');
    assert.ok(!readFileSync(path, 'utf8').includes('after close'));
  });

  it('has a name if one is given, and the stack of an error with its causes, indented', () => {
    const path = fresh();
    const log = createLogger({ level: 'debug', errorlog: path, name: 'thread 3' });
    log.error('failed', new Error('outer', { cause: new TypeError('inner') }));
    const text = readFileSync(path, 'utf8');
    assert.match(text, /\[ERROR\] \[thread 3\] failed\n {4}Error: outer\n {8}at /);
    assert.match(text, /\n {4}Caused by: TypeError: inner\n/);
    log.close();
  });

  it('cannot be made to forge a line', () => {
    const path = fresh();
    const log = createLogger({ level: 'info', errorlog: path });
    const forged = '[2026-11-23 12:00:00 +0000] [1] [INFO] Shutting down';
    log.info(`GET /\r\n${forged}`);
    log.info(`GET /\x1b[2K\u2028\u202e`);
    log.error('failed', new Error(`bad\n${forged}`));
    log.error('failed', `thrown\n${forged}`);
    const lines = readFileSync(path, 'utf8').split('\n');
    assert.equal(lines.filter((line) => line.startsWith('[')).length, 4);
    assert.ok(lines.some((line) => line.includes(`GET /\\r\\n${forged}`)));
    assert.ok(lines.some((line) => line.endsWith('GET /\\x1b[2K\\u2028\\u202e')));
    log.close();
  });

  it('survives errors that do not want to be shown', () => {
    const hostile = {
      toString() {
        throw new Error('no');
      },
    };
    const loop = new Error('loop');
    loop.cause = loop;
    assert.equal(describeError(hostile), 'an error that cannot be shown');
    assert.ok(describeError(loop).length < 20_000);
    assert.equal(describeError(null), 'not an Error: null');
    assert.equal(describeError(undefined), '');
  });

  it('reopens after a rotation', () => {
    const path = fresh();
    const log = createLogger({ level: 'info', errorlog: path });
    log.info('before');
    renameSync(path, `${path}.1`);
    log.reopen();
    log.info('after');
    assert.ok(readFileSync(`${path}.1`, 'utf8').includes('before'));
    assert.ok(readFileSync(path, 'utf8').includes('after'));
    log.close();
  });

  it('loses nothing at process.exit, and writes to standard error by default', () => {
    const { stderr, status } = run(`
      const l = log.createLogger({ level: 'info', errorlog: '-' });
      for (let n = 0; n < 2000; n++) l.info('line ' + n);
      process.exit(7);`);
    assert.equal(status, 7);
    assert.equal(stderr.split('\n').length, 2001);
    assert.ok(stderr.endsWith('line 1999\n'));
  });

  it('a full disk or a closed pipe does not throw', () => {
    assert.ok(existsSync('/dev/full'));
    const full = run(`
      const l = log.createLogger({ level: 'info', errorlog: '/dev/full' });
      for (let n = 0; n < 3000; n++) l.info('x'.repeat(1000));
      l.close();
      console.log('fine');`);
    assert.equal(full.stdout, 'fine\n', full.stderr);
    const closed = run(
      `const l = log.createLogger({ level: 'info', errorlog: '-' });
      for (let n = 0; n < 3000; n++) l.info('x'.repeat(1000));
      console.log('fine');`,
      {},
      // Standard error becomes a pipe whose reader is gone.
      '{ "$0" "$@" 2>&1 1>&3 | true; } 3>&1',
    );
    assert.equal(closed.stdout, 'fine\n');
  });

  it('says why the file cannot be opened', () => {
    assert.throws(
      () => createLogger({ level: 'info', errorlog: dir }),
      (err) => err instanceof TunicornError && err.code === 'ERR_TUNICORN_LOG' && /EISDIR/.test(err.message),
    );
  });
});

describe('formatTime', () => {
  it('has local time and its offset', () => {
    const show = (zone: string) => run('process.stdout.write(log.formatTime(0))', { TZ: zone }).stdout;
    assert.equal(show('UTC'), '1970-01-01 00:00:00 +0000');
    assert.equal(show('Asia/Kolkata'), '1970-01-01 05:30:00 +0530');
    assert.equal(show('America/St_Johns'), '1969-12-31 20:30:00 -0330');
    assert.match(formatTime(Date.now()), /^\d{4}-/);
  });
});

describe('escapeText', () => {
  it('leaves ordinary text alone', () => assert.equal(escapeText('GET /ä?x="1" 日本 🦄'), 'GET /ä?x="1" 日本 🦄'));
  it('escapes what ends or disguises a line', () => {
    assert.equal(escapeText('a\nb\rc\td\0e\x7f\x85'), 'a\\nb\\rc\\td\\x00e\\x7f\\x85');
  });
});

describe('openAccessLog', () => {
  it('holds lines until flush, appends, and escapes', () => {
    const path = fresh();
    const log = openAccessLog(path)!;
    log.write('one');
    log.write('two\nforged\tand\x1b');
    assert.equal(readFileSync(path, 'utf8'), '');
    log.flush();
    log.flush();
    assert.equal(readFileSync(path, 'utf8'), 'one\ntwo\\nforged\tand\\x1b\n', 'a format may have tabs');
    openAccessLog(path)!.flush();
    log.write('three');
    log.flush();
    assert.equal(readFileSync(path, 'utf8'), 'one\ntwo\\nforged\tand\\x1b\nthree\n');
  });

  it('writes by itself when much is waiting', () => {
    const path = fresh();
    const log = openAccessLog(path)!;
    for (let n = 0; n < 1000; n++) log.write('x'.repeat(99));
    assert.ok(readFileSync(path).length >= 65_000);
    log.flush();
    assert.equal(readFileSync(path).length, 100_000);
  });

  it('is null for null, and says why a file cannot be opened', () => {
    assert.equal(openAccessLog(null), null);
    assert.throws(() => openAccessLog(dir), /cannot open the access log .*EISDIR/);
  });

  it('reopens', () => {
    const path = fresh();
    const log = openAccessLog(path)!;
    log.write('before');
    renameSync(path, `${path}.1`);
    log.reopen();
    log.write('after');
    log.flush();
    assert.equal(readFileSync(`${path}.1`, 'utf8'), 'before\n');
    assert.equal(readFileSync(path, 'utf8'), 'after\n');
  });

  it('counts what a full disk or a closed pipe loses, and does not throw', () => {
    const log = openAccessLog('/dev/full')!;
    log.write('lost');
    log.flush();
    assert.equal(log.dropped, 1);
    const { stderr } = run(
      `const l = log.openAccessLog('-');
      await new Promise((resolve) => setTimeout(resolve, 100));
      l.write('lost'); l.flush();
      console.error(l.dropped);`,
      {},
      '"$0" "$@" | true',
    );
    assert.equal(stderr, '1\n');
  });

  it('keeps lines whole when a slow, non-blocking pipe takes them in pieces', () => {
    // Looking at process.stdout makes node set the pipe to non-blocking.
    const { stdout, stderr } = run(
      `process.stdout;
      const l = log.openAccessLog('-');
      for (let n = 0; n < 10000; n++) { l.write('line ' + n + ' ' + 'é'.repeat(n % 50)); if (n % 100 === 0) l.flush(); }
      for (let n = 0; n < 100; n++) { l.flush(); await new Promise((resolve) => setTimeout(resolve, 10)); }
      console.error(l.dropped);`,
      {},
      '"$0" "$@" | { sleep 0.3; cat; }',
    );
    assert.equal(stderr, '0\n');
    const lines = stdout.trimEnd().split('\n');
    assert.equal(lines.length, 10_000);
    assert.ok(lines.every((line, n) => line === `line ${n} ${'é'.repeat(n % 50)}`));
  });

  it('drops whole lines when a pipe takes nothing for long', () => {
    const written = fresh();
    const { stdout, stderr } = run(
      `const { writeFileSync } = await import('node:fs');
      const l = log.openAccessLog('-');
      for (let n = 0; n < 30000; n++) { l.write('line ' + n + ' ' + 'é'.repeat(60)); }
      l.flush();
      writeFileSync(process.env.WRITTEN, '');
      for (let n = 0; n < 300; n++) { l.flush(); await new Promise((resolve) => setTimeout(resolve, 10)); }
      console.error(l.dropped);`,
      { WRITTEN: written },
      // The reader begins when all is written.
      '"$0" "$@" | { until [ -e "$WRITTEN" ]; do sleep 0.05; done; cat; }',
    );
    const dropped = Number(stderr);
    assert.ok(dropped > 0);
    const lines = stdout.trimEnd().split('\n');
    assert.equal(lines.length + dropped, 30_000);
    assert.ok(lines.every((line) => /^line \d+ é{60}$/.test(line)));
  });
});
