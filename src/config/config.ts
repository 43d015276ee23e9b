/**
 * From raw values to a Config. Later layers win: defaults, then the environment ($PORT, $WEB_CONCURRENCY, as gunicorn),
 * then what the caller gives (the command line, or the object passed to run()). Every value goes through the kind of its
 * setting; what is refused ends in one TunicornError that says where the value came from and what is accepted.
 */
import { statSync } from 'node:fs';
import { TunicornError, USAGE_ERROR } from '../errors.js';
import { type Config, type Env, type Setting, type SettingKey, settingList } from './settings.js';
import { hint, InvalidValue, show } from './validate.js';

/** What a caller may give: any subset of the settings, and the app. Values may be strings, as from a command line. */
export type ConfigInput = { app: string } & { [K in SettingKey]?: Config[K] | string };

/** A raw value and where it came from: '--workers', '$PORT', 'workers'. */
export interface RawValue {
  value: unknown;
  source: string;
}

/** An error of usage: bad flag, bad value, no app. Code ERR_TUNICORN_CONFIG, exit status 2. */
export function usageError(message: string): TunicornError {
  return new TunicornError('ERR_TUNICORN_CONFIG', message, { exitCode: USAGE_ERROR });
}

function readValue(setting: Setting, raw: RawValue): unknown {
  try {
    return setting.kind.parse(raw.value);
  } catch (err) {
    if (err instanceof InvalidValue) throw usageError(`${raw.source}: ${err.message}`);
    throw err;
  }
}

function defaultValue(setting: Setting, env: Env): unknown {
  const raw = setting.env && env[setting.env.variable];
  if (!setting.env || raw === undefined || raw === '') return setting.default();
  return readValue(setting, { value: setting.env.value(raw), source: `$${setting.env.variable}` });
}

/**
 * Builds a Config out of raw values by setting key.
 * @param app the app spec; refused if missing or empty.
 * @throws {TunicornError} ERR_TUNICORN_CONFIG on a refused value, a --chdir that is no folder, or an address that --bind
 *   and --status-bind share.
 */
export function buildConfig(app: unknown, raw: ReadonlyMap<string, RawValue>, env: Env = process.env): Config {
  const config: Record<string, unknown> = {};
  for (const setting of settingList) {
    const given = raw.get(setting.key);
    config[setting.key] = given ? readValue(setting, given) : defaultValue(setting, env);
  }
  if (typeof app !== 'string' || app.trim() === '') {
    throw usageError("no app given: name a file or module, as in 'app.js', 'app:handler' or 'app:create()'");
  }
  config.app = app;
  const dir = config.chdir as string;
  if (!statSync(dir, { throwIfNoEntry: false })?.isDirectory()) {
    throw usageError(`${raw.get('chdir')?.source ?? 'chdir'}: ${show(dir)} is not a folder`);
  }
  const both = (config.statusBind as string[]).find((address) => (config.bind as string[]).includes(address));
  if (both !== undefined && !both.endsWith(':0')) {
    throw usageError(`${raw.get('statusBind')?.source ?? 'statusBind'}: ${show(both)} is an address of --bind already`);
  }
  return config as unknown as Config;
}

/**
 * Builds a Config from an object, for use as a library. Keys are those of Config; a key set to undefined counts as
 * not given; unknown keys are refused with the nearest name.
 * @throws {TunicornError} ERR_TUNICORN_CONFIG
 */
export function createConfig(input: ConfigInput, env: Env = process.env): Config {
  const keys = settingList.map((s) => s.key);
  const raw = new Map<string, RawValue>();
  for (const [key, value] of Object.entries(input)) {
    if (key === 'app' || value === undefined) continue;
    if (!keys.includes(key)) throw usageError(`unknown setting ${show(key)}${hint(key, keys)}`);
    raw.set(key, { value, source: key });
  }
  return buildConfig(input.app, raw, env);
}
