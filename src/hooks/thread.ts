/**
 * The hooks that a pool thread calls: post_thread_init and thread_exit at the ends of its life, and those around requests, which
 * thread/request-hooks.ts puts around the app. The configuration file is imported only if it has some.
 */
import type { Hooks } from '../config/hooks.js';
import { WORKER_BOOT_ERROR } from '../errors.js';
import { hookFailed } from './call.js';
import type { HookThread } from './types.js';

export class ThreadHooks {
  readonly thread: HookThread;
  readonly preRequest: Hooks['preRequest'];
  readonly postRequest: Hooks['postRequest'];
  readonly #hooks: Hooks;

  constructor(hooks: Hooks, thread: HookThread) {
    this.thread = thread;
    this.#hooks = hooks;
    this.preRequest = hooks.preRequest;
    this.postRequest = hooks.postRequest;
  }

  /** The app is loaded, no request has come: post_thread_init. @throws {TunicornError} ERR_TUNICORN_HOOK, exit status 3. */
  async postThreadInit(): Promise<void> {
    try {
      await this.#hooks.postThreadInit?.(this.thread);
    } catch (err) {
      throw hookFailed('postThreadInit', err, WORKER_BOOT_ERROR);
    }
  }

  /** The thread has finished what it had: thread_exit. What it throws is logged. */
  async threadExit(): Promise<void> {
    try {
      await this.#hooks.threadExit?.(this.thread);
    } catch (err) {
      this.thread.log.warning('Exception during thread exit', err);
    }
  }
}

/**
 * The hooks of this thread; null: none are to be called.
 * @throws {TunicornError} ERR_TUNICORN_CONFIG_FILE: the file cannot be read (any more).
 */
export async function loadThreadHooks(thread: HookThread): Promise<ThreadHooks | null> {
  const source = thread.cfg.hookSource;
  if (source === undefined || source.thread.length === 0) return null;
  const { importHooks } = await import('./load.js');
  return new ThreadHooks(await importHooks(source), thread);
}
