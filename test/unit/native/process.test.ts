/** epoll, eventfd, clock, heads and the rest of the addon, on the main thread and in a worker thread; wrong arguments. */
import assert from 'node:assert/strict';
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import {
  EAGAIN,
  EINVAL,
  ENOENT,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLONESHOT,
  EPOLLOUT,
  EPOLLRDHUP,
  native,
} from '../../../src/native/binding.js';
import { ok, unixPair } from '../../support/native.js';
import { runInBoth } from './run-bodies.js';

const isError = (result: number, name: string) => assert.equal(result < 0 && native.errnoName(result), name);

runInBoth('other calls', import.meta.url, {
  'eventfd counts writes and forgets them when read'() {
    const fd = ok(native.eventfd());
    assert.equal(native.eventfdRead(fd), EAGAIN);
    for (let i = 0; i < 3; i++) assert.equal(native.eventfdWrite(fd), 0);
    assert.equal(native.eventfdRead(fd), 3);
    assert.equal(native.eventfdRead(fd), EAGAIN);
    native.close(fd);
  },

  'epoll tells fd, generation and events'() {
    const epfd = ok(native.epollCreate());
    const [a, b] = unixPair();
    const out = new Int32Array(9);
    assert.equal(native.epollCtl(epfd, EPOLL_CTL_MOD, a, EPOLLIN, 1), ENOENT);
    assert.equal(native.epollCtl(epfd, EPOLL_CTL_DEL, a, 0, 0), ENOENT);
    assert.equal(native.epollCtl(epfd, EPOLL_CTL_ADD, a, EPOLLIN | EPOLLRDHUP | EPOLLET, 0xffff), 0);
    isError(native.epollCtl(epfd, EPOLL_CTL_ADD, a, EPOLLIN, 1), 'EEXIST');
    assert.equal(native.epollCtl(epfd, EPOLL_CTL_ADD, epfd, EPOLLIN, 1), EINVAL);
    assert.equal(native.epollCtl(epfd, 77, a, EPOLLIN, 1), EINVAL);
    assert.equal(native.epollWait(epfd, out, 3, 0), 0);
    native.sendString(b, 'x', 0);
    assert.equal(native.epollWait(epfd, out, 3, 0), 1);
    assert.deepEqual([...out.subarray(0, 3)], [a, 0xffff, EPOLLIN]);
    assert.equal(native.epollWait(epfd, out, 3, 0), 0, 'edge-triggered: once');
    assert.equal(native.epollCtl(epfd, EPOLL_CTL_MOD, a, EPOLLIN | EPOLLOUT | EPOLLONESHOT, -5), 0);
    assert.equal(native.epollWait(epfd, out, 3, 0), 1);
    assert.deepEqual([...out.subarray(0, 3)], [a, -5, EPOLLIN | EPOLLOUT]);
    assert.equal(native.epollWait(epfd, out, 3, 0), 0, 'one shot');
    native.epollCtl(epfd, EPOLL_CTL_MOD, a, EPOLLIN | EPOLLRDHUP, 7);
    native.close(b);
    assert.equal(native.epollWait(epfd, out, 3, 0), 1);
    assert.equal(out[2], EPOLLIN | EPOLLRDHUP | EPOLLHUP);
    assert.equal(native.epollCtl(epfd, EPOLL_CTL_DEL, a, 0, 0), 0);
    native.close(a);
    native.close(epfd);
  },

  'epollWait looks at its arguments'() {
    const epfd = ok(native.epollCreate());
    assert.equal(native.epollWait(epfd, new Int32Array(3), 2, 0), EINVAL);
    assert.equal(native.epollWait(epfd, new Int32Array(3), 0, 0), EINVAL);
    assert.equal(native.epollWait(epfd, new Float32Array(3) as unknown as Int32Array, 1, 0), EINVAL);
    assert.equal(native.epollWait(epfd, new Int32Array(3), 1, 0.5), EINVAL);
    assert.equal(native.epollWait(epfd, new Int32Array(3 * 1000), 1000, 0), 0, 'more than it returns at a time');
    const before = performance.now();
    assert.equal(native.epollWait(epfd, new Int32Array(3), 1, 20), 0);
    assert.ok(performance.now() - before >= 19, 'waits as long as it is told');
    const efd = ok(native.eventfd());
    assert.equal(native.epollWait(efd, new Int32Array(3), 1, 0), EINVAL);
    native.close(efd);
    native.close(epfd);
  },

  'epoll refuses a regular file'() {
    const folder = mkdtempSync(join(tmpdir(), 'tunicorn-'));
    const file = openSync(join(folder, 'f'), 'w');
    const epfd = ok(native.epollCreate());
    isError(native.epollCtl(epfd, EPOLL_CTL_ADD, file, EPOLLIN, 0), 'EPERM');
    isError(
      native.pollStart(file, () => false, 1, 0),
      'EPERM',
    );
    native.close(epfd);
    native.close(file);
    rmSync(folder, { recursive: true });
  },

  'the clock is brought up to date by the calls of a request'() {
    const clock = new Int32Array(new SharedArrayBuffer(8));
    assert.equal(native.useClock(clock), 0);
    const [a, b] = unixPair();
    const epfd = ok(native.epollCreate());
    const near = () => assert.ok(Math.abs((clock[0] - native.clock()) | 0) <= 20, `${clock[0]} and ${native.clock()}`);
    near();
    const buffer = new Uint8Array(4);
    for (const call of [
      () => native.send(a, buffer, 0, 4),
      () => native.recv(b, buffer, 0, 4),
      () => native.sendString(a, 'x', 0),
      () => native.sendHead(a, 'x', buffer, 0, 4),
      () => native.epollWait(epfd, new Int32Array(3), 1, 0),
    ]) {
      clock[0] = native.clock() - 100_000;
      ok(call());
      near();
    }
    assert.equal(clock[1], 5);
    for (const bad of [new Int32Array(2), new Int32Array(new SharedArrayBuffer(4)), new Uint8Array(8), null, 5]) {
      assert.equal(native.useClock(bad as Int32Array), EINVAL, 'too short, of another type, or not shared');
    }
    // The one in use stays.
    clock[0] = native.clock() - 100_000;
    native.epollWait(epfd, new Int32Array(3), 1, 0);
    near();
    native.close(a);
    native.close(b);
    native.close(epfd);
  },

  'heads are kept, replaced, taken once, dropped at close'() {
    const fd = ok(native.eventfd());
    const from = Buffer.from('GET / HTTP/1.1\r\n');
    const into = Buffer.alloc(64, 46);
    assert.equal(native.headLength(fd), 0);
    assert.equal(native.headTake(fd, into, 0, 64), 0);
    assert.equal(native.headPut(fd, from, 0, 3), 0);
    assert.equal(native.headLength(fd), 3);
    assert.equal(native.headPut(fd, from, 4, 10), 0);
    assert.equal(native.headLength(fd), 10);
    isError(native.headTake(fd, into, 0, 9), 'ENOBUFS');
    assert.equal(native.headLength(fd), 10, 'kept');
    assert.equal(native.headTake(fd, into, 5, 10), 10);
    assert.equal(into.toString('latin1', 0, 20), '...../ HTTP/1.1.....');
    assert.equal(native.headTake(fd, into, 0, 64), 0, 'taken');
    assert.equal(native.headPut(fd, from, 0, 0), 0);
    assert.equal(native.headTake(fd, into, 0, 64), 0);
    native.headPut(fd, from, 0, 16);
    native.close(fd);
    assert.equal(native.headLength(fd), 0, 'dropped');
    for (const bad of [-1, 1 << 20, 0x7fffffff]) {
      assert.equal(native.headPut(bad, from, 0, 1), EINVAL);
      assert.equal(native.headTake(bad, into, 0, 1), EINVAL);
      assert.equal(native.headLength(bad), EINVAL);
    }
  },

  'thread, name, limits'() {
    const tid = native.gettid();
    assert.equal(tid === process.pid, isMainThread);
    const comm = `/proc/self/task/${tid}/comm`;
    const before = readFileSync(comm, 'utf8').trim();
    assert.equal(native.setThreadName('a name that is cut off'), 0);
    assert.equal(readFileSync(comm, 'utf8'), 'a name that is \n');
    assert.equal(native.setThreadName(before), 0);
    assert.equal(native.setParentDeathSignal(0), 0);
    assert.equal(native.setParentDeathSignal(9999), EINVAL);
    const soft = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))![1];
    assert.equal(native.maxFds(), soft === 'unlimited' ? 1 << 20 : Math.min(1 << 20, Number(soft)));
  },

  'no argument makes a call throw, crash or touch another fd'() {
    const junk: unknown[] = [
      undefined,
      null,
      true,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      1.5,
      2 ** 31,
      2 ** 32,
      2 ** 53,
    ];
    junk.push('', 'text', {}, [], () => true, Symbol('s'), 5n, -1, -0x80000000, new Uint8Array(4), new Int32Array(4));
    junk.push(new DataView(new ArrayBuffer(4)), new ArrayBuffer(4), new Proxy({}, {}), new Date());
    const addon = native as unknown as Record<string, (...args: unknown[]) => unknown>;
    const skip = new Set([
      'errnoName',
      'epollCreate',
      'eventfd',
      'clock',
      'gettid',
      'maxFds',
      'threadCpu',
      'stretchCpu',
      'setThreadName',
      'setTitle',
      'socketPair',
      // It is there to throw.
      'uncaught',
    ]);
    let seed = 12345;
    const random = (n: number) => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 1) % n;
    for (const name of Object.keys(addon)) {
      if (skip.has(name)) continue;
      assert.equal(typeof addon[name](), 'number');
      for (const bad of junk) {
        const result = addon[name](bad, ...Array(5).fill(bad));
        assert.ok((result as number) < 0, `${name}(${typeof bad}) = ${String(result)}`);
      }
      for (let i = 0; i < 300; i++) {
        // An fd that is nobody's, and anything after it: wrong, too few or too many.
        const args = Array.from({ length: random(9) }, () => junk[random(junk.length)]);
        const result = addon[name](-1, ...args);
        assert.ok((result as number) < 0, `${name} = ${String(result)}`);
      }
    }
    for (const bad of junk) {
      if (typeof bad === 'string') continue;
      assert.equal(addon.setThreadName(bad), EINVAL);
      assert.equal(addon.setTitle(bad), EINVAL);
    }
  },
});
