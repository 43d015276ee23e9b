/**
 * tunicorn's public API.
 *
 *     import { run } from 'tunicorn';
 *     process.exitCode = await run({ app: 'app.js', workers: 2, bind: ['127.0.0.1:8000'] });
 */
import { type ConfigInput, createConfig, type SettingsInput, usageError } from './config/config.js';
import type { HookSettings } from './hooks/types.js';
import './origin.js';
import { serve } from './serve.js';

export type { ConfigInput, SettingsInput } from './config/config.js';
export type { Config, LogLevel, WorkerClass } from './config/settings.js';
export { TunicornError } from './errors.js';
export type {
  HookChild,
  HookEnviron,
  HookFunctions,
  HookResponse,
  HookServer,
  HookServerView,
  HookSettings,
  HookThread,
  HookWorker,
} from './hooks/types.js';
export { type ClientInfo, clientInfo, requestSignal, setRequestTimeout } from './request.js';
export { version } from './version.js';

/** A handler in Node's manner: `export default (req, res) => { ... }`; Express and Koa apps' callbacks are such. */
export type NodeHandler = (
  req: import('node:http').IncomingMessage,
  res: import('node:http').ServerResponse,
) => unknown;

/** A handler in the manner of the Fetch API: `export default { fetch(request) { return new Response('hello') } }`. */
export interface FetchHandler {
  fetch(request: Request): Response | Promise<Response>;
}

/**
 * Serves an app: opens the sockets, starts the workers, and looks after them until TERM, INT or QUIT. This process becomes
 * the arbiter: it changes to the folder `chdir`, takes over the signals meanwhile, and loads no app code itself.
 * @param settings `app` and any settings, under the names of Config; the others have their defaults.
 * @returns the exit status: 0 after TERM, INT or QUIT; 1 if it cannot listen; 3 if a worker cannot boot; 4 if the app cannot
 *   be loaded.
 * @throws {TunicornError} ERR_TUNICORN_CONFIG on an unknown or refused setting, or `daemon`, ERR_TUNICORN_LOG if the error log cannot be
 *   opened.
 */
export async function run(settings: ConfigInput): Promise<number> {
  const config = createConfig(settings);
  if (config.daemon)
    throw usageError('daemon: a process can only be started in the background by the command tunicorn');
  return await serve({ config });
}

/** What a configuration file may hold: any settings, in gunicorn's spelling or camelCase, and hooks. */
export type FileConfig = SettingsInput & HookSettings;

/** The default export of a configuration file. */
export type ConfigExport =
  | FileConfig
  | Promise<FileConfig>
  | ((env: Record<string, string | undefined>) => FileConfig | Promise<FileConfig>);

/**
 * Returns what it is given: in a configuration file, it has an editor complete and check the names and values.
 *
 *     export default defineConfig({ app: 'app.js', workers: 2 });
 */
export function defineConfig(config: Promise<FileConfig>): Promise<FileConfig>;
export function defineConfig<T extends (env: Record<string, string | undefined>) => FileConfig | Promise<FileConfig>>(
  config: T,
): T;
// No type parameter: names that do not exist are found only where the type is fixed. The last one is what errors speak of.
export function defineConfig(config: FileConfig): FileConfig;
export function defineConfig(config: ConfigExport): ConfigExport {
  return config;
}
