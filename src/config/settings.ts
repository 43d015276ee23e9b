/**
 * The one table of settings. Everything else is made from it: the type Config, the command line and its --help
 * (argv.ts), the names in a configuration file (names.ts), validation and defaults (config.ts), the documentation
 * (reference.ts; `npm run docs` writes it). Names, flags and defaults are gunicorn's wherever
 * gunicorn has the setting; ours alone are containment and health, thread_pool, header_timeout, body_timeout, body_min_rate
 * and send_timeout.
 * To add a setting, add an entry; nothing else needs to change.
 */
import { DEFAULT_ACCESS_FORMAT } from '../access-format.js';
import { CONTAINMENT_SETTINGS } from './containment.js';
import { usableCpus } from './cpus.js';
import type { HookSource } from './hooks.js';
import { LIMIT_SETTINGS } from './limits.js';
import { LOG_SETTINGS } from './logging.js';
import { PROCESS_SETTINGS } from './mechanics.js';
import { RELOAD_SETTINGS } from './reloading.js';
import { type Setting, setting } from './setting.js';
import { TLS_SETTINGS } from './tls.js';
import { TRUST_SETTINGS } from './trust.js';
import {
  accessFormat,
  addresses,
  appSpec,
  choice,
  flag,
  folder,
  integer,
  logfile,
  optionalLogfile,
  seconds,
} from './validate.js';

export type { Env, Setting } from './setting.js';

export const WORKER_CLASSES = ['gthread', 'sync'] as const;
export const THREAD_POOLS = ['piscina', 'tinypool'] as const;
export const LOG_LEVELS = ['debug', 'info', 'warning', 'error', 'critical'] as const;

const FILE = 'Configuration file';
const SOCKET = 'Server socket';
const WORKERS = 'Worker processes';
const LOGGING = 'Logging';
const MECHANICS = 'Server mechanics';

export const SETTINGS = [
  setting({
    name: 'app',
    key: 'app',
    aliases: ['wsgi_app'],
    flags: [],
    section: FILE,
    kind: appSpec(),
    default: () => '',
    defaultText: 'none: an app has to be given, here or as the argument of the command',
    description:
      'What to serve: app.js, app:handler, app:create(), server.js:3000. The argument of the command replaces it.',
  }),
  setting({
    name: 'bind',
    key: 'bind',
    flags: ['-b', '--bind'],
    section: SOCKET,
    kind: addresses(),
    multiple: true,
    default: () => ['127.0.0.1:8000'],
    env: { variable: 'PORT', value: (port) => `0.0.0.0:${port}` },
    description:
      'Address to listen at, or, as fd://N, the number of a listening socket that was inherited. May be given several times. Port 0 lets the system choose one. Sockets that systemd passes (LISTEN_PID, LISTEN_FDS) are used instead of addresses, beside those given as fd://N; HUP keeps them, and their files are never removed.',
  }),
  setting({
    name: 'backlog',
    key: 'backlog',
    flags: ['--backlog'],
    section: SOCKET,
    kind: integer(1, 65_535, 'connections'),
    default: () => 2048,
    description:
      'Connections the kernel may hold for us until they are accepted, also at inherited sockets; net.core.somaxconn limits it further.',
  }),
  setting({
    name: 'workers',
    key: 'workers',
    flags: ['-w', '--workers'],
    section: WORKERS,
    kind: integer(1, 1024, 'processes'),
    default: () => 1,
    env: { variable: 'WEB_CONCURRENCY', value: (n) => n },
    description: 'Worker processes to keep running.',
  }),
  setting({
    name: 'worker_class',
    key: 'workerClass',
    flags: ['-k', '--worker-class'],
    section: WORKERS,
    kind: choice('worker class', WORKER_CLASSES),
    default: () => 'gthread' as const,
    description:
      "How a worker runs requests: gthread on a pool of threads, sync one at a time on the worker's only thread, where a slow body holds up all others: only behind a proxy that buffers. With --threads above 1 sync is gthread.",
  }),
  setting({
    name: 'threads',
    key: 'threads',
    flags: ['--threads'],
    section: WORKERS,
    kind: integer(1, 512, 'threads'),
    default: () => Math.max(2, usableCpus() + 1),
    defaultText: 'the CPUs this process may use, cgroup quota counted, and one more for --reserve-threads',
    description: 'Threads that run requests in each gthread worker.',
  }),
  setting({
    name: 'thread_pool',
    key: 'threadPool',
    flags: ['--thread-pool'],
    section: WORKERS,
    kind: choice('thread pool', THREAD_POOLS),
    default: () => 'piscina' as const,
    description: 'Library that starts and replaces the threads.',
  }),
  setting({
    name: 'worker_connections',
    key: 'workerConnections',
    flags: ['--worker-connections'],
    section: WORKERS,
    kind: integer(1, 1_000_000, 'connections'),
    // gunicorn's 1000 are soon taken by slow uploads or WebSockets, none of which makes room; node:http has no limit.
    default: () => 10_000,
    description:
      'Connections a worker holds at once, idle ones counted. At the limit those make room that nobody has used for longest, a second at least; if there are none, it stops accepting for a while. There are no more than file descriptors (ulimit -n), less 100, or half of them, for the rest of the process.',
  }),
  setting({
    name: 'max_requests',
    key: 'maxRequests',
    flags: ['--max-requests'],
    section: WORKERS,
    kind: integer(0, 1_000_000_000, 'requests'),
    default: () => 0,
    description:
      'Requests after which a thread (gthread) or a worker (sync) is replaced by a fresh one, a remedy for leaks. Threads are replaced one at a time, which takes a tenth of the time at most. 0: never.',
  }),
  setting({
    name: 'max_requests_jitter',
    key: 'maxRequestsJitter',
    flags: ['--max-requests-jitter'],
    section: WORKERS,
    kind: integer(0, 1_000_000_000, 'requests'),
    default: () => 0,
    description:
      'Each thread or worker adds a random number from 0 to this to --max-requests, so that not all leave together.',
  }),
  setting({
    name: 'timeout',
    key: 'timeout',
    flags: ['-t', '--timeout'],
    section: WORKERS,
    kind: seconds(),
    default: () => 30,
    description:
      'Time a request may take in gthread: then its signal aborts and its client gets 504, and a thread that is stuck in it is ended. A worker that has been silent, or a worker or thread that has not finished booting, for this long (gthread: 30 seconds at least) is killed. 0: never.',
  }),
  ...CONTAINMENT_SETTINGS,
  setting({
    name: 'graceful_timeout',
    key: 'gracefulTimeout',
    flags: ['--graceful-timeout'],
    section: WORKERS,
    kind: seconds(),
    default: () => 30,
    description:
      'Time a worker told to leave has for the requests it has read. Those that are not over then get 503 where nothing was sent (gthread; the log names them), and two seconds later it is killed.',
  }),
  setting({
    name: 'keepalive',
    key: 'keepalive',
    flags: ['--keep-alive'],
    section: WORKERS,
    kind: seconds(),
    default: () => 2,
    description: 'How long an idle connection is kept for the next request. 0: closed after each response.',
  }),
  ...LIMIT_SETTINGS,
  setting({
    name: 'loglevel',
    key: 'loglevel',
    flags: ['--log-level'],
    section: LOGGING,
    kind: choice('log level', LOG_LEVELS, true),
    default: () => 'info' as const,
    description: 'Least level that the error log shows.',
  }),
  setting({
    name: 'errorlog',
    key: 'errorlog',
    flags: ['--error-logfile', '--log-file'],
    section: LOGGING,
    kind: logfile(),
    default: () => '-',
    description: 'File for the error log; - is standard error.',
  }),
  setting({
    name: 'accesslog',
    key: 'accesslog',
    flags: ['--access-logfile'],
    section: LOGGING,
    kind: optionalLogfile(),
    default: () => null,
    defaultText: 'no access log',
    description: 'File for the access log; - is standard output.',
  }),
  setting({
    name: 'access_log_format',
    key: 'accessLogFormat',
    flags: ['--access-logformat'],
    section: LOGGING,
    kind: accessFormat(),
    default: () => DEFAULT_ACCESS_FORMAT,
    description:
      "Line of the access log, with gunicorn's atoms (h l u t r m U q H s B b f a T D M L p, {header}i, {header}o, {variable}e) and %(Q)s queue wait in ms, %(C)s CPU time in ms, %(E)s event loop's wait in ms, %(W)s thread, %(R)s route, %(I)s request id.",
  }),
  ...LOG_SETTINGS,
  setting({
    name: 'server_timing',
    key: 'serverTiming',
    flags: ['--server-timing'],
    section: LOGGING,
    kind: flag(),
    default: () => false,
    description:
      "Responses carry a Server-Timing field with queue wait, CPU time, event loop's wait (ms) and thread; chunked ones also a trailer with the final values.",
  }),
  setting({
    name: 'chdir',
    key: 'chdir',
    flags: ['--chdir'],
    section: MECHANICS,
    kind: folder(),
    default: () => '.',
    defaultText: 'the current folder',
    description:
      'Folder to change to before the app is loaded; relative paths of other settings start there. A symbolic link in its name is followed anew at HUP, also in the name by which a shell knows the current folder ($PWD).',
  }),
  ...PROCESS_SETTINGS,
  ...TLS_SETTINGS,
  ...TRUST_SETTINGS,
  setting({
    name: 'sendfile',
    key: 'sendfile',
    flags: ['--no-sendfile'],
    section: MECHANICS,
    kind: flag(),
    default: () => true,
    defaultText: 'they do',
    env: { variable: 'SENDFILE', value: (text) => String(/^(y|1|yes|true)$/i.test(text)), empty: true },
    description:
      'Files that a handler pipes into a response do not leave by sendfile, but are read: for file systems that are slow or do not support it.',
  }),
  ...RELOAD_SETTINGS,
] as const;

/** The settings as a list of one type, for code that goes through all of them. */
export const settingList: readonly Setting[] = SETTINGS;

type Entry = (typeof SETTINGS)[number];

/** All settings with their values: plain data that can cross a process border as JSON. */
export type Config = {
  [S in Entry as S['key']]: S extends Setting<string, infer T> ? T : never;
} & {
  /** No setting: hooks of the configuration file that workers and threads are to call. None by default. */
  hookSource?: HookSource;
};

export type SettingKey = Entry['key'];
export type WorkerClass = Config['workerClass'];
export type LogLevel = Config['loglevel'];
