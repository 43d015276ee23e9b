/** Poll handles: how an fd wakes the event loop of the thread that watches it, on the main thread and in a worker thread. */
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { EINVAL, ENOENT, EPOLL_CTL_ADD, EPOLLIN, native } from '../../../src/native/binding.js';
import { ok, openFds } from '../../support/native.js';
import { until } from '../../support/poll.js';
import { runInBoth } from './run-bodies.js';

/** Lets the event loop go round a few times. */
async function turns(n = 5): Promise<void> {
  for (let i = 0; i < n; i++) await turn();
}

runInBoth('poll handles', import.meta.url, {
  async 'the callback is repeated until it returns something else than true'() {
    const fd = ok(native.eventfd());
    const answers: unknown[] = [true, true, undefined, true, 'yes', 1, {}, null];
    let calls = 0;
    const id = ok(native.pollStart(fd, () => answers[calls++] as boolean, 100, 1));
    for (const expected of [3, 5, 6, 7, 8]) {
      native.eventfdWrite(fd);
      await until(() => calls >= expected);
      await turns();
      assert.equal(calls, expected);
    }
    native.pollStop(id);
    native.close(fd);
  },

  async 'no more often than its budget in one turn'() {
    const fd = ok(native.eventfd());
    let calls = 0;
    const id = ok(native.pollStart(fd, () => ++calls > 0, 4, 1));
    native.eventfdWrite(fd);
    await until(() => calls > 0);
    await turns();
    assert.equal(calls, 4);
    native.pollStop(id);
    native.close(fd);
  },

  async 'ticks and promises run between the calls'() {
    const fd = ok(native.eventfd());
    const order: string[] = [];
    let calls = 0;
    const callback = () => {
      order.push(`call ${++calls}`);
      process.nextTick(() => order.push('tick'));
      void Promise.resolve().then(() => order.push('promise'));
      return calls < 3;
    };
    const id = ok(native.pollStart(fd, callback, 100, 1));
    native.eventfdWrite(fd);
    await until(() => calls === 3);
    assert.deepEqual(
      order,
      [1, 2, 3].flatMap((n) => [`call ${n}`, 'tick', 'promise']),
    );
    native.pollStop(id);
    native.close(fd);
  },

  async 'drain reads an eventfd, without it the callback has to'() {
    const fd = ok(native.eventfd());
    let calls = 0;
    const drained = ok(native.pollStart(fd, () => ++calls < 0, 1, 1));
    native.eventfdWrite(fd);
    await until(() => calls > 0);
    await turns();
    assert.equal(calls, 1);
    native.pollStop(drained);
    const read = () => {
      if (++calls === 4) native.eventfdRead(fd);
      return false;
    };
    const kept = ok(native.pollStart(fd, read, 1, 0));
    native.eventfdWrite(fd);
    await until(() => calls === 4);
    await turns();
    assert.equal(calls, 4);
    native.pollStop(kept);
    native.close(fd);
  },

  async 'an exception is an uncaught one, and the loop goes on'() {
    const fd = ok(native.eventfd());
    const caught: unknown[] = [];
    let calls = 0;
    const boom = new Error('boom');
    const callback = () => {
      if (++calls === 1) throw boom;
      if (calls === 2) throw undefined;
      return false;
    };
    const id = ok(native.pollStart(fd, callback, 100, 1));
    process.setUncaughtExceptionCaptureCallback((error) => caught.push(error));
    try {
      for (let n = 1; n <= 3; n++) {
        native.eventfdWrite(fd);
        await until(() => calls === n);
      }
      await turns();
    } finally {
      process.setUncaughtExceptionCaptureCallback(null);
    }
    assert.deepEqual(caught, [boom, undefined]);
    native.pollStop(id);
    native.close(fd);
  },

  async 'a paused handle is silent, resumed it tells what waits'() {
    const fd = ok(native.eventfd());
    let calls = 0;
    const id = ok(native.pollStart(fd, () => ++calls < 0, 1, 1));
    assert.equal(native.pollPause(id, 1), 0);
    assert.equal(native.pollPause(id, 1), 0, 'twice is as good as once');
    native.eventfdWrite(fd);
    await turns();
    assert.equal(calls, 0);
    assert.equal(native.pollPause(id, 0), 0);
    assert.equal(native.pollPause(id, 0), 0);
    await until(() => calls === 1);
    native.pollStop(id);
    native.close(fd);
  },

  async 'stopped inside its callback it is not called again, even if that returns true'() {
    const fd = ok(native.eventfd());
    let calls = 0;
    let result = -1;
    const callback = () => {
      calls++;
      result = native.pollStop(id);
      return true;
    };
    const id = ok(native.pollStart(fd, callback, 100, 0));
    native.eventfdWrite(fd);
    await until(() => calls > 0);
    await turns();
    assert.equal(calls, 1);
    assert.equal(result, 0);
    assert.equal(native.pollStop(id), ENOENT);
    native.close(fd);
  },

  async 'paused inside its callback, another one started there'() {
    const fd = ok(native.eventfd());
    let first = 0;
    let second = 0;
    let other = 0;
    const callback = () => {
      first++;
      native.pollPause(id, 1);
      other = native.pollStart(fd, () => ++second < 0, 1, 1);
      return false;
    };
    const id = ok(native.pollStart(fd, callback, 1, 0));
    native.eventfdWrite(fd);
    await until(() => second > 0);
    assert.equal(first, 1);
    assert.ok(other > 0 && other !== id);
    native.pollStop(id);
    native.pollStop(other);
    native.close(fd);
  },

  async 'several handles on one fd'() {
    const fd = ok(native.eventfd());
    const calls = [0, 0];
    const ids = [0, 1].map((i) => ok(native.pollStart(fd, () => ++calls[i] < 0, 1, 0)));
    native.eventfdWrite(fd);
    await until(() => calls[0] > 0 && calls[1] > 0);
    for (const id of ids) native.pollStop(id);
    native.close(fd);
  },

  async 'an epoll fd tells of the fds in it'() {
    const epfd = ok(native.epollCreate());
    const fd = ok(native.eventfd());
    native.epollCtl(epfd, EPOLL_CTL_ADD, fd, EPOLLIN, 9);
    const out = new Int32Array(3);
    let found = 0;
    const callback = () => {
      found = native.epollWait(epfd, out, 1, 0);
      native.eventfdRead(fd);
      return false;
    };
    const id = ok(native.pollStart(epfd, callback, 1, 0));
    native.eventfdWrite(fd);
    await until(() => found === 1);
    assert.deepEqual([...out.subarray(0, 2)], [fd, 9]);
    native.pollStop(id);
    native.close(fd);
    native.close(epfd);
  },

  // libuv aborts the process when it finds a watched fd closed.
  async 'closing the fd under a handle harms nobody'() {
    const before = openFds();
    let calls = 0;
    const started = ok(native.eventfd());
    const a = ok(native.pollStart(started, () => ++calls < 0, 1, 1));
    native.close(started);
    await turns();
    const paused = ok(native.eventfd());
    const b = ok(native.pollStart(paused, () => ++calls < 0, 1, 1));
    await turns();
    native.pollPause(b, 1);
    native.close(paused);
    assert.equal(native.pollPause(b, 0), 0);
    await turns();
    assert.equal(calls, 0);
    native.pollStop(a);
    native.pollStop(b);
    const left = () => openFds().filter((fd) => !before.includes(fd));
    await until(() => left().length === 0, { timeoutMs: 5000 }).catch(() => assert.deepEqual(left(), []));
  },

  async 'wrong arguments and unknown handles'() {
    const fd = ok(native.eventfd());
    const callback = () => false;
    assert.equal(native.pollStart(-1, callback, 1, 0), EINVAL);
    assert.equal(native.pollStart(fd, callback, 0, 0), EINVAL);
    assert.equal(native.pollStart(fd, callback, 1, undefined as unknown as number), EINVAL);
    for (const bad of [undefined, null, {}, 'f']) {
      assert.equal(native.pollStart(fd, bad as unknown as () => boolean, 1, 0), EINVAL);
    }
    for (const id of [0, -1, 999_999]) {
      assert.equal(native.pollStop(id), ENOENT);
      assert.equal(native.pollPause(id, 1), ENOENT);
      assert.equal(native.pollRef(id, 1), ENOENT);
    }
    native.close(fd);
  },

  async 'a thousand handles come and go'() {
    const before = openFds().length;
    const fd = ok(native.eventfd());
    native.eventfdWrite(fd);
    let calls = 0;
    for (let round = 0; round < 10; round++) {
      const ids = Array.from({ length: 100 }, () => ok(native.pollStart(fd, () => ++calls < 0, 1, 0)));
      await turn();
      for (const id of ids) assert.equal(native.pollStop(id), 0);
    }
    assert.ok(calls > 0);
    native.close(fd);
    await until(() => openFds().length <= before);
  },
});
