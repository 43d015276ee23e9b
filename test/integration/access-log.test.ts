/** The access log's lines and Server-Timing, as the command writes and sends them, for both kinds of handlers. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { request } from 'undici';
import { HttpServer } from '../support/http-server.js';
import { until } from '../support/poll.js';

const APPS = ['costs-node.mjs', 'costs-fetch.mjs'];
const VALUE = /queue;dur=\d+, cpu;dur=\d+\.\d{3}, loop;dur=\d+\.\d{3}, thread;desc="[12]"/;
const only = new RegExp(`^${VALUE.source}$`);

const dir = mkdtempSync(join(tmpdir(), 'tunicorn-access-'));
after(() => rmSync(dir, { recursive: true }));

const get = (path: string, fields = '', close = true) =>
  `GET ${path} HTTP/1.1\r\nHost: x\r\n${fields}${close ? 'Connection: close\r\n' : ''}\r\n`;

/** A server that writes its access log to a file of its own. */
class LoggingServer {
  private seen = 0;
  readonly server: HttpServer;
  private readonly file: string;

  private constructor(server: HttpServer, file: string) {
    this.server = server;
    this.file = file;
  }

  static async start(app: string, args: string[] = []): Promise<LoggingServer> {
    const file = join(mkdtempSync(join(dir, 'log-')), 'access.log');
    return new LoggingServer(await HttpServer.start(app, ['--threads', '2', '--access-logfile', file, ...args]), file);
  }

  /** The next line that was not asked for yet. */
  async line(): Promise<string> {
    const lines = () => readFileSync(this.file, 'utf8').split('\n').slice(0, -1);
    await until(() => lines().length > this.seen, { what: `line ${this.seen} of the access log` });
    return lines()[this.seen++];
  }

  /** What one request gets, and its line. */
  async ask(text: string): Promise<{ answer: string; line: string }> {
    const answer = await this.server.talk(text);
    return { answer, line: await this.line() };
  }
}

for (const app of APPS) {
  describe(`access log, ${app}`, () => {
    let log: LoggingServer;
    before(async () => {
      log = await LoggingServer.start(app);
    });
    after(() => log?.server.stop());
    const TIME = /^127\.0\.0\.1 - (\S+) \[\d\d\/\w{3}\/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] (.*)$/;

    it("has gunicorn's line by default", async () => {
      const { line } = await log.ask(get('/plain?a=1', 'User-Agent: t/1\r\nReferer: http://r/\r\n'));
      assert.deepEqual(TIME.exec(line)?.slice(1), ['-', '"GET /plain?a=1 HTTP/1.1" 200 5 "http://r/" "t/1"']);
    });

    it('names the user of Basic authentication, and lets nobody forge a line', async () => {
      const user = Buffer.from('ann" lee:secret').toString('base64');
      const fields = `Authorization: Basic ${user}\r\nUser-Agent: a" 200 "\\\x85\t\x9b\r\n`;
      const { line } = await log.ask(get('/plain', fields));
      assert.deepEqual(TIME.exec(line)?.slice(1), [
        'ann\\"\\x20lee',
        '"GET /plain HTTP/1.1" 200 5 "-" "a\\" 200 \\"\\\\\\x85\\x09\\x9b"',
      ]);
    });

    it('has a line for a handler that failed, and for what was no request', async () => {
      const { line } = await log.ask(get('/fails'));
      assert.deepEqual(TIME.exec(line)?.slice(1), ['-', '"GET /fails HTTP/1.1" 500 0 "-" "-"']);
      // The second of a connection, whose first has left a response behind.
      const answer = await log.server.talk(`${get('/plain', '', false)}(no request)\r\n\r\n`);
      assert.match(answer, /^HTTP\/1\.1 200 [\s\S]*HTTP\/1\.1 400 /);
      assert.deepEqual(TIME.exec(await log.line())?.slice(1), ['-', '"GET /plain HTTP/1.1" 200 5 "-" "-"']);
      assert.deepEqual(TIME.exec(await log.line())?.slice(1), ['-', '"-" 400 0 "-" "-"']);
    });

    it('names a client that has left meanwhile', async () => {
      const client = await log.server.connect();
      await client.send(get('/wait'));
      client.socket.resetAndDestroy();
      assert.match(await log.line(), /^127\.0\.0\.1 .* "GET \/wait HTTP\/1\.1" /);
    });

    it('responses carry no Server-Timing', async () => {
      for (const path of ['/plain', '/stream']) {
        const { answer } = await log.ask(get(path));
        assert.match(answer, /^HTTP\/1\.1 200 /);
        assert.doesNotMatch(answer, /server-timing|trailer/i);
      }
    });
  });

  describe(`access log with a format, ${app}`, () => {
    const FORMAT =
      '%(m)s\t%(U)s\t%(q)s\t%(H)s\t%(s)s\t%({x-a}i)s\t%({x-kind}o)s\t%({Content-Length}o)s\t%(T)s %(M)s %(D)s %(L)s\t%(Q)s\t%(C)s\t%(E)s\t%(W)s\t%(I)s\t%(p)s %% %(z)s';
    let log: LoggingServer;
    before(async () => {
      log = await LoggingServer.start(app, ['--access-logformat', FORMAT]);
    });
    after(() => log?.server.stop());
    const fields = async (text: string) => (await log.ask(text)).line.split('\t');

    it('shows the atoms', async () => {
      const [m, U, q, H, s, xa, kind, length, times, queue, cpu, loop, thread, id, rest] = await fields(
        get('/plain?b=%20', 'X-A: 1\r\nx-a: two\r\n'),
      );
      assert.deepEqual([m, U, q, H, s], ['GET', '/plain', 'b=%20', 'HTTP/1.1', '200']);
      assert.deepEqual([xa, kind, length], ['two', 'a \\"plain\\" one', '5']);
      const [T, M, D, L] = times.split(' ').map(Number);
      assert.ok(D > 0 && D < 5_000_000, times);
      // Each is read from the clock when it is its turn.
      assert.ok(Math.abs(L * 1e6 - D) < 100_000 && T <= L && M <= L * 1000, times);
      assert.match(queue, /^\d+$/);
      assert.match(cpu, /^\d+\.\d{3}$/);
      assert.match(loop, /^\d+\.\d{3}$/);
      assert.match(thread, /^[12]$/);
      assert.match(id, /^\d+\.\d+\.\d+$/);
      assert.equal(rest, `<${log.server.worker}> % -`);
    });

    it('shows what a request cost', async () => {
      const burnt = await fields(get('/burn'));
      assert.ok(Number(burnt[10]) > 5, `CPU ms of a request that computes: ${burnt[10]}`);
      const waited = await fields(get('/wait'));
      assert.ok(Number(waited[11]) > 20, `loop's wait in ms of a request that sleeps 60: ${waited[11]}`);
      assert.ok(Number(waited[8].split(' ')[2]) > 50_000, `us it took: ${waited[8]}`);
      assert.ok(Number(waited[10]) < Number(waited[11]), 'it has not computed while it slept');
    });

    it('- where there was no request', async () => {
      const answer = await log.server.talk(`${get('/plain', '', false)}(no request)\r\n\r\n`);
      assert.match(answer, /HTTP\/1\.1 400 /);
      assert.equal((await log.line()).split('\t')[4], '200');
      const line = (await log.line()).split('\t');
      assert.deepEqual(line.slice(0, 8), ['-', '', '', '-', '400', '-', '-', '-']);
      assert.deepEqual(line.slice(8, 12), ['- - - -', '-', '-', '-']);
      assert.equal(line[13], '-');
    });
  });

  describe(`Server-Timing, ${app}`, () => {
    let server: HttpServer;
    before(async () => {
      server = await HttpServer.start(app, ['--threads', '2', '--server-timing']);
    });
    after(() => server?.stop());
    const talk = (path: string) => server.talk(get(path));
    const values = (text: string, name: string) =>
      [...text.matchAll(new RegExp(`^${name}: (.*)\\r$`, 'gim'))].map(([, value]) => value);
    const cpu = (value: string) => Number(/cpu;dur=([\d.]+)/.exec(value)![1]);

    it('is a header of a whole response, with what it cost', async () => {
      const text = await talk('/burn');
      const [value, ...more] = values(text, 'server-timing');
      assert.match(value, only);
      assert.deepEqual(more, []);
      assert.ok(cpu(value) > 5, value);
      assert.deepEqual(values(text, 'trailer'), []);
      assert.match(text, /\r\nContent-Length: 5\r\n[\s\S]*\r\n\r\nburnt$/i);
    });

    it('is also a trailer of a chunked one, with the final values', async () => {
      const text = await talk('/stream');
      const [head, end] = text.split('\r\n0\r\n');
      assert.match(head, /\r\nTransfer-Encoding: chunked\r\n/i);
      assert.deepEqual(values(head, 'trailer'), ['Server-Timing']);
      const [early] = values(head, 'server-timing');
      assert.match(early, only);
      const late = /^Server-Timing: (.*)\r\n\r\n$/.exec(end)![1];
      assert.match(late, only);
      assert.ok(cpu(late) > cpu(early) + 5, `${early}, then ${late}`);
    });

    it("reaches a client's trailers, and the connection goes on", async () => {
      for (let i = 0; i < 3; i++) {
        const { headers, body, trailers } = await request(`${server.url}/stream`);
        assert.equal(await body.text(), 'one,two');
        assert.match(String(headers['server-timing']), only);
        assert.match(trailers['server-timing'], only);
      }
      const text = await server.talk(get('/stream', '', false) + get('/plain'));
      assert.match(text, /\r\n\r\nHTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nplain$/);
    });

    it('HTTP/1.0, HEAD and 204 get no trailer', async () => {
      const old = await server.talk('GET /stream HTTP/1.0\r\n\r\n');
      assert.match(old, /\r\n\r\none,two$/);
      const head = await server.talk(get('/stream').replace('GET', 'HEAD'));
      assert.match(head, /\r\n\r\n$/);
      const empty = await talk('/204');
      assert.match(empty, /^HTTP\/1\.1 204 [\s\S]*\r\n\r\n$/);
      for (const text of [old, head, empty]) {
        assert.equal(values(text, 'server-timing').length, 1);
        assert.deepEqual(values(text, 'trailer'), []);
      }
    });

    it("is appended to the handler's own", async () => {
      const [value, ...more] = values(await talk('/own'), 'server-timing');
      assert.match(value, new RegExp(`^db;dur=5, ${VALUE.source}$`));
      assert.deepEqual(more, []);
      const [head, end] = (await talk('/fields')).split('\r\n0\r\n');
      assert.match(values(head, 'server-timing').join(), /a;dur=1[\s\S]*b;dur=2/);
      assert.equal(
        values(head, 'server-timing')
          .join()
          .match(/queue;/g)?.length,
        1,
      );
      // A fetch handler has no trailers of its own.
      assert.deepEqual(values(head, 'trailer'), [app === 'costs-node.mjs' ? 'X-Sum, Server-Timing' : 'Server-Timing']);
      assert.equal(end.match(/^server-timing: /gim)?.length, 1);
      assert.equal(end.match(/queue;/g)?.length, 1);
      if (app === 'costs-node.mjs') assert.match(end, /^X-Sum: 7\r\nserver-timing: own;dur=1, queue;/);
    });
  });
}

describe('Server-Timing, (req, res) handlers', () => {
  it('survives middleware that replaces writeHead and end', async () => {
    const server = await HttpServer.start('costs-node.mjs', ['--server-timing']);
    try {
      const text = await server.talk(get('/wrapped'));
      assert.match(text, /\r\nx-wrapped: 1\r\n/);
      assert.equal(text.match(/^Server-Timing: queue;/gm)?.length, 2, text);
      assert.match(text, /\r\n0\r\nServer-Timing: queue;.*\r\n\r\n$/);
    } finally {
      await server.stop();
    }
  });

  it('works where Express has replaced the prototypes', async () => {
    const server = await HttpServer.start('examples/express/app.js', ['--server-timing']);
    try {
      const { statusCode, headers, body } = await request(server.url);
      await body.dump();
      assert.equal(statusCode, 200);
      assert.match(String(headers['server-timing']), /^queue;dur=\d+, cpu;/);
    } finally {
      await server.stop();
    }
  });
});
