/** defineConfig: returns what it gets; its types accept both spellings and refuse what a file could not hold. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readObject } from '../../../src/config/config.js';
import { settingList } from '../../../src/config/settings.js';
import { type ConfigInput, defineConfig, run, type SettingsInput } from '../../../src/index.js';

describe('defineConfig', () => {
  it('returns an object, a function or a promise as it is', () => {
    const object = {
      app: 'a',
      workers: 2,
      worker_class: 'sync',
      maxRequests: '5',
      when_ready() {},
      onExit() {},
    } as const;
    const fn = (env: Record<string, string | undefined>) => ({ wsgi_app: 'a', bind: `:${env.N}` });
    const promise = Promise.resolve({ raw_env: ['A=1'] });
    assert.equal(defineConfig(object), object);
    assert.equal(defineConfig(fn), fn);
    assert.equal(defineConfig(promise), promise);
    assert.equal(defineConfig(async () => ({ user: 1000, group: null })) instanceof Function, true);
  });

  it('has types that refuse an unknown name, a wrong type and a hook that is no function', () => {
    // @ts-expect-error unknown name
    defineConfig({ wrokers: 2 });
    // @ts-expect-error unknown name beside known ones
    defineConfig({ app: 'a', wrokers: 2 });
    // @ts-expect-error the same in a hook's spelling
    defineConfig({ app: 'a', when_redy() {} });
    // @ts-expect-error wrong type
    defineConfig({ workers: true });
    // @ts-expect-error wrong type in the other spelling
    defineConfig({ max_requests: [] });
    // @ts-expect-error no function
    defineConfig({ when_ready: 'x' });
    defineConfig({
      pre_fork(server, worker) {
        worker.env.SHARD = String(server.numWorkers);
        // @ts-expect-error views are read-only
        worker.age = 1;
      },
      postFork(server) {
        // @ts-expect-error a worker does not know it
        assert.equal(server.numWorkers, undefined);
      },
      post_request: (worker, req, environ, resp) => [worker.slot, req.method, environ.PATH_INFO, resp.status + 1],
      nworkersChanged: (_server, now, before) => now - (before ?? 0),
    });
    // @ts-expect-error no such parameter
    defineConfig({ on_exit: (server, worker) => [server, worker] });
    // @ts-expect-error run() needs an app
    const input: ConfigInput = { workers: 2 };
    assert.equal(readObject(input, null).values.size, 1);
  });

  it('both spellings of every setting are known when it runs', () => {
    for (const { name, key, default: value } of settingList) {
      for (const spelling of [name, key]) {
        const input = { [spelling]: value() } as SettingsInput;
        assert.deepEqual([...readObject(input, null).values.keys()], [key], spelling);
      }
    }
  });
});

describe('run', () => {
  it('refuses daemon: only the command can start itself again', async () => {
    await assert.rejects(run({ app: 'a', daemon: true }), /^TunicornError: daemon: .* by the command tunicorn$/);
  });
});
