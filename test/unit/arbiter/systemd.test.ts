/** Socket activation: the variables, and which addresses are served then. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bindOf, describeActivated, passOn, takeActivated } from '../../../src/arbiter/systemd.js';
import { TunicornError } from '../../../src/errors.js';

const me = String(process.pid);
/** Socket activation with n sockets, unnamed. */
const sockets = (n: number) => takeActivated(undefined, { LISTEN_PID: me, LISTEN_FDS: String(n) });

describe('takeActivated', () => {
  it('reads the variables meant for this process and takes them away', () => {
    const env = { LISTEN_PID: me, LISTEN_FDS: '3', LISTEN_FDNAMES: 'web:admin', LISTEN_PIDFDID: '7', OTHER: 'x' };
    const found = takeActivated(undefined, env);
    assert.deepEqual(found, [
      { fd: 3, name: 'web' },
      { fd: 4, name: 'admin' },
      { fd: 5, name: '' },
    ]);
    assert.deepEqual(env, { OTHER: 'x' });
    assert.equal(describeActivated(found), 'fd 3 (web), fd 4 (admin), fd 5');
  });

  it('takes nothing that is meant for another process, or is not there', () => {
    for (const LISTEN_PID of ['1', `${me}0`, '', ` ${me}`]) {
      const env = { LISTEN_PID, LISTEN_FDS: 'nonsense' };
      assert.deepEqual(takeActivated(undefined, env), []);
      assert.deepEqual(env, {});
    }
    assert.deepEqual(takeActivated(undefined, { LISTEN_FDS: '1' }), []);
    assert.deepEqual(takeActivated(undefined, {}), []);
    assert.deepEqual(sockets(0), []);
  });

  it('refuses what is no number', () => {
    for (const LISTEN_FDS of [undefined, '', 'x', '-1', '1.5', '99999']) {
      assert.throws(
        () => takeActivated(undefined, { LISTEN_PID: me, LISTEN_FDS }),
        (err) => err instanceof TunicornError && err.code === 'ERR_TUNICORN_LISTEN' && /LISTEN_FDS/.test(err.message),
      );
    }
  });

  it('an arbiter that replaces this one finds the same sockets', () => {
    const found = takeActivated(undefined, { LISTEN_PID: me, LISTEN_FDS: '2', LISTEN_FDNAMES: 'a:b' });
    assert.deepEqual(takeActivated(process.pid, passOn(found)), found);
    assert.deepEqual(takeActivated(1, passOn(found)), []);
    assert.deepEqual(passOn([]), {});
  });
});

describe('bindOf', () => {
  const bind = ['127.0.0.1:8000', 'fd://9', 'unix:/run/x.sock'];

  it('is bind, unless systemd has passed sockets', () => {
    assert.deepEqual(bindOf({ bind, statusBind: [] }, []), bind);
    assert.deepEqual(bindOf({ bind, statusBind: [] }, sockets(2)), ['fd://9', 'fd://3', 'fd://4']);
    assert.deepEqual(bindOf({ bind: ['FD://03', ':80'], statusBind: [] }, sockets(2)), ['fd://3', 'fd://4']);
  });

  it('leaves to status_bind what that names', () => {
    assert.deepEqual(bindOf({ bind: [':80'], statusBind: ['fd://3', ':81'] }, sockets(2)), ['fd://4']);
    assert.deepEqual(bindOf({ bind: [':80'], statusBind: ['fd://3'] }, sockets(1)), [':80']);
  });
});
