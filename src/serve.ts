/** What the command and run() share: from settings to an arbiter that serves. */
import { Arbiter } from './arbiter/arbiter.js';
import type { Loaded } from './config/load.js';

/** Settings as they were read; the hooks of a configuration file come with its config. */
export type Settings = Pick<Loaded, 'config'>;

/**
 * Changes to the folder `chdir` and serves until told to stop.
 * @param reread gives the settings anew, at HUP; without it they stay as they are and only the app is loaded anew.
 * @returns the exit status.
 * @throws {TunicornError} ERR_TUNICORN_LOG if the error log cannot be opened.
 */
export async function serve(first: Settings, reread?: () => Promise<Settings>): Promise<number> {
  process.chdir(first.config.chdir);
  const arbiter = new Arbiter(first.config, { reread: reread && (async () => (await reread()).config) });
  return await arbiter.run();
}
