/** Listening sockets that are inherited: what is taken, what is refused, and whose file a unix socket's is. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { adoptSocket } from '../../../src/arbiter/sock.js';
import { TunicornError } from '../../../src/errors.js';
import { native } from '../../../src/native/binding.js';
import { ok, tcpListener, tcpPair } from '../../support/native.js';

const dir = mkdtempSync(join(tmpdir(), 'tunicorn-adopt-'));
after(() => rmSync(dir, { recursive: true }));

function refused(fd: number, why: RegExp): void {
  assert.throws(
    () => adoptSocket(fd),
    (err) =>
      err instanceof TunicornError &&
      err.code === 'ERR_TUNICORN_LISTEN' &&
      err.exitCode === 1 &&
      err.message.startsWith(`cannot listen at fd://${fd}: `) &&
      why.test(err.message),
  );
}

/** A unix socket that listens at a file of this name. */
function unixListening(name: string): { fd: number; path: string } {
  const path = join(dir, name);
  const fd = ok(native.socket('unix'));
  ok(native.bind(fd, 'unix', path));
  ok(native.listen(fd, 1));
  return { fd, path };
}

describe('adoptSocket', () => {
  it('takes TCP sockets and closes them once', () => {
    const { fd, port } = tcpListener();
    const listener = adoptSocket(fd);
    assert.deepEqual([listener.fd, listener.name, listener.family], [fd, `http://127.0.0.1:${port}`, 'tcp']);
    listener.close(true);
    assert.ok(native.accepting(fd) < 0, 'it is closed');
    const other = ok(native.socket('tcp4'));
    assert.equal(other, fd, 'the number is used again');
    listener.close(true);
    assert.equal(native.socketType(other), 1);
    native.close(other);
  });

  it('names IPv6 sockets in brackets', () => {
    const fd = ok(native.socket('tcp6'));
    ok(native.bind(fd, 'tcp6', '::1'));
    ok(native.listen(fd, 1));
    const listener = adoptSocket(fd);
    assert.match(listener.name, /^http:\/\/\[::1\]:[1-9]\d*$/);
    listener.close(true);
  });

  it('leaves the file of a unix socket where it is, unless it is ours', () => {
    for (const ours of [false, true]) {
      const { fd, path } = unixListening('s.sock');
      const listener = adoptSocket(fd, { ours });
      assert.deepEqual([listener.name, listener.family], [`unix:${path}`, 'unix']);
      listener.close(true);
      assert.equal(existsSync(path), !ours);
      rmSync(path, { force: true });
    }
  });

  it('keeps the file of a successor, and ours where closing is not the end', () => {
    const { fd, path } = unixListening('next.sock');
    const listener = adoptSocket(fd, { ours: true });
    rmSync(path);
    const next = unixListening('next.sock');
    listener.close(true);
    assert.ok(existsSync(path));
    adoptSocket(next.fd, { ours: true }).close(false);
    assert.ok(existsSync(path));
  });

  it('refuses what is no listening stream socket, and leaves it open', () => {
    refused(0x7ffffff0, /no such descriptor is open \(EBADF\)/);
    const [client, server] = tcpPair();
    const cases: Array<[number, RegExp]> = [
      [ok(native.eventfd()), /it is no socket \(ENOTSOCK\)/],
      [ok(native.socket('unix', true)), /no stream socket/],
      [ok(native.socket('tcp6')), /does not listen/],
      [client, /does not listen/],
      [server, /does not listen/],
    ];
    for (const [fd, why] of cases) {
      refused(fd, why);
      assert.equal(native.close(fd), 0, 'it is still open');
    }
  });
});
