/** What the command and run() share: from settings to an arbiter that serves. */
import { Arbiter } from './arbiter/arbiter.js';
import type { Loaded } from './config/load.js';

/** Settings as they were first read; only the config without a configuration file. */
export type Settings = Pick<Loaded, 'config'> & Partial<Pick<Loaded, 'hooks'>>;

/**
 * Changes to the folder `chdir` and serves until told to stop.
 * @param reread gives the settings anew, at HUP; without it they stay as they are and only the app is loaded anew.
 * @returns the exit status.
 * @throws {TunicornError} ERR_TUNICORN_LOG if the error log cannot be opened.
 */
export async function serve(first: Settings, reread?: () => Promise<Settings>): Promise<number> {
  process.chdir(first.config.chdir);
  const arbiter = new Arbiter(first.config, { reread: reread && (async () => (await reread()).config) });
  const hooks = Object.keys(first.hooks ?? {});
  if (hooks.length > 0) arbiter.log.warning(`Hooks are not called yet: ${hooks.join(', ')}`);
  return await arbiter.run();
}
