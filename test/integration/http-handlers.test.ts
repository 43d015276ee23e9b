/** Handlers that misbehave: the client gets 500 or a closed connection, the log names the request, the thread goes on. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { HttpServer } from '../support/http-server.js';
import { until } from '../support/poll.js';

/** What the client may see: a status alone, or with the body; '' is a close without any byte; 'cut' a response that ends early. */
type Outcome = number | string;

const NODE: Array<[string, Outcome[], RegExp | null]> = [
  ['/throw', [500], /Error handling request GET \/throw\n.*thrown at once/],
  ['/throw-string', [500], /Error handling request GET \/throw-string.*a string/s],
  ['/reject', [500], /Error handling request GET \/reject\n.*rejected/],
  ['/throw-after-head', [500, 'cut', ''], /GET \/throw-after-head\n.*thrown after writeHead/],
  ['/throw-after-write', ['cut'], /GET \/throw-after-write\n.*thrown after write/],
  ['/throw-after-end', ['200 all'], /GET \/throw-after-end\n.*thrown after end/],
  ['/reject-after-end', ['200 all'], /GET \/reject-after-end\n.*rejected after end/],
  ['/never', [504], /timed out after [34]\.\d s: GET \/never \(id/],
  ['/twice', ['200 first'], /GET \/twice\)\n.*write after end/],
  ['/head-twice', ['200 first'], /GET \/head-twice\n.*ERR_HTTP_HEADERS_SENT|GET \/head-twice\n.*Cannot write headers/],
  ['/write-after-end', ['200 done'], /GET \/write-after-end\)\n.*write after end/],
  ['/write-after-end-later', ['200 done'], null],
  ['/too-long', [500], /GET \/too-long\n.*content-length/i],
  ['/too-short', [500], /GET \/too-short\n.*content-length/i],
  ['/too-long-late', ['cut'], /GET \/too-long-late\n.*content-length/i],
  ['/too-short-timer', ['cut'], /GET \/too-short-timer\)\n.*content-length/i],
  ['/destroy-req', [''], null],
  ['/destroy-res', [''], null],
  ['/destroy-res-error', [''], null],
  ['/destroy-socket', [''], null],
  ['/destroy-later', ['cut'], null],
  ['/timer', [500], /GET \/timer\)\n.*thrown in a timer/],
  ['POST /stream-callback', [500], /POST \/stream-callback\)?\n.*thrown in a data listener/],
  ['POST /end-callback', [500], /POST \/end-callback\)?\n.*thrown in an end listener/],
  ['/finish-callback', ['200 finished'], /GET \/finish-callback\n.*thrown in a finish listener/],
  ['/close-callback', ['200 closed'], /GET \/close-callback\)\n.*thrown in a close listener/],
  ['/drain-callback', ['cut'], /GET \/drain-callback\n.*thrown in a drain listener/],
  ['/emitter', [500], /GET \/emitter\)\n.*thrown in a tick/],
  ['/unhandled', [500], /GET \/unhandled\)\n.*nobody awaits this/],
  ['/bad-header', [500], /GET \/bad-header\n.*Invalid character/],
  ['/res-timeout', ['503 timed out by the handler'], null],
];

const FETCH: Array<[string, Outcome[], RegExp | null]> = [
  ['/throw', [500], /Error handling request GET \/throw\n.*fetch handler threw/],
  ['/reject', [500], /Error handling request GET \/reject\n.*fetch handler rejected/],
  ['/nothing', [500], /GET \/nothing\n.*not a Response/],
  ['/never', [504], /timed out after [34]\.\d s: GET \/never \(id/],
  ['/streamerror', ['cut'], /GET \/streamerror\n.*stream broke/],
  ['/toolong', ['cut', 500], /GET \/toolong\n.*longer than its Content-Length/],
  ['/tooshort', ['cut'], /GET \/tooshort\n.*shorter than its Content-Length/],
  ['/timer', [500], /GET \/timer\)\n.*a timer of a fetch handler threw/],
];

/** What a client makes of all that came until the close. */
function outcome(text: string): Outcome {
  if (text === '') return '';
  const end = text.indexOf('\r\n\r\n');
  const status = Number(/^HTTP\/1\.1 (\d+) /.exec(text)?.[1]);
  const head = text.slice(0, end).toLowerCase();
  const body = text.slice(end + 4);
  const length = /\r\ncontent-length: (\d+)/.exec(head);
  const whole = length ? Number(length[1]) === body.length : body.endsWith('\r\n0\r\n\r\n');
  if (!whole) return 'cut';
  return status === 500 || status === 504 ? status : `${status} ${body}`;
}

for (const kind of [
  { name: '(req, res), 1 thread', app: 'http-bad.mjs', args: ['--threads', '1'], cases: NODE },
  { name: '(req, res), 2 threads', app: 'http-bad.mjs', args: ['--threads', '2'], cases: NODE },
  { name: '(req, res), sync', app: 'http-bad.mjs', args: ['-k', 'sync'], cases: NODE },
  { name: 'fetch, 1 thread', app: 'http-fetch.mjs', args: ['--threads', '1'], cases: FETCH },
]) {
  describe(`http handlers that misbehave, ${kind.name}`, () => {
    let server: HttpServer;
    before(async () => {
      server = await HttpServer.start(kind.app, [...kind.args, '--timeout', '3']);
      await server.stillServes();
      await until(() => {
        first = readdirSync(`/proc/${server.worker}/fd`).filter((fd) => isSocket(server.worker, fd)).length;
        return first < 8;
      });
    });
    let first = 0;
    after(() => server?.stop());

    for (const [name, allowed, logged] of kind.cases) {
      it(name, async () => {
        const post = name.startsWith('POST ');
        const request = `${post ? name : `GET ${name}`} HTTP/1.1\r\nHost: x\r\n`;
        const from = server.log.length;
        const client = await server.connect();
        client.write(`${request}${post ? 'Content-Length: 3\r\n\r\nabc' : '\r\n'}`);
        // A response that is whole on a connection that is kept does not end by itself.
        const text = await client
          .when(
            () => (whole(client.data.toString('latin1')) || client.ended ? client.data.toString('latin1') : null),
            'a response',
          )
          .catch((error) => (client.ended ? client.data.toString('latin1') : Promise.reject(error)));
        const seen = outcome(text);
        assert.ok(allowed.includes(seen), `${JSON.stringify(seen)} of ${JSON.stringify(text)}`);
        assert.equal(client.error, null);
        if (logged) {
          await server.waitFor(new RegExp(`^[^]{${from},}${logged.source}`, logged.flags)).catch(() => {
            throw new Error(`not in the log: ${logged}\n${server.log.slice(from)}`);
          });
        }
        await server.stillServes();
        client.destroy();
      });
    }

    it('after all that nothing is in hand, and no connection left', async () => {
      // The supervisor looks once a millisecond as long as any thread says that it has a request.
      const fds = () => readdirSync(`/proc/${server.worker}/fd`).filter((fd) => isSocket(server.worker, fd)).length;
      await until(() => fds() <= first, { what: `the worker's sockets to be ${first} again` });
      await until(async () => {
        const before = switches(server.worker);
        await sleep(200);
        return switches(server.worker) - before < 60;
      });
    });

    if (kind.cases === FETCH) return;

    it('writing to or destroying the socket of an old request touches no other one', async () => {
      const client = await server.connect();
      client.write('GET /raw-write HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.equal((await client.response()).body, 'clean');
      if (kind.args[0] === '--threads') {
        for (let i = 0; i < 20; i++) {
          client.write('GET /hello HTTP/1.1\r\nHost: x\r\n\r\n');
          assert.equal((await client.response()).body, 'hello');
        }
      }
      client.destroy();
      // The first's fd number is taken over by the second.
      const first = await server.connect();
      first.write('GET /late-destroy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      assert.equal((await first.response()).body, 'bye');
      await first.end();
      first.destroy();
      const end = performance.now() + 200;
      const second = await server.connect();
      const keep = kind.args[0] === '--threads';
      if (keep) {
        while (performance.now() < end) {
          second.write('GET /hello HTTP/1.1\r\nHost: x\r\n\r\n');
          assert.equal((await second.response()).body, 'hello');
        }
      }
      second.destroy();
      await server.stillServes();
    });

    it('a listener for aborted that throws', async () => {
      const client = await server.connect();
      client.write('GET /aborted-callback HTTP/1.1\r\nHost: x\r\n\r\n');
      await client.when(() => (client.data.includes('part') ? true : null), 'the first part');
      client.socket.resetAndDestroy();
      await server.waitFor(/GET \/aborted-callback\)\n.*thrown in an aborted listener/);
      await server.stillServes();
    });
  });
}

function isSocket(pid: number, fd: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith('socket:');
  } catch {
    return false;
  }
}

/** How often the process's main thread went to sleep. */
function switches(pid: number): number {
  const status = readFileSync(`/proc/${pid}/task/${pid}/status`, 'utf8');
  return Number(/\nvoluntary_ctxt_switches:\s+(\d+)/.exec(status)![1]);
}

function whole(text: string): boolean {
  return text.includes('\r\n\r\n') && outcome(text) !== 'cut';
}
