/** What a program does at SIGTERM it does in each thread that ends in peace, after its last request. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { HttpServer } from '../support/http-server.js';
import { until } from '../support/poll.js';

type Notes = () => string[];

async function withProgram(ending: string, args: string[], use: (server: HttpServer, notes: Notes) => Promise<void>) {
  const folder = mkdtempSync(join(tmpdir(), 'tunicorn-'));
  const file = join(folder, 'notes');
  const notes = () => {
    try {
      return readFileSync(file, 'utf8').split('\n').slice(0, -1);
    } catch {
      return [];
    }
  };
  const env = { NOTES: file, ENDING: ending };
  const server = await HttpServer.start('test/integration/fixtures/adopt/ending.mjs', args, env);
  try {
    await use(server, notes);
  } finally {
    await server.cleanup();
    rmSync(folder, { recursive: true });
  }
}

const SIGNAL = 'SIGTERM 15, listening true';
const times = (n: number, ...lines: string[]) => lines.flatMap((line) => Array(n).fill(line)).sort();

/** Sends TERM in the middle of a request, which is answered; then the server ends. */
async function endInRequest(server: HttpServer, notes: Notes): Promise<void> {
  const client = await server.connect();
  client.write('GET /slow HTTP/1.1\r\nHost: x\r\n\r\n');
  await until(() => notes().length > 0, { what: 'the request' });
  server.kill('SIGTERM');
  const { status, body } = await client.response();
  assert.equal(`${status} ${body}`, '200 slow');
  assert.deepEqual(await server.ended, { code: 0, signal: null }, server.log);
  assert.deepEqual(notes().slice(0, 2), ['slow', 'answered']);
}

describe('the end of a program, by SIGTERM', { concurrency: 2 }, () => {
  it('its listeners are called after the last request, and have time until they exit', () =>
    withProgram('callback', ['--threads', '2'], async (server, notes) => {
      await endInRequest(server, notes);
      assert.deepEqual(notes().slice(2).sort(), times(2, SIGNAL, 'close', 'exit 0 false'));
      assert.doesNotMatch(server.log, /ERROR|WARNING/);
    }));

  for (const [kind, main] of Object.entries({ gthread: false, sync: true })) {
    it(`or until nothing is left to do, class ${kind}`, () =>
      withProgram('promise', ['--threads', '1', '--worker-class', kind], async (server, notes) => {
        await server.stillServes('/');
        // Long before --graceful-timeout is over.
        await server.stop();
        assert.deepEqual(notes(), [SIGNAL, 'close', `exit 0 ${main}`]);
        assert.doesNotMatch(server.log, /WARNING/);
      }));
  }

  it('or until --graceful-timeout, with a warning', () =>
    withProgram('never', ['--threads', '1', '--graceful-timeout', '2'], async (server, notes) => {
      await server.stillServes('/');
      await server.stop();
      assert.deepEqual(notes(), [SIGNAL, 'close']);
      assert.match(server.log, /\[WARNING\] The app listens for SIGTERM and has not ended itself/);
    }));

  it('a reload has the old threads end so, and a signal that one sends to itself is the end of that thread only', () =>
    withProgram('again', ['--threads', '2'], async (server, notes) => {
      await server.stillServes('/');
      server.kill('SIGHUP');
      await until(() => notes().length === 6, { what: 'the end of both threads' });
      assert.deepEqual(notes().sort(), times(2, SIGNAL, 'close', 'exit 0 false'));
      await until(() => /Reloaded 2 threads/.test(server.log), { what: 'the reload' });
      assert.match(await server.talk('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'), /thread \d+$/);
      assert.equal(server.spawned.length, 1, server.log);
      assert.doesNotMatch(server.log, /ERROR|Worker exiting/);
    }));

  for (const [what, signal] of Object.entries({ 'the end of the server': 'SIGTERM', 'a reload': 'SIGHUP' } as const)) {
    it(`WebSockets are no requests: the program ends them, at ${what}`, () =>
      withProgram('websocket', ['--threads', '1'], async (server, notes) => {
        await server.stillServes('/');
        const ws = new WebSocket(`ws://127.0.0.1:${server.port}/`);
        await once(ws, 'open');
        server.kill(signal);
        const [code] = await once(ws, 'close');
        assert.equal(code, 1001);
        await until(() => notes().length === 3, { what: 'the end of the thread' });
        assert.deepEqual(notes(), [SIGNAL, 'close', 'exit 0 false']);
        if (signal === 'SIGHUP') server.kill('SIGTERM');
        assert.deepEqual(await server.ended, { code: 0, signal: null }, server.log);
        assert.doesNotMatch(server.log, /ERROR|WARNING/);
      }));
  }

  it('a listener that throws is logged', () =>
    withProgram('throws', ['--threads', '1'], async (server, notes) => {
      await server.stillServes('/');
      await server.stop();
      assert.deepEqual(notes(), [SIGNAL, 'exit 0 false', 'close']);
      assert.match(server.log, /\[ERROR\] Error in the app's listener for SIGTERM\n.*as asked/);
    }));

  it('class sync: as well, and not in the middle of a request', () =>
    withProgram('callback', ['--worker-class', 'sync'], async (server, notes) => {
      await endInRequest(server, notes);
      assert.deepEqual(notes().slice(2), [SIGNAL, 'close', 'exit 0 true']);
    }));
});
