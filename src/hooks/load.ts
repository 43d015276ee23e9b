/**
 * Imports the configuration file for its hooks, in a worker or in a thread of one. Each has a copy of the module of its own: what
 * one writes into the module's variables the others do not see. In class sync, where worker and thread are one, there is one copy.
 */
import { readObject } from '../config/config.js';
import { loadConfigFile } from '../config/file.js';
import type { HookSource, Hooks } from '../config/hooks.js';
import { TunicornError, WORKER_BOOT_ERROR } from '../errors.js';

let last: { reading: number; hooks: Promise<Hooks> } | null = null;

/**
 * The hooks of the file as it is now; those of the same reading of the arbiter's are imported once.
 * @throws {TunicornError} ERR_TUNICORN_CONFIG_FILE, exit status 3: it cannot be read (any more).
 */
export function importHooks({ file, env, reading }: HookSource): Promise<Hooks> {
  if (last?.reading !== reading) last = { reading, hooks: read(file, env) };
  return last.hooks;
}

async function read(file: string, env: HookSource['env']): Promise<Hooks> {
  try {
    return Object.fromEntries(readObject(await loadConfigFile(file, env), file).hooks);
  } catch (err) {
    if (!(err instanceof TunicornError)) throw err;
    const { code, message, cause } = err;
    throw new TunicornError(code, message, { exitCode: WORKER_BOOT_ERROR, cause });
  }
}
