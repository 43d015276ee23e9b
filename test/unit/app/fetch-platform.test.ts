/** Each in a process of its own: what is looked at first is the subject. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';

const HANDLER = new URL('../../../src/app/fetch-handler.js', import.meta.url).href;

function run(code: string): unknown {
  const script = `
    const { installGlobals, fetchApp } = await import('${HANDLER}');
    const { FastResponse } = await import('${HANDLER.replace('handler', 'response')}');
    const loaded = () => process.moduleLoadList.some((name) => name.includes('undici/undici'));
    ${code}`;
  return JSON.parse(execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }));
}

/** Node up to 20 has accessors there; from 22 on a look at the descriptor is one at the class. */
const ACCESSORS = Object.getOwnPropertyDescriptor(globalThis, 'Response')?.get !== undefined;

test('the platform loads fetch when an app looks, not before where that can be', () => {
  const code = `
    installGlobals();
    const before = loaded();
    const { fetch } = globalThis;
    const after = loaded();
    const ours = Response === FastResponse;
    const { value, writable, configurable, enumerable } = Object.getOwnPropertyDescriptor(globalThis, 'Response');
    console.log(JSON.stringify({ before, after, ours, later: loaded(), kept: value === FastResponse, writable, configurable, enumerable }));`;
  const flags = { writable: true, configurable: true, enumerable: false };
  const early = !ACCESSORS;
  assert.deepEqual(run(code), { before: early, after: early, ours: true, later: true, kept: true, ...flags });
});

test('a Request looked at first is the platform and takes ours; Response stays ours', () => {
  const code = `
    installGlobals();
    const request = new Request('http://a.test/', { method: 'POST', body: 'x' });
    const text = await new Request(request).text();
    console.log(JSON.stringify([request.constructor === Request, text, Response === FastResponse, new Response('y') instanceof Response]));`;
  assert.deepEqual(run(code), [true, 'x', true, true]);
});

test('Headers looked at first leave Response ours', () => {
  const code = `
    installGlobals();
    const headers = new Headers({ a: 'b' });
    console.log(JSON.stringify([loaded(), Response === FastResponse, new Response('', { headers }).headers.get('a')]));`;
  assert.deepEqual(run(code), [true, true, 'b']);
});

test('what an app puts there before it looks stays, and does not become the platform', () => {
  const code = `
    installGlobals();
    class Mine {}
    globalThis.Response = Mine;
    globalThis.Headers = Mine;
    fetchApp(() => {}, 'test');
    console.log(JSON.stringify([Response === Mine, Headers === Mine, new FastResponse('x').headers.get('content-type')]));`;
  assert.deepEqual(run(code), [true, true, 'text/plain;charset=UTF-8']);
});

test('no process loads fetch for node:http alone', () => {
  for (const file of ['worker/thread-worker', 'thread/pool-thread']) {
    const url = new URL(`../../../src/${file}.js`, import.meta.url).href;
    const script = `
      await import('${url}');
      console.log(process.moduleLoadList.some((name) => name.includes('undici/undici')));`;
    const said = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    assert.equal(said, 'false\n', file);
  }
});
