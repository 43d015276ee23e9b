/** Selector: the contract of CPython's selectors, on epoll. */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { EINVAL, EPOLL_CTL_ADD, EPOLLIN, native } from '../../../src/native/binding.js';
import { defaultSelector } from '../../../src/selector/epoll.js';
import {
  EVENT_READ,
  EVENT_WRITE,
  type EventMask,
  Selector,
  type SelectorBackend,
} from '../../../src/selector/selector.js';
import { ok, openFds, unixPair } from '../../support/native.js';

const BOTH = (EVENT_READ | EVENT_WRITE) as EventMask;
const code = (suffix: string) => ({ name: 'TunicornError', code: `ERR_TUNICORN_SELECTOR_${suffix}` });

describe('Selector', () => {
  let selector: Selector<string>;
  let a: number;
  let b: number;
  beforeEach(() => {
    selector = defaultSelector<string>();
    [a, b] = unixPair();
  });
  afterEach(() => {
    selector.close();
    native.close(a);
    native.close(b);
  });
  /** What select() returns, as plain values. */
  const ready = (timeoutMs = 0) => selector.select(timeoutMs).map(([key, events]) => [key.fd, key.data, events]);

  test('register returns the key, and getKey the same one', () => {
    const key = selector.register(a, EVENT_READ, 'data');
    assert.deepEqual(key, { fd: a, events: EVENT_READ, data: 'data' });
    assert.equal(selector.getKey(a), key);
    assert.equal(selector.has(a), true);
    assert.equal(selector.has(b), false);
    assert.equal(selector.size, 1);
  });

  test('an fd is registered once', () => {
    const key = selector.register(a, EVENT_READ, 'first');
    assert.throws(() => selector.register(a, EVENT_WRITE, 'second'), code('REGISTERED'));
    assert.equal(selector.getKey(a), key, 'nothing changed');
    assert.deepEqual(ready(), []);
  });

  test('what is no fd and what is no mask is refused', () => {
    for (const fd of [-1, 1.5, Number.NaN, 'x', null]) {
      assert.throws(() => selector.register(fd as number, EVENT_READ, ''), code('FD'));
    }
    for (const events of [0, 4, -1, 1.5, undefined]) {
      assert.throws(() => selector.register(a, events as EventMask, ''), code('EVENTS'));
    }
    selector.register(a, EVENT_READ, '');
    assert.throws(() => selector.modify(a, 0 as EventMask, ''), code('EVENTS'));
    assert.equal(selector.size, 1);
  });

  test('an unknown fd', () => {
    assert.throws(() => selector.unregister(a), code('UNKNOWN'));
    assert.throws(() => selector.modify(a, EVENT_READ, ''), code('UNKNOWN'));
    assert.throws(() => selector.getKey(a), code('UNKNOWN'));
  });

  test('unregister returns the key; the fd can be registered again', () => {
    const key = selector.register(a, EVENT_WRITE, 'one');
    assert.equal(selector.unregister(a), key);
    assert.deepEqual(ready(), []);
    assert.throws(() => selector.unregister(a), code('UNKNOWN'));
    selector.register(a, EVENT_WRITE, 'two');
    assert.deepEqual(ready(), [[a, 'two', EVENT_WRITE]]);
  });

  test('select tells the masks that were asked for', () => {
    selector.register(a, BOTH, 'a');
    selector.register(b, EVENT_READ, 'b');
    assert.deepEqual(ready(), [[a, 'a', EVENT_WRITE]]);
    native.sendString(b, 'x', 0);
    assert.deepEqual(ready(), [[a, 'a', BOTH]]);
    selector.modify(a, EVENT_READ, 'a2');
    assert.deepEqual(ready(), [[a, 'a2', EVENT_READ]]);
    assert.deepEqual(ready(), [[a, 'a2', EVENT_READ]], 'level-triggered: until it is read');
    native.recv(a, new Uint8Array(8), 0, 8);
    assert.deepEqual(ready(), []);
  });

  test('a peer that left makes it ready for whatever was asked for', () => {
    selector.register(a, EVENT_READ, 'reader');
    native.close(b);
    assert.deepEqual(ready(), [[a, 'reader', EVENT_READ]]);
    selector.modify(a, EVENT_WRITE, 'writer');
    assert.deepEqual(ready(), [[a, 'writer', EVENT_WRITE]]);
    b = ok(native.eventfd());
  });

  test('modify of the data alone makes no system call', () => {
    selector.register(a, EVENT_READ, 'before');
    native.close(a);
    assert.equal(selector.modify(a, EVENT_READ, 'after').data, 'after');
    assert.equal(selector.getKey(a).data, 'after');
    a = ok(native.eventfd());
  });

  test('unregister of an fd that is closed already is no error', () => {
    const fd = ok(native.eventfd());
    const key = selector.register(fd, EVENT_READ, 'gone');
    native.close(fd);
    assert.equal(selector.unregister(fd), key);
    assert.equal(selector.size, 0);
  });

  test('register that fails leaves nothing behind', () => {
    const closed = ok(native.eventfd());
    native.close(closed);
    assert.throws(() => selector.register(closed, EVENT_READ, ''), { ...code('SYSTEM'), message: /register.*EBADF/ });
    const folder = mkdtempSync(join(tmpdir(), 'tunicorn-'));
    const file = openSync(join(folder, 'file'), 'w');
    assert.throws(() => selector.register(file, EVENT_READ, ''), { ...code('SYSTEM'), message: /EPERM/ });
    closeSync(file);
    rmSync(folder, { recursive: true });
    assert.equal(selector.size, 0);
    assert.equal(selector.has(closed), false);
  });

  test('modify that fails unregisters, as in CPython', () => {
    const fd = ok(native.eventfd());
    selector.register(fd, EVENT_READ, '');
    native.close(fd);
    assert.throws(() => selector.modify(fd, BOTH, ''), { ...code('SYSTEM'), message: /modify.*EBADF/ });
    assert.equal(selector.has(fd), false);
  });

  test('timeouts: 0 looks, a positive one waits', () => {
    selector.register(a, EVENT_READ, '');
    const before = performance.now();
    assert.deepEqual(ready(0), []);
    assert.ok(performance.now() - before < 1000);
    assert.deepEqual(ready(15.2), []);
    assert.ok(performance.now() - before >= 15);
    native.sendString(b, 'x', 0);
    assert.deepEqual(ready(-1), [[a, '', EVENT_READ]]);
    assert.deepEqual(ready(-0.5), [[a, '', EVENT_READ]]);
    assert.deepEqual(ready(Number.POSITIVE_INFINITY), [[a, '', EVENT_READ]]);
  });

  test('its own fd is readable while something is ready', () => {
    const outer = defaultSelector<string>();
    outer.register(selector.fd, EVENT_READ, 'inner');
    selector.register(a, EVENT_READ, '');
    assert.equal(outer.select(0).length, 0);
    native.sendString(b, 'x', 0);
    assert.equal(outer.select(0).length, 1);
    outer.close();
  });

  test('more fds than one system call returns are all told in the end', () => {
    const fds = Array.from({ length: 300 }, () => ok(native.eventfd()));
    for (const fd of fds) {
      selector.register(fd, EVENT_READ, '');
      native.eventfdWrite(fd);
    }
    const seen = new Set<number>();
    for (let i = 0; i < 5; i++) for (const [key] of selector.select(0)) seen.add(key.fd);
    assert.equal(seen.size, 300);
    for (const fd of fds) native.close(fd);
  });

  test('closed', () => {
    const before = openFds().length;
    selector.register(a, EVENT_READ, '');
    selector.close();
    selector.close();
    assert.equal(openFds().length, before - 1);
    assert.throws(() => selector.register(b, EVENT_READ, ''), code('CLOSED'));
    assert.throws(() => selector.modify(a, EVENT_WRITE, ''), code('CLOSED'));
    assert.throws(() => selector.select(0), code('CLOSED'));
    assert.throws(() => selector.getKey(a), code('CLOSED'));
    assert.throws(() => selector.unregister(a), code('UNKNOWN'));
    assert.equal(selector.size, 0);
  });
});

/** A backend that answers as told. */
class Scripted implements SelectorBackend {
  readonly fd = 99;
  answer = 0;
  events: Array<[number, EventMask]> = [];
  calls: string[] = [];
  add = (fd: number) => this.called(`add ${fd}`);
  change = (fd: number) => this.called(`change ${fd}`);
  remove = (fd: number) => this.called(`remove ${fd}`);
  wait(timeoutMs: number, found: (fd: number, events: EventMask) => void): number {
    for (const [fd, events] of this.events) found(fd, events);
    return this.called(`wait ${timeoutMs}`);
  }
  close(): void {
    this.calls.push('close');
  }
  private called(what: string): number {
    this.calls.push(what);
    return this.answer;
  }
}

describe('Selector over a backend', () => {
  test('events of unknown fds and events nobody asked for are left out', () => {
    const backend = new Scripted();
    const selector = new Selector<string>(backend);
    selector.register(5, EVENT_READ, 'five');
    selector.register(6, EVENT_WRITE, 'six');
    backend.events = [
      [4, BOTH],
      [5, BOTH],
      [6, EVENT_READ],
    ];
    assert.deepEqual(
      selector.select(0).map(([key, events]) => [key.fd, events]),
      [[5, EVENT_READ]],
    );
  });

  test('a wait that fails is told, timeouts are rounded up and bounded', () => {
    const backend = new Scripted();
    const selector = new Selector<string>(backend);
    for (const timeout of [0, 0.1, 7, -3, 1e12]) selector.select(timeout);
    assert.deepEqual(backend.calls, ['wait 0', 'wait 1', 'wait 7', 'wait -1', 'wait 2147483647']);
    backend.answer = EINVAL;
    assert.throws(() => selector.select(0), { ...code('SYSTEM'), message: /select.*EINVAL/ });
  });

  test('modify that failed is taken out of the kernel as well', () => {
    const backend = new Scripted();
    const selector = new Selector<string>(backend);
    selector.register(5, EVENT_READ, '');
    backend.answer = EINVAL;
    assert.throws(() => selector.modify(5, EVENT_WRITE, ''), code('SYSTEM'));
    assert.deepEqual(backend.calls, ['add 5', 'change 5', 'remove 5']);
  });
});

test('a selector and plain epoll see the same', () => {
  const selector = defaultSelector<null>();
  const epfd = ok(native.epollCreate());
  const fd = ok(native.eventfd());
  selector.register(fd, EVENT_READ, null);
  native.epollCtl(epfd, EPOLL_CTL_ADD, fd, EPOLLIN, 0);
  for (const write of [false, true]) {
    if (write) native.eventfdWrite(fd);
    assert.equal(selector.select(0).length, native.epollWait(epfd, new Int32Array(3), 1, 0));
  }
  selector.close();
  native.close(fd);
  native.close(epfd);
});
