/**
 * The servers under test: for each, whether it is here, which scenarios have a meaning for it, and the command line.
 * All run the same work (apps/work.ts, apps/wsgi.py) on 127.0.0.1. node:http is the base of the ratios, also in the
 * fetch scenario, where it answers the same hello with (req, res), and in those of the frameworks, where both run the same file.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LARGE } from './apps/work.js';
import { FRAMEWORKS, type ScenarioName } from './scenarios.js';

/** The project's root, seen from dist/bench. */
export const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const APPS = fileURLToPath(new URL('./apps/', import.meta.url));

export const BASE = 'node';
export const CLUSTER_PROCESSES = 2;
/** The hand-made way to keep heavy requests from light ones, which tunicorn is compared with. */
export const OFFLOAD = 'offload';

/** What a command line may depend on. */
export interface Launch {
  port: number;
  scenario: string;
  /** A directory of this run's own, removed after it. */
  temp: string;
  threads: number;
  threadsGiven: boolean;
  workers: number;
  workerClass: string;
}

export interface Command {
  file: string;
  args: string[];
  env?: Record<string, string>;
}

export interface Server {
  name: string;
  title: string;
  version: string;
  /** Why it cannot be measured here; undefined when it can. */
  missing?: string;
  scenarios: readonly ScenarioName[];
  command(launch: Launch): Command;
}

const REQ_RES: readonly ScenarioName[] = ['hello', 'echo', '64k', 'cpu'];
/** The framework apps are plain JavaScript and not compiled: two of the frameworks have no types of their own. */
const FRAMEWORK_APPS = join(ROOT, 'bench/apps/frameworks');
const ALL: readonly ScenarioName[] = [...REQ_RES, 'fetch', 'mixed'];

/** The full path of a program: an explicit one, on PATH, or undefined. */
export function which(name: string, explicit?: string): string | undefined {
  const places = explicit ? [explicit] : (process.env.PATH ?? '').split(delimiter).map((dir) => join(dir, name));
  return places.find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** First line that a program prints about its version (nginx prints to stderr). */
export function versionOf(file: string, flag: string): string {
  const { stdout, stderr } = spawnSync(file, [flag], { encoding: 'utf8', timeout: 10_000 });
  return `${stdout}${stderr}`.trim().split('\n')[0] ?? '';
}

/** The version in a package.json, by path: not every package exports the file. */
function packageVersion(dir: string): string {
  return (JSON.parse(readFileSync(join(ROOT, dir, 'package.json'), 'utf8')) as { version: string }).version;
}

function node(app: string, env: Record<string, string> = {}): Command {
  return { file: process.execPath, args: [resolve(APPS, app)], env };
}

function isFramework(scenario: string): boolean {
  return (FRAMEWORKS as readonly string[]).includes(scenario);
}

function tunicornApp(scenario: string): string {
  if (isFramework(scenario)) return join(FRAMEWORK_APPS, `${scenario}.mjs`);
  return join(APPS, scenario === 'fetch' ? 'fetch-hello.js' : 'handler.js');
}

/** tunicorn as its users start it: the CLI, with the app's path. */
function tunicornCommand({ port, scenario, threads, threadsGiven, workers, workerClass }: Launch): Command {
  const args = [join(ROOT, 'dist/src/cli.js'), '--worker-class', workerClass, '-w', String(workers)];
  // Its own default is what users get, and part of what is measured. With --threads, sync would be gthread.
  if (threadsGiven && workerClass !== 'sync') args.push('--threads', String(threads));
  return { file: process.execPath, args: [...args, '-b', `127.0.0.1:${port}`, tunicornApp(scenario)] };
}

function nginxCommand(file: string, { port, temp }: Launch): Command {
  writeFileSync(join(temp, '64k'), LARGE);
  writeFileSync(
    join(temp, 'nginx.conf'),
    `daemon off; worker_processes 1; pid ${temp}/pid; error_log stderr error;
${process.getuid?.() === 0 ? 'user root root;' : ''}
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; sendfile on; tcp_nopush on; open_file_cache max=10;
  client_body_temp_path ${temp}; proxy_temp_path ${temp}; fastcgi_temp_path ${temp};
  uwsgi_temp_path ${temp}; scgi_temp_path ${temp};
  default_type text/plain;
  server {
    listen 127.0.0.1:${port}; root ${temp};
    location = / { return 200 "Hello, world!"; }
  }
}
`,
  );
  return { file, args: ['-p', temp, '-e', 'stderr', '-c', join(temp, 'nginx.conf')] };
}

/** All servers that the bench knows, those not installed included (with `missing` set). */
export function allServers(workerClass: string): Server[] {
  const gunicorn = which('gunicorn');
  const nginx = which('nginx') ?? which('nginx', '/usr/sbin/nginx');
  const bun = process.env.BUN
    ? which('bun', process.env.BUN)
    : (which('bun') ?? which('bun', join(ROOT, 'node_modules/.bin/bun')));
  const cli = join(ROOT, 'dist/src/cli.js');
  return [
    {
      name: BASE,
      title: 'node:http, 1 process',
      version: process.version,
      scenarios: [...ALL, ...FRAMEWORKS],
      command: ({ scenario }) => node(isFramework(scenario) ? join(FRAMEWORK_APPS, 'node.mjs') : 'node-http.js'),
    },
    {
      name: 'cluster',
      title: `node:cluster, ${CLUSTER_PROCESSES} processes`,
      version: process.version,
      scenarios: [...REQ_RES, 'mixed'],
      command: () => node('cluster.js', { BENCH_PROCESSES: String(CLUSTER_PROCESSES) }),
    },
    {
      name: 'piscina',
      title: 'node:http + piscina task',
      version: packageVersion('node_modules/piscina'),
      scenarios: REQ_RES,
      command: ({ threads }) => node('piscina.js', { BENCH_THREADS: String(threads) }),
    },
    {
      name: OFFLOAD,
      title: 'node:http, heavy in piscina',
      version: packageVersion('node_modules/piscina'),
      scenarios: ['mixed'],
      command: ({ threads }) => node('offload.js', { BENCH_THREADS: String(threads) }),
    },
    {
      name: 'tunicorn',
      title: `tunicorn ${workerClass}`,
      version: packageVersion('.'),
      missing: existsError(cli),
      scenarios: [...ALL, ...FRAMEWORKS],
      command: tunicornCommand,
    },
    {
      name: 'gunicorn',
      title: 'gunicorn gthread, 2 x 4',
      version: gunicorn ? versionOf(gunicorn, '--version') : '',
      missing: gunicorn ? undefined : 'no gunicorn on PATH',
      scenarios: [...REQ_RES, 'mixed'],
      command: ({ port, temp }) => ({
        file: gunicorn!,
        args: ['-k', 'gthread', '-w', '2', '--threads', '4', '-b', `127.0.0.1:${port}`, '--keep-alive', '30'].concat([
          '--worker-tmp-dir',
          temp,
          '--pythonpath',
          join(ROOT, 'bench/apps'),
          'wsgi:app',
        ]),
        env: { PYTHONDONTWRITEBYTECODE: '1' },
      }),
    },
    {
      name: 'nginx',
      title: 'nginx, 1 worker, no app',
      version: nginx ? versionOf(nginx, '-v') : '',
      missing: nginx ? undefined : 'no nginx on PATH or in /usr/sbin',
      scenarios: ['hello', '64k'],
      command: (launch) => nginxCommand(nginx!, launch),
    },
    {
      name: 'bun',
      title: 'Bun.serve, 1 process',
      version: bun ? versionOf(bun, '--version') : '',
      missing: bun ? undefined : 'no bun at $BUN, on PATH or in node_modules',
      scenarios: ALL,
      command: () => ({ file: bun!, args: [join(APPS, 'bun.js')] }),
    },
  ];
}

/** What the mixed scenario compares heavy throughput with; no server, so it is not among them. */
export const CORES: Server = {
  name: 'cores',
  title: `${CLUSTER_PROCESSES} processes, no server`,
  version: process.version,
  scenarios: ['mixed'],
  command: () => node('cores.js', { BENCH_PROCESSES: String(CLUSTER_PROCESSES) }),
};

function existsError(file: string): string | undefined {
  try {
    accessSync(file);
    return undefined;
  } catch {
    return `${file} is not built`;
  }
}
