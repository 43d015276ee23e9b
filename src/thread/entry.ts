/**
 * A pool thread's life, as one task of the pool's host: set up, load the app, serve (pool-thread.ts) until told to stop, end in
 * peace. Started by the file's URL.
 */
import { isMainThread, type MessagePort, threadId } from 'node:worker_threads';
import { Adoption } from '../app/adopt.js';
import { installGlobals } from '../app/fetch-handler.js';
import { loadApp } from '../app/load.js';
import { loadError } from '../app/load-error.js';
import { listenersOf } from '../app/server-app.js';
import type { App } from '../app/types.js';
import { bootMs } from '../config/boot-time.js';
import { APP_LOAD_ERROR, TunicornError, WORKER_BOOT_ERROR } from '../errors.js';
import { loadThreadHooks, type ThreadHooks } from '../hooks/thread.js';
import { threadServer } from '../http/observe.js';
import { installSendfile } from '../http/sendfile.js';
import { ProcessLogs } from '../log/process-logs.js';
import type { Logger } from '../log.js';
import { native, SCHED_OTHER } from '../native/binding.js';
import { appListens, listen } from '../own-listeners.js';
import type { MainToThread, ThreadTask } from '../pool/messages.js';
import { C, Shared, T } from '../shared/memory.js';
import { Ending } from './ending.js';
import { PoolThread, send } from './pool-thread.js';
import { guardProcess } from './process-wide.js';
import { openShared } from './shared-port.js';
import { takeStdio } from './stdio.js';

/** The task: resolves when the thread has stopped in peace. */
export default async function life(task: ThreadTask): Promise<void> {
  const { config, port, slot } = task;
  const logs = new ProcessLogs(config, task.logs);
  const { log } = logs;
  let thread: PoolThread | undefined;
  const shared = new Shared(task.shared);
  native.loopRegister(slot, shared.control, shared.threadWord(slot, T.INFLIGHT));
  Atomics.store(shared.control, shared.threadWord(slot, T.TID), native.gettid());
  // In the sync class this is the worker's main thread, which has its name and its heap.
  if (!isMainThread) {
    native.setThreadName(`tunicorn-t${slot}`);
    native.heapGuard(shared.control, shared.threadWord(slot, T.FULL), task.shared.mainWake);
  }
  for (const [event, kind] of [
    ['uncaughtException', 'Uncaught exception'],
    ['unhandledRejection', 'Unhandled rejection'],
  ] as const) {
    listen(event, (error) => {
      if (thread) thread.stray(kind, error, log, appListens(event));
      else throw error;
    });
  }
  let app: App;
  let hooks: ThreadHooks | null = null;
  let ending: Ending;
  let endOutput = () => {};
  try {
    endOutput = takeStdio(logs, config.captureOutput);
    installGlobals();
    ending = new Ending(log);
    guardProcess(!isMainThread);
    if (config.sendfile) installSendfile();
    const quiet = Atomics.compareExchange(shared.control, C.ADOPTION_TOLD, 0, 1) !== 0;
    const adoption = new Adoption({ address: task.address || 'http://127.0.0.1:8000', log, quiet, openShared });
    adoption.install();
    // Less than a thread may take that replaces another one, so that its error is told and not its end.
    const listenMs = 0.9 * bootMs(config) || undefined;
    const { pid, ppid } = process;
    hooks = await loadThreadHooks({ pid, ppid, age: task.workerAge, slot, threadId, cfg: config, log });
    const zone = process.env.TZ;
    app = await tellingExit(config.app, port, log, () =>
      loadApp(config.app, { cwd: config.chdir, adoption, listenMs }),
    );
    if (!quiet && !isMainThread) warnOfZone(zone, log);
    // What finds the thread's own server at req.socket.server (http-proxy-middleware does) may listen there.
    if (app.kind === 'node') app.hooks ??= listenersOf(threadServer());
    if (hooks !== null) app = await hooked(app, hooks);
    thread = new PoolThread(task, app, logs, ending);
  } catch (error) {
    sendFailed(port, error);
    return;
  }
  const running = thread;
  // It was started as one that gives way (pool/roster.ts).
  native.setPolicy(0, SCHED_OTHER);
  let end = 0;
  port.on('message', (message: MainToThread) => {
    if (message.type !== 'stop') return;
    end = performance.now() + message.ms;
    running.stop();
  });
  send(port, { type: 'ready', threadId });
  running.open();
  await running.ended;
  // Whatever ends it from here on, no request is in its hands.
  send(port, { type: 'stopped' });
  await ending.run(Math.max(0, end - performance.now()));
  try {
    await app.close?.();
  } catch (error) {
    log.error('Error while closing the app', error);
  }
  await hooks?.threadExit();
  endOutput();
  port.close();
  logs.close();
}

function sendFailed(port: MessagePort, error: unknown): void {
  const known = error instanceof TunicornError;
  send(port, {
    type: 'failed',
    code: known ? error.code : 'ERR_TUNICORN_THREAD',
    message: error instanceof Error ? error.message : String(error),
    stack: causeStack(error),
    exitCode: known && error.exitCode === APP_LOAD_ERROR ? APP_LOAD_ERROR : WORKER_BOOT_ERROR,
  });
}

/** Node lets the main thread alone set the time zone; an app would find wrong hours without a word. */
function warnOfZone(before: string | undefined, log: Logger): void {
  const { TZ } = process.env;
  if (TZ === before || TZ === undefined) return;
  log.warning(`The app sets TZ to ${TZ}, which has no effect in threads: start tunicorn with --env TZ=${TZ}.`);
}

/** What load() gives. An app that exits meanwhile is known as one. */
async function tellingExit<T>(app: string, port: MessagePort, log: Logger, load: () => Promise<T>): Promise<T> {
  const told = (code: number): void => {
    const call = `process.exit(${code})`;
    const error = loadError('EXIT', `${app} called ${call} while it was loaded.`, new Error(call));
    if (!isMainThread) return sendFailed(port, error);
    // Class sync: nobody is there any more to take a message.
    log.error(`${error.code}: ${error.message}`, error.cause);
    process.exitCode = APP_LOAD_ERROR;
  };
  process.once('exit', told);
  try {
    return await load();
  } finally {
    process.off('exit', told);
  }
}

/** post_thread_init, and the app with the hooks around its handler, if there are any. */
async function hooked(app: App, hooks: ThreadHooks): Promise<App> {
  await hooks.postThreadInit();
  const { hasRequestHooks, withRequestHooks } = await import('./request-hooks.js');
  return hasRequestHooks(hooks) ? withRequestHooks(app, hooks) : app;
}

/** The user's own stack, where an app failed to load. */
function causeStack(error: unknown): string {
  const cause = error instanceof TunicornError ? error.cause : error;
  return cause instanceof Error ? (cause.stack ?? '') : '';
}
