/**
 * What a reload (HUP) has to decide before workers hear of it: whether a worker can take the new config as it lives, its
 * threads being swapped under its connections, or only a new process will do; and which listening sockets a new `bind` means.
 */
import { isDeepStrictEqual } from 'node:util';
import { LOG_SETTINGS } from '../config/logging.js';
import type { Config, SettingKey } from '../config/settings.js';
import type { Logger } from '../log.js';
import { mostThreads } from '../messages.js';
import { native } from '../native/binding.js';
import { closeSockets, createSockets, type Listener } from './sock.js';

/** Settings that a worker reads once, at its start; all others come with fresh threads. */
const NEEDS_PROCESS: readonly SettingKey[] = [
  'bind',
  'backlog',
  'workerClass',
  'threadPool',
  'threadMemory',
  'workerConnections',
  'statusBind',
  'healthPath',
  'threadConcurrency',
  'maxQueue',
  'queueTimeout',
  'deadlineHeader',
  'proxyProtocol',
  'proxyAllowIps',
  'accesslog',
  'accessLogFormat',
  'loglevel',
  'errorlog',
  ...LOG_SETTINGS.map(({ key }) => key),
  'chdir',
  'procName',
  'rawEnv',
  'user',
  'group',
  'initgroups',
];

/** True if a worker that was booted with one config cannot take the other while it lives. */
export function needsProcess(booted: Config, config: Config): boolean {
  // The app of a sync worker lives on its main thread.
  if (config.workerClass === 'sync' || config.threads > mostThreads(booted.threads)) return true;
  // With TLS it has a thread more, and connections that begin otherwise; new certificates come as it lives.
  if ((booted.certfile === null) !== (config.certfile === null)) return true;
  return NEEDS_PROCESS.some((key) => !isDeepStrictEqual(booted[key], config[key]));
}

/** What a socket gets when it is made, and keeps. */
const ONCE = ['reusePort', 'umask'] as const;

/** What listening sockets are made of. */
type Addresses = Pick<Config, 'bind' | 'backlog' | 'reusePort' | 'umask' | 'user' | 'group'>;

/**
 * Listeners for the new config, in its order: those whose address stays are kept, others opened and closed.
 * @param options.unlink also removes the files of unix sockets that are closed: no other arbiter listens at them.
 * @returns null if `pause` gave up: nothing has changed then.
 * @throws {TunicornError} ERR_TUNICORN_LISTEN: nothing has changed.
 */
export async function rebind(
  listeners: readonly Listener[],
  old: Addresses,
  config: Addresses,
  options: { log: Logger; pause: (ms: number) => Promise<boolean>; unlink: boolean },
): Promise<Listener[] | null> {
  const { bind, backlog } = config;
  const left = [...old.bind];
  const kept = bind.map((address) => {
    const i = left.indexOf(address);
    // The same text may stand for several sockets: those with port 0.
    if (i >= 0) left[i] = '';
    return listeners[i];
  });
  const missing = bind.filter((_, i) => kept[i] === undefined);
  const leaving = listeners.filter((listener) => !kept.includes(listener));
  const opened = await createSockets({ ...config, bind: missing, leaving, ...options });
  if (opened === null) return null;
  closeSockets(leaving, options.unlink);
  const fixed = ONCE.filter((key) => config[key] !== old[key]);
  if (fixed.length > 0 && kept.some((listener) => listener !== undefined)) {
    options.log.warning(`Sockets that are open keep what they have of: ${fixed.join(', ')}`);
  }
  return kept.map((listener) => {
    if (listener === undefined) return opened.shift() as Listener;
    // Linux takes a second listen() for a new backlog.
    if (backlog !== old.backlog) native.listen(listener.fd, backlog);
    return listener;
  });
}
