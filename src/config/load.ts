/**
 * All settings, from everywhere: reads the configuration file that the command line, $TUNICORN_CMD_ARGS or the current folder
 * names, and puts the layers together. Called at the start and, with the same arguments, again at each HUP.
 */
import type { Command } from './argv.js';
import { type Built, buildConfig, readObject, usageError, type Values } from './config.js';
import { findConfigFile, loadConfigFile } from './file.js';
import { folderAt, presentFolder } from './folders.js';
import { type Hook, type Hooks, keepHooks } from './hooks.js';
import type { Env } from './settings.js';

/** What was there when the command was given; a later reload goes by the same. */
export interface Surroundings {
  env: Env;
  /** Folder in which the command was given (folders.ts): the configuration file's path and --chdir start there. */
  cwd: string;
}

export interface Loaded extends Built {
  /** Functions of the configuration file, by camelCase name. The config remembers them, too (hooks.ts). */
  hooks: Hooks;
  /** Absolute path of the configuration file; null if there is none. */
  file: string | null;
}

/**
 * Reads the file, if there is one, and builds the Config. Meanwhile the process's current folder is `at.cwd`.
 * @throws {TunicornError} ERR_TUNICORN_CONFIG, exit status 2: refused value of the command line or the environment, no app, `at.cwd` is gone;
 *   ERR_TUNICORN_CONFIG_FILE, exit status 1: no such file, what it threw (as cause), or a refused value in it.
 */
export async function loadConfig(command: Command, at: Surroundings): Promise<Loaded> {
  const before = presentFolder();
  if (folderAt(at.cwd) === null) {
    throw usageError(`the folder in which tunicorn was started is gone: ${at.cwd}. Start it in one that stays`);
  }
  process.chdir(at.cwd);
  try {
    const file = findConfigFile(command.config, at.cwd);
    const layers: Values[] = [...command.layers];
    let read = new Map<string, Hook>();
    if (file !== null) {
      const { values, hooks } = readObject(await loadConfigFile(file, at.env), file);
      layers.unshift(values);
      read = hooks;
    }
    const built = buildConfig(layers, at.env, at.cwd);
    const hooks: Hooks = Object.fromEntries(read);
    if (file !== null) keepHooks(built.config, hooks, file, at.env);
    return { ...built, hooks, file };
  } finally {
    if (before !== null) process.chdir(before);
  }
}
