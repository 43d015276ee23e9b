/** Where the logs and metrics of the real command go: every setting against a real file, pipe or socket, and what breaks there. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { appPath, HttpServer } from '../support/http-server.js';
import { streamServer, udpServer, unixDatagrams } from '../support/log-servers.js';
import { until } from '../support/poll.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
const APP = 'logging.mjs';
const dir = mkdtempSync(join(tmpdir(), 'tunicorn-logging-'));
after(() => rmSync(dir, { recursive: true }));
let count = 0;
const fresh = (name: string) => join(dir, `${name}${count++}`);
const start = (...args: string[]) => HttpServer.start(APP, ['--threads', '2', ...args]);
const get = (path: string, fields = '') => `GET ${path} HTTP/1.1\r\nHost: x\r\n${fields}Connection: close\r\n\r\n`;
const linesOf = (path: string) => readFileSync(path, 'utf8').split('\n').slice(0, -1);
const printed = (tag: string) => Array.from({ length: 1000 }, (_, n) => `${tag} ${n} ${'é'.repeat(n % 20)}`);

describe('syslog and statsd', { concurrency: 3 }, () => {
  it('UDP: both logs, facility, prefix; metrics with prefix and tags', async () => {
    const syslog = await udpServer();
    const statsd = await udpServer();
    const server = await start(
      ...['--log-syslog', '--log-syslog-to', `udp://127.0.0.1:${syslog.port}`, '--log-syslog-prefix', 'my:app'],
      ...['--log-syslog-facility', 'LOCAL3', '--access-logformat', '%(m)s %(U)s %(s)s'],
      ...['--statsd-host', `127.0.0.1:${statsd.port}`, '--statsd-prefix', 'p.q', '--dogstatsd-tags', 'env:test'],
      '--enable-backlog-metric',
    );
    try {
      assert.match(await server.talk(get('/hello')), / 200 /);
      assert.match(await server.talk(get('/fail')), / 500 /);
      await until(() => syslog.messages.filter((text) => text.includes('.access: ')).length === 2);
      const has = (pattern: RegExp) =>
        assert.ok(
          syslog.messages.some((text) => pattern.test(text)),
          `${pattern}`,
        );
      const { worker, pid } = server;
      has(new RegExp(`^<158>tunicorn\\.my\\.app\\.error: \\[${pid}\\] Booting worker with pid: ${worker}$`));
      has(new RegExp(`^<158>tunicorn\\.my\\.app\\.access: \\[${worker}\\] GET /hello 200$`));
      has(/^<158>tunicorn\.my\.app\.access: \[\d+\] GET \/fail 500$/);
      has(/^<155>tunicorn\.my\.app\.error: \[\d+\] Error handling request GET \/fail$/);
      has(/^<155>tunicorn\.my\.app\.error: \[\d+\] {5}Error: on purpose$/);
      // One thread is swapped for a fresh one.
      server.kill('SIGHUP');
      const metrics = () => statsd.messages.flatMap((text) => text.split('\n'));
      const metric = (pattern: string, n = 1) => {
        const line = new RegExp(`^p\\.q\\.${pattern}\\|#env:test$`);
        return until(() => metrics().filter((text) => line.test(text)).length === n, { what: `${n} of ${line}` });
      };
      await metric('gunicorn\\.workers:1\\|g');
      await metric('gunicorn\\.requests:1\\|c\\|@1\\.0', 2);
      await metric('gunicorn\\.request\\.status\\.200:1\\|c\\|@1\\.0');
      await metric('gunicorn\\.request\\.status\\.500:1\\|c\\|@1\\.0');
      await metric('gunicorn\\.request\\.duration:[\\d.]+\\|ms', 2);
      await metric('tunicorn\\.request\\.queue:[\\d.]+\\|ms', 2);
      await metric('gunicorn\\.log\\.exception:1\\|c\\|@1\\.0');
      await until(() => metrics().includes('p.q.gunicorn.backlog:0|h|#env:test'));
      await until(() => metrics().includes('p.q.tunicorn.threads.replaced:1|c|@1.0|#env:test'));
      assert.ok(metrics().every((text) => /^p\.q\.[\w.]+:[\d.]+\|(c\|@1\.0|g|h|ms)\|#env:test$/.test(text)));
    } finally {
      await server.stop();
      await syslog.close();
      await statsd.close();
    }
  });

  it('unix: the error log alone, named after the app; metrics without prefix; a thread that dies counts', async () => {
    const dev = fresh('syslog');
    const syslog = unixDatagrams(dev);
    const at = fresh('statsd');
    const statsd = unixDatagrams(at);
    const access = fresh('access');
    const server = await start(
      ...['--log-syslog', '--log-syslog-to', `unix://${dev}#dgram`, '--disable-redirect-access-to-syslog'],
      ...['--access-logfile', access, '--statsd-host', `unix://${at}`],
    );
    try {
      assert.match(await server.talk(get('/exit/a')), / 500 /);
      await until(() => linesOf(access).length === 1);
      await until(() => syslog.messages.some((text) => / process\.exit\(\) was called: GET \/exit\/a /.test(text)));
      assert.ok(syslog.messages.every((text) => /^<1[124]>tunicorn\.logging\.mjs\.error: \[\d+\] /.test(text)));
      const metrics = () => statsd.messages.flatMap((text) => text.split('\n'));
      await until(() => metrics().includes('tunicorn.threads.lost:1|c|@1.0'));
      await until(() => metrics().includes('gunicorn.request.status.500:1|c|@1.0'));
      assert.equal(metrics().filter((text) => text === 'gunicorn.requests:1|c|@1.0').length, 1);
    } finally {
      await server.stop();
      await syslog.close();
      await statsd.close();
    }
  });

  it('TCP: a dead syslog costs lines, not requests; it gets what waited when it is there, and is told what was lost', async () => {
    const probe = await streamServer(0, '\n');
    await probe.close();
    const server = await start(
      ...[
        '--log-syslog',
        '--log-syslog-to',
        `tcp://127.0.0.1:${probe.port}`,
        '--access-logformat',
        `%(U)s ${'x'.repeat(4000)}`,
      ],
    );
    try {
      // More than 1 MiB of access lines.
      const client = await server.connect();
      const N = 600;
      client.write('GET /hello HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(N - 1) + get('/last'));
      const answers = await client.end();
      assert.equal(answers.match(/HTTP\/1\.1 200 /g)?.length, N);
      client.destroy();
      const syslog = await streamServer(probe.port, '\n');
      await server.waitFor(/\[WARNING\] The access log in syslog lost \d+ lines: /);
      const lost = [...server.log.matchAll(/The access log in syslog lost (\d+) lines/g)].map(([, n]) => Number(n));
      const sum = lost.reduce((a, b) => a + b);
      assert.ok(sum > 100 && sum < N, `${lost}`);
      const arrived = () => syslog.messages.filter((text) => / \/(hello|last) x{4000}$/.test(text)).length;
      await until(() => arrived() === N - sum, { what: `${N - sum} lines` });
      await until(() => syslog.messages.some((text) => text.includes('The access log in syslog lost')));
      await syslog.close();
    } finally {
      await server.stop();
    }
  });
});

describe('threads that are about to die', { concurrency: 2 }, () => {
  it('what a handler prints before its thread exits or is ended arrives, whole and in order', async () => {
    const access = fresh('access');
    const server = await start('--timeout', '1', '--access-logfile', access, '--access-logformat', '%(U)s %(s)s');
    try {
      // Requests of the same turn are over when the next one ends the thread.
      const text = get('/hello').replace('Connection: close\r\n', '').repeat(5);
      const exited = await server.talk(text + get('/exit/a'));
      const spun = await server.talk(text.replaceAll('hello', 'again') + get('/spin/b'));
      assert.equal(exited.match(/HTTP\/1\.1 200 /g)?.length, 5);
      assert.match(exited, /HTTP\/1\.1 500 /);
      assert.match(spun, /HTTP\/1\.1 504 /);
      const out = () => server.stdout.split('\n').filter((line) => line.startsWith('a '));
      const err = () => server.log.split('\n').filter((line) => line.startsWith('b '));
      await until(() => out().length === 1000 && err().length === 1000);
      assert.deepEqual(out(), printed('a'));
      assert.deepEqual(err(), printed('b'));
      await until(() => linesOf(access).length === 12);
      const lines = linesOf(access);
      assert.deepEqual(
        lines.filter((line) => /hello|exit/.test(line)),
        [...Array(5).fill('/hello 200'), '/exit/a 500'],
      );
      assert.deepEqual(
        lines.filter((line) => /again|spin/.test(line)),
        [...Array(5).fill('/again 200'), '/spin/b 504'],
      );
    } finally {
      await server.stop();
    }
  });

  it('--capture-output: into the error log, line by line, also from a thread that exits', async () => {
    const error = fresh('error');
    const server = await startInto(error, '--capture-output');
    try {
      await Promise.all(['/print/a', '/print/b'].map((path) => server.talk(get(path))));
      await server.talk(get('/exit/d'));
      await until(() => server.lines.filter((line) => line.startsWith('d ')).length === 1000);
      for (const tag of 'abd') {
        assert.deepEqual(
          server.lines.filter((line) => line.startsWith(`${tag} `)),
          printed(tag),
        );
      }
      await server.talk(get('/both/c'));
      await server.talk(get('/native/1'));
      await until(() => server.lines.includes('native 1') && server.lines.includes('child 1'));
      renameSync(error, `${error}.old`);
      server.kill('SIGUSR1');
      await until(async () => {
        await server.talk(get('/native/2'));
        return existsSync(error) && server.lines.includes('native 2') && server.lines.includes('child 2');
      });
      await server.stop();
      const lines = [...linesOf(`${error}.old`), ...server.lines];
      // What had no end has got one, at the latest at the end of its thread.
      for (const line of ['out c', 'err c', 'and more', 'no end']) {
        assert.equal(lines.filter((l) => l === line).length, 1, line);
      }
      assert.equal(server.stdout, '');
    } finally {
      await server.cleanup();
    }
  });
});

describe('--capture-output and hooks', () => {
  it("what they print in the arbiter's and in a worker's process goes to the error log, until HUP says otherwise", async () => {
    const error = fresh('error');
    const module = `${fresh('conf')}.mjs`;
    const conf = (captureOutput: boolean) =>
      writeFileSync(
        module,
        `import { spawnSync } from 'node:child_process';
        const say = (hook) => {
          console.log(hook + ' out');
          console.error(hook + ' err');
          spawnSync('echo', [hook + ' child'], { stdio: 'inherit' });
        };
        export default {
          captureOutput: ${captureOutput},
          when_ready: () => say('when_ready'), post_fork: () => say('post_fork'),
          nworkers_changed: (server, now, before) => before && say('from ' + before + ' to ' + now), on_reload: () => say('on_reload'),
        };`,
      );
    conf(true);
    const server = await startInto(error, '-c', module);
    const all = (hook: string) => ['out', 'err', 'child'].map((what) => `${hook} ${what}`);
    // Workers start meanwhile.
    const patience = { timeoutMs: 30_000 };
    const has = (lines: string[], hook: string) => all(hook).every((line) => lines.includes(line));
    try {
      await until(() => has(server.lines, 'when_ready') && has(server.lines, 'post_fork'), {
        what: 'the first hooks',
        ...patience,
      });
      // The arbiter's own streams are opened again, too.
      renameSync(error, `${error}.old`);
      server.kill('SIGUSR1');
      // Two signals at once may come in either order.
      await until(() => existsSync(error));
      server.kill('SIGTTIN');
      await until(() => has(server.lines, 'from 1 to 2'), { what: 'another worker', ...patience });
      assert.deepEqual([server.stdout, server.child.stderr!.read()], ['', null]);
      conf(false);
      server.kill('SIGHUP');
      await until(() => server.stdout.includes('on_reload child'), { what: 'the reload', ...patience });
      assert.ok(!server.lines.some((line) => line.startsWith('on_reload ')));
      await until(() => server.stdout.includes('post_fork child'), {
        what: 'a worker that does not capture',
        ...patience,
      });
    } finally {
      await server.stop();
    }
  });
});

describe('--log-format json', () => {
  it('both logs, captured output and syslog are JSON', async () => {
    const access = fresh('access');
    const at = fresh('syslog');
    const syslog = await streamServer(at, '\0');
    const server = await startInto(
      fresh('error'),
      ...[
        '--log-format',
        'json',
        '--access-logfile',
        access,
        '--access-logformat',
        '%({x-a}i)s %(C)s',
        '--capture-output',
      ],
      ...['--log-syslog', '--log-syslog-to', `unix://${at}`],
    );
    try {
      await server.talk(get('/both/c?a=1', 'X-A: "q"\x9b\r\nAuthorization: Basic YW5uOng=\r\n'));
      await server.talk(get('/fail'));
      await until(() => linesOf(access).length === 2);
      const [first, second] = linesOf(access).map((line) => JSON.parse(line));
      const { time, duration_ms, queue_ms, id, C, ...rest } = first;
      assert.ok(
        Math.abs(Date.parse(time) - Date.now()) < 60_000 && duration_ms > 0 && queue_ms >= 0 && C > 0 && id !== null,
      );
      assert.deepEqual(rest, {
        pid: server.worker,
        thread: rest.thread,
        remote_addr: '127.0.0.1',
        user: 'ann',
        method: 'GET',
        path: '/both/c',
        query: 'a=1',
        protocol: 'HTTP/1.1',
        status: 200,
        bytes: 4,
        referer: null,
        user_agent: null,
        route: rest.route,
        '{x-a}i': '"q"\x9b',
      });
      assert.equal(second.status, 500);
      const records = () => server.lines.map((line) => JSON.parse(line));
      await until(() => records().some(({ stream, msg }) => stream === 'stderr' && msg === 'and more'));
      const failed = records().find(({ trace }) => trace !== undefined);
      assert.equal(failed.level, 'error');
      assert.equal(failed.pid, server.worker);
      assert.equal(failed.msg, 'Error handling request GET /fail');
      assert.match(failed.trace, /^Error: on purpose\n {4}at /);
      const sent = (kind: string) =>
        syslog.messages.flatMap((text) => {
          const [, json] = new RegExp(`^<\\d+>tunicorn\\.logging\\.mjs\\.${kind}: \\[\\d+\\] (.*)$`).exec(text) ?? [];
          return json === undefined ? [] : [JSON.parse(json)];
        });
      await until(() => sent('access').length === 2 && sent('error').some(({ trace }) => trace !== undefined));
    } finally {
      await server.stop();
      await syslog.close();
    }
  });
});

describe('what breaks', { concurrency: 2 }, () => {
  it('a log that cannot be opened ends the start with status 1, and the reason', async () => {
    for (const [flag, what] of [
      ['--access-logfile', 'access log'],
      ['--error-logfile', 'error log'],
    ]) {
      const server = new HttpServer([CLI, '-b', '127.0.0.1:0', flag, join(dir, 'no/such/log'), appPath(APP)]);
      assert.equal((await server.ended).code, 1, server.log);
      assert.match(server.log, new RegExp(`cannot open the ${what} '.*no/such/log': ENOENT`));
      assert.doesNotMatch(server.log, /^ +at |Booting worker/m);
    }
  });

  it('a full disk costs lines, not requests; both logs say how many when there is room again', async () => {
    const probe = await streamServer(0, '');
    await probe.close();
    const [access, error] = [fresh('access'), fresh('error')];
    for (const path of [access, error]) symlinkSync('/dev/full', path);
    const args = [
      '-b',
      `127.0.0.1:${probe.port}`,
      '--threads',
      '2',
      '--access-logfile',
      access,
      '--error-logfile',
      error,
    ];
    const server = new HttpServer([CLI, ...args, '--access-logformat', '%(U)s', appPath(APP)]);
    server.port = probe.port;
    try {
      const ask = (path: string) => server.talk(get(path));
      await until(() => ask('/hello'), { what: 'the first answer' });
      for (let n = 0; n < 20; n++) assert.match(await ask(n % 2 === 0 ? '/hello' : '/fail'), / (200|500) /);
      for (const path of [access, error]) {
        rmSync(path);
        writeFileSync(path, '');
      }
      server.kill('SIGUSR1');
      await until(async () => {
        await ask('/later');
        return linesOf(access).includes('/later');
      });
      server.kill('SIGUSR1');
      await ask('/fail');
      const lost = (what: string) =>
        [...readFileSync(error, 'utf8').matchAll(new RegExp(`WARNING\\] ${what} lost (\\d+) lines: ENOSPC`, 'g'))].map(
          ([, n]) => Number(n),
        );
      await until(() => lost('The access log').some((n) => n > 5));
      // The arbiter's and a thread's.
      await until(() => lost('The error log').length >= 2);
    } finally {
      server.kill('SIGTERM');
      await server.ended;
    }
  });

  it('pipes that nobody reads cost lines, not requests', async () => {
    const server = await start('--access-logfile', '-', '--access-logformat', `%(U)s ${'x'.repeat(8000)}`);
    try {
      const { stdout, stderr } = server.child;
      for (const pipe of [stdout!, stderr!]) pipe.pause();
      const N = 400;
      const client = await server.connect();
      client.write('GET /hello HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(N) + get('/last'));
      const text = await client.end();
      client.destroy();
      assert.equal(text.match(/HTTP\/1\.1 200 /g)?.length, N + 1);
      const errors = 100;
      for (let n = 0; n < errors; n++) assert.match(await server.talk(get(`/fail/${'e'.repeat(2000)}`)), / 500 /);
      for (const pipe of [stdout!, stderr!]) pipe.resume();
      await server.waitFor(/\[WARNING\] The access log lost \d+ lines: nobody reads it\n/);
      const lost = () =>
        [...server.log.matchAll(/The access log lost (\d+) lines/g)].reduce((sum, [, n]) => sum + Number(n), 0);
      const arrived = () => server.stdout.match(/^\/(hello|last|fail\/e+) x{8000}$/gm)?.length;
      await until(() => arrived() === N + 1 + errors - lost(), { what: 'all other lines, whole' });
      assert.ok(lost() > 50, `${lost()}`);
      await until(() => server.log.match(/\[ERROR\] Error handling request GET \/fail\/e{2000}\n/g)?.length === errors);
    } finally {
      await server.stop();
    }
  });
});

describe('/dev/stdout and /dev/stderr', () => {
  it('are the standard streams, also where these are sockets, which cannot be opened by a name', async () => {
    const server = await start(
      ...['--access-logfile', '/dev/stdout', '--access-logformat', '%(U)s', '--error-logfile', '/dev/stderr'],
    );
    try {
      for (const path of ['/hello/1', '/fail/2']) await server.talk(get(path));
      server.kill('SIGUSR1');
      await server.waitFor(/Error handling request GET \/fail\/2\n[\s\S]*Handling signal: usr1/);
      await server.talk(get('/hello/3'));
      await until(() => server.stdout === '/hello/1\n/fail/2\n/hello/3\n');
      assert.doesNotMatch(server.log, /Cannot reopen/);
    } finally {
      await server.stop();
    }
  });
});

describe('HUP', () => {
  it('moves both logs, syslog and metrics to where the new settings say', async () => {
    const files = ['a', 'b'].map((name) => ({ access: fresh(name), statsd: fresh(name), syslog: fresh(name) }));
    const servers = files.map(({ statsd, syslog }) => [unixDatagrams(statsd), unixDatagrams(syslog)]);
    const conf = `${fresh('conf')}.json`;
    const settings = (n: number) => {
      const { access, statsd, syslog } = files[n];
      const to = { statsd_host: `unix://${statsd}`, syslog: true, syslog_addr: `unix://${syslog}#dgram` };
      writeFileSync(conf, JSON.stringify({ accesslog: access, access_log_format: '%(U)s', ...to }));
    };
    settings(0);
    // A module that reads the settings anew each time it is asked.
    const module = conf.replace('.json', '.cjs');
    const read = `JSON.parse(require('node:fs').readFileSync(${JSON.stringify(conf)}, 'utf8'))`;
    writeFileSync(module, `module.exports = () => (${read});`);
    const server = await start('-c', module);
    try {
      for (const n of [0, 1]) {
        if (n === 1) {
          settings(1);
          server.kill('SIGHUP');
        }
        const [statsd, syslog] = servers[n];
        // The old worker still answers for a moment.
        await until(async () => {
          await server.talk(get(`/n${n}`));
          return existsSync(files[n].access) && linesOf(files[n].access).includes(`/n${n}`);
        });
        const metrics = () => statsd.messages.flatMap((text) => text.split('\n'));
        await until(() => metrics().includes('gunicorn.requests:1|c|@1.0'));
        await until(() => metrics().some((text) => /^gunicorn\.workers:[12]\|g$/.test(text)));
        await until(() => syslog.messages.some((text) => text.endsWith(` /n${n}`)));
        await until(() => syslog.messages.some((text) => /error: \[\d+\] Booting worker/.test(text)));
      }
    } finally {
      await server.stop();
      for (const log of servers.flat()) await log.close();
    }
  });
});

describe('rotation', () => {
  it('HUP opens the files again, too: those of the arbiter and of workers that live on', async () => {
    const access = fresh('access');
    const error = fresh('error');
    const server = await startInto(error, ...['--access-logfile', access, '--access-logformat', '%(U)s']);
    try {
      await server.talk(get('/hello/1'));
      await until(() => linesOf(access).length === 1);
      for (const path of [access, error]) renameSync(path, `${path}.1`);
      server.kill('SIGHUP');
      await until(() => existsSync(access) && existsSync(error));
      // By the worker that was there before.
      await until(async () => {
        await server.talk(get('/fail/2'));
        return linesOf(access).includes('/fail/2') && server.lines.some((line) => line.endsWith('GET /fail/2'));
      });
      assert.deepEqual(linesOf(`${access}.1`)[0], '/hello/1');
      assert.equal(readFileSync(`${error}.1`, 'utf8').match(/Booting worker/g)?.length, 1);
      assert.ok(!server.lines.some((line) => line.includes('Booting worker')));
    } finally {
      await server.stop();
    }
  });

  it('USR1 under load: every line is there, whichever file it is in', async () => {
    const access = fresh('access');
    const error = fresh('error');
    const server = await startInto(error, ...['--access-logfile', access, '--access-logformat', '%(U)s', '-w', '2']);
    try {
      await server.waitForWorkers(2);
      let asked = 0;
      let going = true;
      const ask = async () => {
        while (going) {
          const n = ++asked;
          assert.match(await server.talk(get(`/hello/${n}`)), /^HTTP\/1\.1 200 /);
        }
      };
      const clients = Array.from({ length: 4 }, ask);
      const files = [access];
      for (let n = 0; n < 5; n++) {
        const before = asked;
        await until(() => asked > before + 20);
        files.push(`${access}.${n}`);
        renameSync(access, `${access}.${n}`);
        renameSync(error, `${error}.${n}`);
        server.kill('SIGUSR1');
        await until(() => existsSync(access) && existsSync(error) && linesOf(access).length > 0);
      }
      going = false;
      await Promise.all(clients);
      const numbers = () => files.flatMap((file) => linesOf(file).map((line) => Number(line.slice('/hello/'.length))));
      await until(() => numbers().length === asked, { what: `${asked} lines` });
      assert.deepEqual(
        numbers().sort((a, b) => a - b),
        Array.from({ length: asked }, (_, i) => i + 1),
      );
      const logs = [error, ...files.slice(1).map((_, n) => `${error}.${n}`)].map((file) => readFileSync(file, 'utf8'));
      assert.equal(logs.join('').match(/Handling signal: usr1\n/g)?.length, 5);
    } finally {
      await server.stop();
    }
  });
});

/** A server whose error log is a file; `log` has its messages, `lines` what stands in it. */
class FileServer extends HttpServer {
  private readonly file: string;
  private readonly timer: NodeJS.Timeout;

  constructor(file: string, args: readonly string[]) {
    super([CLI, '-b', '127.0.0.1:0', '--threads', '2', '--error-logfile', file, ...args, appPath(APP)]);
    this.file = file;
    this.timer = setInterval(() => this.read(), 10);
  }

  private read(): void {
    if (!existsSync(this.file)) return;
    const message = (line: string) => (line.startsWith('{"') ? JSON.parse(line).msg : line);
    this.log = this.lines.map((line) => `${message(line)}\n`).join('');
  }

  get lines(): string[] {
    return linesOf(this.file);
  }

  override async cleanup(): Promise<void> {
    this.read();
    clearInterval(this.timer);
    await super.cleanup();
  }
}

async function startInto(file: string, ...args: string[]): Promise<FileServer> {
  const server = new FileServer(file, args);
  try {
    server.port = await server.firstPort();
    await server.waitFor(/Booting worker/);
  } catch (error) {
    await server.cleanup();
    throw error;
  }
  return server;
}
