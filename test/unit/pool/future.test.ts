/** Future: states, callbacks and what a result costs when there is none. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Future } from '../../../src/pool/future.js';
import { until } from '../../support/poll.js';

const code = (suffix: string) => ({ name: 'TunicornError', code: `ERR_TUNICORN_FUTURE_${suffix}` });

describe('Future', () => {
  test('pending, then finished with a result', () => {
    const future = new Future<number>();
    assert.equal(future.state, 'PENDING');
    assert.equal(future.done(), false);
    assert.throws(() => future.result(), code('PENDING'));
    assert.throws(() => future.exception(), code('PENDING'));
    assert.equal(future.setResult(5), true);
    assert.equal(future.state, 'FINISHED');
    assert.equal(future.done(), true);
    assert.equal(future.cancelled(), false);
    assert.equal(future.result(), 5);
    assert.equal(future.exception(), null);
  });

  test('an exception is what result() throws, whatever it is', () => {
    for (const error of [new Error('x'), 'text', undefined, null]) {
      const future = new Future<number>();
      assert.equal(future.setException(error), true);
      assert.equal(future.state, 'FINISHED');
      assert.equal(future.exception(), error);
      let thrown: unknown = 'nothing';
      try {
        future.result();
      } catch (e) {
        thrown = e;
      }
      assert.equal(thrown, error);
    }
  });

  test('undefined is a result', () => {
    const future = new Future<undefined>();
    future.setResult(undefined);
    assert.equal(future.result(), undefined);
  });

  test('the first outcome stays', () => {
    const future = new Future<number>();
    future.setResult(1);
    assert.equal(future.setResult(2), false);
    assert.equal(future.setException(new Error('late')), false);
    assert.equal(future.cancel(), false);
    assert.equal(future.result(), 1);
  });

  test('cancelled', () => {
    const future = new Future<number>();
    const seen: string[] = [];
    future.addDoneCallback((f) => seen.push(f.state));
    assert.equal(future.cancel(), true);
    assert.equal(future.cancel(), true);
    assert.equal(future.cancelled(), true);
    assert.equal(future.done(), true);
    assert.equal(future.setResult(1), false);
    assert.equal(future.setException(1), false);
    assert.throws(() => future.result(), code('CANCELLED'));
    assert.throws(() => future.exception(), code('CANCELLED'));
    assert.deepEqual(seen, ['CANCELLED']);
  });

  test('callbacks run in their order, with the future, when it is done', () => {
    const future = new Future<string>();
    const seen: string[] = [];
    for (const name of ['a', 'b', 'c']) future.addDoneCallback((f) => seen.push(`${name} ${f.result()}`));
    assert.equal(seen.length, 0);
    future.setResult('x');
    assert.equal(seen.join(), 'a x,b x,c x');
    future.addDoneCallback(() => seen.push('late'));
    assert.equal(seen.at(-1), 'late', 'at once');
    assert.equal(seen.length, 4);
  });

  test('a callback may add another one', () => {
    const future = new Future<string>();
    const seen: string[] = [];
    future.addDoneCallback(() => {
      seen.push('outer');
      future.addDoneCallback(() => seen.push('inner'));
    });
    future.addDoneCallback(() => seen.push('second'));
    future.setResult('x');
    assert.deepEqual(seen, ['outer', 'inner', 'second']);
  });

  test('a callback that throws is reported and stops nobody', async () => {
    const caught: unknown[] = [];
    process.setUncaughtExceptionCaptureCallback((error) => caught.push(error));
    try {
      const future = new Future<number>();
      let ran = 0;
      const boom = new Error('boom');
      future.addDoneCallback(() => {
        throw boom;
      });
      future.addDoneCallback(() => ran++);
      assert.equal(future.setResult(1), true);
      future.addDoneCallback(() => {
        throw boom;
      });
      assert.equal(ran, 1);
      assert.equal(future.result(), 1);
      await until(() => caught.length === 2);
      assert.deepEqual(caught, [boom, boom]);
    } finally {
      process.setUncaughtExceptionCaptureCallback(null);
    }
  });

  test('onWatch is called once, when somebody wants to know', () => {
    let watched = 0;
    const future = new Future<number>(() => watched++);
    assert.equal(watched, 0);
    future.addDoneCallback(() => {});
    future.addDoneCallback(() => {});
    assert.equal(watched, 1);
    const done = new Future<number>(() => watched++);
    done.setResult(1);
    done.addDoneCallback(() => {});
    assert.equal(watched, 1, 'not where the outcome is there');
  });

  test('a source may complete it as soon as it is watched', () => {
    const future: Future<number> = new Future<number>(() => future.setResult(3));
    let got = 0;
    future.addDoneCallback((f) => (got = f.result()));
    assert.equal(got, 3);
  });
});
