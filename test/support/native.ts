/** What tests of the addon and of its users need: pairs of connected sockets, waiting for an fd, counting what is open. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EPOLL_CTL_ADD, EPOLLIN, native } from '../../src/native/binding.js';

/** Not among the names that Node has for error numbers. */
const EINPROGRESS = -115;

/** Asserts that a call succeeded and returns its result. */
export function ok(result: number, call = 'the call'): number {
  assert.ok(result >= 0, `${call}: ${result < 0 ? native.errnoName(result) : ''}`);
  return result;
}

/** Waits, blocking, until the fd is readable; false after ms. For peers that are in the kernel already. */
export function readable(fd: number, ms = 2000): boolean {
  const epfd = ok(native.epollCreate());
  try {
    ok(native.epollCtl(epfd, EPOLL_CTL_ADD, fd, EPOLLIN, 0));
    return native.epollWait(epfd, new Int32Array(3), 1, ms) === 1;
  } finally {
    native.close(epfd);
  }
}

/** Two connected unix sockets. The caller closes both. */
export function unixPair(): [number, number] {
  const folder = mkdtempSync(join(tmpdir(), 'tunicorn-'));
  const path = join(folder, 's');
  const listener = ok(native.socket('unix'));
  const client = ok(native.socket('unix'));
  try {
    ok(native.bind(listener, 'unix', path), 'bind');
    ok(native.listen(listener, 1), 'listen');
    ok(native.connect(client, 'unix', path), 'connect');
    return [client, ok(native.accept(listener), 'accept')];
  } finally {
    native.close(listener);
    rmSync(folder, { recursive: true });
  }
}

/** A listening TCP socket on a free port of the loopback. The caller closes it. */
export function tcpListener(): { fd: number; port: number } {
  const fd = ok(native.socket('tcp4'));
  ok(native.bind(fd, 'tcp4', '127.0.0.1', 0), 'bind');
  ok(native.listen(fd, 128), 'listen');
  const name = native.getSockName(fd);
  assert.ok(typeof name === 'object');
  return { fd, port: name.port };
}

/** Two connected TCP sockets: the client's end, the accepted one. The caller closes both. */
export function tcpPair(): [number, number] {
  const { fd, port } = tcpListener();
  try {
    const client = ok(native.socket('tcp4'));
    const result = native.connect(client, 'tcp4', '127.0.0.1', port);
    assert.ok(result === 0 || result === EINPROGRESS, `connect returned ${result}`);
    assert.ok(readable(fd), 'the connection arrives');
    return [client, ok(native.accept(fd), 'accept')];
  } finally {
    native.close(fd);
  }
}

/** Everything that can be read from fd now. */
export function readAll(fd: number): Buffer {
  const parts: Buffer[] = [];
  const piece = new Uint8Array(65536);
  for (let n: number; (n = native.recv(fd, piece, 0, piece.length)) > 0; )
    parts.push(Buffer.from(piece.subarray(0, n)));
  return Buffer.concat(parts);
}

/** Open file descriptors of this process, with what they are. */
export function openFds(): string[] {
  const found: string[] = [];
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      found.push(`${fd} ${readlinkSync(`/proc/self/fd/${fd}`)}`);
    } catch {
      // The one by which the folder was read.
    }
  }
  return found;
}

/** Without files: Node leaves those open that a thread was reading, its modules, when it ended. */
export function openHandles(): string[] {
  return openFds().filter((fd) => !fd.includes(' /'));
}

/** Threads of this process. */
export function threadCount(): number {
  return readdirSync('/proc/self/task').length;
}
