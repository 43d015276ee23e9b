import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { helpText, readCommand } from '../../../src/config/argv.js';
import { buildConfig, type ConfigInput, createConfig } from '../../../src/config/config.js';
import { snakeCase } from '../../../src/config/names.js';
import { type Config, settingList } from '../../../src/config/settings.js';
import { TunicornError } from '../../../src/errors.js';

function parse(argv: string[], env = {}): Config {
  const wanted = readCommand(argv, env);
  assert.ok('layers' in wanted);
  return buildConfig(wanted.layers, env).config;
}

function refused(fn: () => unknown, message: RegExp): void {
  assert.throws(fn, (err) => {
    assert.ok(err instanceof TunicornError);
    assert.equal(err.code, 'ERR_TUNICORN_CONFIG');
    assert.equal(err.exitCode, 2);
    assert.match(err.message, message);
    return true;
  });
}

describe('the table of settings', () => {
  it('has unique names, keys and flags, and defaults that its own kinds accept', () => {
    for (const pick of ['name', 'key'] as const) {
      const all = settingList.map((s) => s[pick]);
      assert.equal(new Set(all).size, all.length);
    }
    const flags = settingList.flatMap((s) => [...s.flags, ...(s.hiddenFlags ?? [])]);
    assert.equal(new Set(flags).size, flags.length);
    for (const s of settingList) {
      assert.match(s.name, /^[a-z0-9_]+$/);
      assert.equal(snakeCase(s.key), s.name);
      assert.deepEqual(s.kind.parse(s.default()), s.default(), s.name);
      assert.match(s.description, /\.$/);
    }
  });

  it('makes --help: every flag, no hidden one', () => {
    const help = helpText();
    for (const s of settingList) for (const flag of s.flags) assert.ok(help.includes(flag), flag);
    assert.ok(!help.includes('--limit-request-field-size'));
    assert.ok(help.split('\n').every((line) => line.length <= 100));
  });
});

describe('defaults', () => {
  it("are gunicorn's", () => {
    const { threads, chdir, ...config } = parse(['app.js']);
    assert.ok(threads >= 2);
    assert.equal(chdir, process.cwd());
    assert.deepEqual(config, {
      app: 'app.js',
      bind: ['127.0.0.1:8000'],
      certfile: null,
      keyfile: null,
      certReqs: 0,
      caCerts: null,
      ciphers: null,
      httpProtocols: ['h1'],
      http2MaxConcurrentStreams: 100,
      http2InitialWindowSize: 65_535,
      http2MaxFrameSize: 16_384,
      http2MaxHeaderListSize: 65_536,
      backlog: 2048,
      workers: 1,
      workerClass: 'gthread',
      threadPool: 'piscina',
      workerConnections: 10_000,
      maxRequests: 0,
      maxRequestsJitter: 0,
      timeout: 30,
      timeoutGrace: 0.25,
      killOnDisconnect: 0,
      threadMemory: 0,
      threadMaxMemory: 0,
      reserveThreads: 1,
      threadConcurrency: 0,
      maxQueue: 0,
      queueTimeout: 30,
      deadlineHeader: 'x-envoy-expected-rq-timeout-ms',
      fenceKills: 0,
      fenceWindow: 30,
      fenceTime: 30,
      statusBind: [],
      healthPath: '',
      gracefulTimeout: 30,
      keepalive: 2,
      headerTimeout: 10,
      bodyTimeout: 30,
      bodyMinRate: 240,
      sendTimeout: 30,
      limitRequestLine: 4094,
      limitRequestFields: 100,
      limitRequestFieldSize: 8190,
      loglevel: 'info',
      errorlog: '-',
      accesslog: null,
      accessLogFormat: '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"',
      logFormat: 'text',
      captureOutput: false,
      syslog: false,
      syslogAddr: 'udp://localhost:514',
      syslogPrefix: null,
      syslogFacility: 'user',
      disableRedirectAccessToSyslog: false,
      statsdHost: null,
      statsdPrefix: '',
      dogstatsdTags: '',
      enableBacklogMetric: false,
      serverTiming: false,
      procName: null,
      rawEnv: [],
      pidfile: null,
      preloadApp: false,
      daemon: false,
      enableStdioInheritance: false,
      reusePort: false,
      umask: 0,
      user: null,
      group: null,
      initgroups: false,
      forwardedAllowIps: ['127.0.0.1', '::1'],
      secureSchemeHeaders: { 'X-FORWARDED-PROTOCOL': 'ssl', 'X-FORWARDED-PROTO': 'https', 'X-FORWARDED-SSL': 'on' },
      forwarderHeaders: ['SCRIPT_NAME', 'PATH_INFO'],
      headerMap: 'drop',
      proxyProtocol: 'off',
      proxyAllowIps: ['127.0.0.1', '::1'],
      sendfile: true,
      reload: false,
      reloadEngine: 'auto',
      reloadExtraFiles: [],
    });
  });

  it('PORT and WEB_CONCURRENCY replace them, the command line replaces those', () => {
    const env = { PORT: '9000', WEB_CONCURRENCY: '3' };
    assert.deepEqual(parse(['a'], env).bind, ['0.0.0.0:9000']);
    assert.equal(parse(['a'], env).workers, 3);
    assert.deepEqual(parse(['a', '-b', ':1', '-w2'], env).bind, [':1']);
    assert.equal(parse(['a', '-b', ':1', '-w2'], env).workers, 2);
    assert.equal(parse(['a'], { PORT: '', WEB_CONCURRENCY: '' }).workers, 1);
    refused(() => parse(['a'], { PORT: 'x' }), /^\$PORT: /);
    // It may be meant for another program.
    assert.deepEqual(parse(['a', '-b', ':1'], { PORT: 'tcp://10.0.0.1:80' }).bind, [':1']);
  });
});

describe('the command line', () => {
  it('takes flags in every spelling, before and after the app', () => {
    const config = parse([
      '--bind=127.0.0.1:1',
      'app:create()',
      '-b',
      'unix:/tmp/x,[::1]:2',
      '-ksync',
      '--log-level',
      'WARNING',
      '--log-file',
      'e.log',
      '--access-logfile=-',
      '--limit-request-field-size',
      '1',
      '--keep-alive',
      '0.5',
    ]);
    assert.equal(config.app, 'app:create()');
    assert.deepEqual(config.bind, ['127.0.0.1:1', 'unix:/tmp/x', '[::1]:2']);
    assert.equal(config.workerClass, 'sync');
    assert.equal(config.loglevel, 'warning');
    assert.equal(config.errorlog, 'e.log');
    assert.equal(config.accesslog, '-');
    assert.equal(config.limitRequestFieldSize, 1);
    assert.equal(config.keepalive, 0.5);
    assert.equal(parse(['a', '--limit-request-field_size', '2']).limitRequestFieldSize, 2);
  });

  it('takes short flags with = and together, as argparse does', () => {
    const config = parse(['-w=3', '-b=:1', '-e=A=1', '-e', '-w=2', '-DRk', 'sync', 'a']);
    assert.deepEqual([config.workers, config.bind, config.rawEnv], [3, [':1'], ['A=1', '-w=2']]);
    assert.deepEqual([config.daemon, config.enableStdioInheritance, config.workerClass], [true, true, 'sync']);
    assert.equal((readCommand(['-c=x.js', 'a'], {}) as { config: string }).config, 'x.js');
    assert.equal(parse(['--', '-w=3']).app, '-w=3');
  });

  it('class sync with more than one thread is gthread, as in gunicorn', () => {
    const kind = (...args: string[]) => {
      const { workerClass, threads } = parse([...args, 'a']);
      return [workerClass, threads];
    };
    assert.deepEqual(kind('-k', 'sync', '--threads', '4'), ['gthread', 4]);
    assert.deepEqual(kind('-k', 'sync', '--threads', '1'), ['sync', 1]);
    assert.equal(kind('-k', 'sync')[0], 'sync', 'the default is not asked for');
    assert.equal(createConfig({ app: 'a', workerClass: 'sync', threads: 2 }, {}).workerClass, 'gthread');
  });

  it('takes several status addresses and a health path', () => {
    const config = parse([
      'a',
      '--status-bind',
      ':9000',
      '--status-bind',
      'unix:/tmp/s,:0',
      '-b:0',
      '--health-path=/h/z',
    ]);
    assert.deepEqual(config.statusBind, [':9000', 'unix:/tmp/s', ':0']);
    assert.equal(config.healthPath, '/h/z');
    assert.equal(parse(['a', '--health-path', '/h']).healthPath, '/h');
  });

  it('--no-sendfile, and SENDFILE', () => {
    assert.equal(parse(['app.js', '--no-sendfile']).sendfile, false);
    assert.equal(parse(['app.js'], { SENDFILE: '0' }).sendfile, false);
    assert.equal(parse(['app.js'], { SENDFILE: 'yes' }).sendfile, true);
    assert.equal(parse(['app.js'], { SENDFILE: '' }).sendfile, false);
  });

  it('--help and --version print', () => {
    assert.ok('text' in readCommand(['-h'], {}));
    assert.match((readCommand(['-v'], {}) as { text: string }).text, /^tunicorn \(version \d+\.\d+\.\d+\)\n$/);
  });

  for (const [argv, message] of [
    [[], /no app given/],
    [[''], /no app given/],
    [['a', '--thread', '2'], /unknown option '--thread' \(did you mean --threads\?\)/],
    [['a', '--no-such-thing-at-all'], /unknown option '--no-such-thing-at-all'$/],
    [['a', '--keep', '5'], /unknown option '--keep' \(did you mean --keep-alive\?\)/],
    [['a', '--acces-logfile=x'], /unknown option '--acces-logfile' \(did you mean --access-logfile\?\)/],
    [['a', '-z'], /unknown option '-z'$/],
    [['a', '--reload=false'], /^option '--reload' takes no value$/],
    [['a', '-D=1'], /^option '--daemon' takes no value$/],
    [['a', '-w='], /^--workers: ""/],
    [['a', '--log-level', 'warn'], /unknown log level "warn": .* \(did you mean warning\?\)/],
    [['a', '-w', '0'], /^--workers: "0" is not a whole number from 1 to 1024/],
    [['a', '-w', '1.5'], /^--workers: "1.5"/],
    [['a', '-w', '0x10'], /^--workers: "0x10"/],
    [['a', '-w', ''], /^--workers: ""/],
    [['a', '-w', '-1'], /^--workers: "-1"/],
    [['a', '--limit-request-line', '8191'], /0 to 8190/],
    [['a', '--limit-request-fields', '32769'], /1 to 32768/],
    [['a', '--timeout', 'NaN'], /^--timeout: "NaN" is not a number of seconds/],
    [['a', '--timeout', '1e3'], /^--timeout: /],
    [['a', '--graceful-timeout', '2147484'], /0 to 2000000/],
    [['a', '-k', 'gthreads'], /unknown worker class "gthreads": choose from gthread, sync \(did you mean gthread\?\)/],
    [['a', '--thread-pool', 'x'], /unknown thread pool "x": choose from piscina, tinypool$/],
    [['a', '--access-logfile', ''], /^--access-logfile: /],
    [['a', '--access-logformat', ''], /^--access-logformat: "" is not a format/],
    [['a', '--access-logformat', '%(h)s %h'], /^--access-logformat: "%h" at character 7 is no atom: .*%\(h\)s/],
    [['a', '--server-timing=1'], /server-timing/],
    [['a', '--error-logfile', 'a\0b'], /NUL/],
    [['a', '-b', ':1', '-b', '0.0.0.0:1'], /given twice/],
    [['a', '--health-path', 'healthz'], /^--health-path: "healthz" is not a path that begins with \//],
    [['a', '--health-path', '/healthz/'], /does not end with it/],
    [['a', '--health-path', '/'], /does not end with it/],
    [['a', '--health-path', '/a?b'], /is not a path/],
    [['a', '--health-path', '/a b'], /is not a path/],
    [['a', '--status-bind', ''], /^--status-bind: "" is not an address/],
    [['a', '-b', ':1', '--status-bind', ':1'], /^--status-bind: ":1" is an address of --bind already/],
    [['a', '-w', 'x'.repeat(5000)], /^.{0,200}$/],
  ] as [string[], RegExp][]) {
    it(`refuses ${JSON.stringify(argv).slice(0, 60)}`, () => refused(() => parse(argv), message));
  }
});

describe('createConfig', () => {
  it('takes values of the right type or as strings, and ignores undefined', () => {
    const config = createConfig({ app: 'a', workers: '2', timeout: 0.25, bind: 'x:1,y:2', loglevel: undefined }, {});
    assert.equal(config.workers, 2);
    assert.equal(config.timeout, 0.25);
    assert.deepEqual(config.bind, ['x:1', 'y:2']);
    assert.equal(config.loglevel, 'info');
    assert.deepEqual(createConfig(config, {}), config, 'a Config is a valid input');
    assert.deepEqual(JSON.parse(JSON.stringify(config)), config, 'it crosses a process border as JSON');
  });

  it('refuses unknown keys and wrong values by name', () => {
    const wrong = (input: object) => () => createConfig(input as ConfigInput, {});
    refused(wrong({ app: 'a', worker: 2 }), /^unknown setting "worker" \(did you mean workers\?\)/);
    refused(wrong({ app: 'a', worker_clas: 'sync' }), /did you mean worker_class/);
    refused(wrong({ app: 'a', workerClas: 'sync' }), /did you mean workerClass/);
    refused(
      wrong({ app: 'a', worker_class: 'sync', workerClass: 'sync' }),
      /^worker_class and workerClass are the same setting/,
    );
    for (const [flag, name] of [
      ['log_file', 'errorlog'],
      ['access_logfile', 'accesslog'],
      ['accessLogformat', 'accessLogFormat'],
      ['name', 'procName'],
      ['pid', 'pidfile'],
      ['env', 'rawEnv'],
      ['preload', 'preloadApp'],
      ['keep-alive', 'keepalive'],
      ['proxy_allow_from', 'proxy_allow_ips'],
    ]) {
      refused(
        wrong({ app: 'a', [flag]: 'x' }),
        new RegExp(`^unknown setting "${flag}" \\(did you mean ${name}\\?\\)$`),
      );
    }
    refused(wrong({ app: 'a', pythonpath: 'x' }), /^gunicorn's setting "pythonpath" does not exist here\. Node finds/);
    refused(wrong({ app: 'a', config: 'x' }), /^"config" is for the command line alone: --config$/);
    refused(wrong({ app: 'a', when_ready: () => {} }), /^whenReady is a hook/);
    refused(wrong({ app: 'a', workers: null }), /^workers: null is not a whole number/);
    refused(wrong({ app: 'a', workers: Number.NaN }), /^workers: /);
    refused(wrong({ app: 'a', timeout: Number.POSITIVE_INFINITY }), /^timeout: /);
    refused(wrong({ app: 'a', bind: [] }), /^bind: at least one/);
    refused(wrong({ app: 'a', bind: [8000] }), /^bind: 8000 is not an address/);
    refused(wrong({ app: 'a', backlog: 10n }), /^backlog: 10 is not/);
    refused(wrong({ app: 3 }), /^app: 3 is not a file or module/);
    refused(wrong({}), /no app given/);
  });
});
