import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { bequeath, takeInheritance } from '../../../src/arbiter/inherited.js';
import { Pidfile } from '../../../src/arbiter/pidfile.js';

describe('what an arbiter leaves to the one it starts', () => {
  it('is read as it was written, and taken out of the environment', () => {
    const binds = ['127.0.0.1:8000', 'unix:/a,b "c".sock'];
    const env: NodeJS.ProcessEnv = { OTHER: 'stays', ...bequeath(binds, 3) };
    assert.equal(env.TUNICORN_FD, '3,4');
    assert.deepEqual(takeInheritance(env), {
      pid: process.pid,
      sockets: [
        { fd: 3, bind: binds[0] },
        { fd: 4, bind: binds[1] },
      ],
    });
    assert.deepEqual(env, { OTHER: 'stays' });
    assert.equal(takeInheritance(env), null);
  });

  it('may come from somebody who knows gunicorn only, or be nonsense', () => {
    assert.deepEqual(takeInheritance({ TUNICORN_PID: '7', TUNICORN_FD: '5,x,6' })?.sockets, [
      { fd: 5, bind: '' },
      { fd: 6, bind: '' },
    ]);
    assert.deepEqual(takeInheritance({ TUNICORN_PID: '7', TUNICORN_BIND: '{' }), { pid: 7, sockets: [] });
    assert.equal(takeInheritance({ TUNICORN_PID: '-1', TUNICORN_FD: '5' }), null);
  });
});

describe('Pidfile.rename', () => {
  it('replaces what nobody living has, and respects the others', () => {
    const dir = mkdtempSync(join(tmpdir(), 'tunicorn-pidfile-'));
    try {
      const file = new Pidfile(join(dir, 'pid.2'));
      writeFileSync(join(dir, 'pid'), `${process.ppid}\n`);
      assert.throws(() => file.rename(join(dir, 'pid')), { code: 'ERR_TUNICORN_PIDFILE' });
      assert.equal(file.path, join(dir, 'pid.2'));
      writeFileSync(join(dir, 'pid'), '999999999\n');
      file.rename(join(dir, 'pid'));
      assert.equal(file.path, join(dir, 'pid'));
      assert.throws(() => file.rename(join(dir, 'no', 'pid')), { code: 'ERR_TUNICORN_PIDFILE' });
      file.unlink();
      file.rename(join(dir, 'new'));
      assert.equal(
        readFileSync(join(dir, 'new'), 'utf8'),
        `${process.pid}\n`,
        'as gunicorn: one that is gone is made again',
      );
      file.unlink();
      assert.deepEqual(readdirSync(dir), []);
      assert.throws(() => file.rename(join(dir, 'no', 'pid')), { code: 'ERR_TUNICORN_PIDFILE' });
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});
