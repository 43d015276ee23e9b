/**
 * From raw values to a Config. Values come in layers, later ones win: defaults ($PORT, $WEB_CONCURRENCY in their place, as
 * gunicorn), the configuration file, $TUNICORN_CMD_ARGS, the command line; or the object passed to run(). Every value goes
 * through the kind of its setting, also one that a later layer replaces, but for those of the environment, which may be meant
 * for other programs; what is refused ends in one TunicornError that says where the value came from and what is accepted.
 */
import { resolve } from 'node:path';
import { TunicornError, USAGE_ERROR } from '../errors.js';
import { currentFolder, folderAt } from './folders.js';
import { type Hook, readHook } from './hooks.js';
import { explainUnknown, lookUp } from './names.js';
import { type Config, type Env, type Setting, type SettingKey, settingList } from './settings.js';
import { InvalidValue, show } from './validate.js';

/** 'worker_class' for 'workerClass'. */
export type Snake<S extends string> = S extends `${infer First}${infer Rest}`
  ? `${First extends Lowercase<First> ? First : `_${Lowercase<First>}`}${Snake<Rest>}`
  : S;

/** Any subset of the settings, under gunicorn's names or in camelCase. Values may be strings, as from a command line. */
export type SettingsInput = { [K in SettingKey]?: Config[K] | string } & {
  [K in SettingKey as Snake<K>]?: Config[K] | string;
} & { wsgi_app?: string };

/** What run() takes: the app, and any settings. */
export type ConfigInput = SettingsInput & { app: string };

/** A raw value and where it came from: '--workers', '$PORT', 'workers', '/srv/tunicorn.conf.js: workers'. */
export interface RawValue {
  value: unknown;
  source: string;
  /** It is from a configuration file. */
  inFile?: boolean;
}

/** One layer: raw values by setting key. */
export type Values = ReadonlyMap<string, RawValue>;

/** An error of usage: bad flag, bad value, no app. Code ERR_TUNICORN_CONFIG, exit status 2. */
export function usageError(message: string): TunicornError {
  return new TunicornError('ERR_TUNICORN_CONFIG', message, { exitCode: USAGE_ERROR });
}

/** An error in a configuration file. Code ERR_TUNICORN_CONFIG_FILE, exit status 1 (gunicorn's). */
export function fileError(message: string, cause?: unknown): TunicornError {
  return new TunicornError('ERR_TUNICORN_CONFIG_FILE', message, { exitCode: 1, cause });
}

function refuse(raw: RawValue | undefined, message: string): TunicornError {
  return (raw?.inFile ? fileError : usageError)(message);
}

/** Runs a reader of a value; its InvalidValue becomes an error that names the source. */
function reading<T>(raw: RawValue, read: (value: unknown) => T): T {
  try {
    return read(raw.value);
  } catch (err) {
    if (err instanceof InvalidValue) throw refuse(raw, `${raw.source}: ${err.message}`);
    throw err;
  }
}

function defaultValue(setting: Setting, env: Env): { value: unknown; source: string } {
  const raw = setting.env && env[setting.env.variable];
  if (!setting.env || raw === undefined || (raw === '' && !setting.env.empty))
    return { value: setting.default(), source: 'default' };
  const source = `$${setting.env.variable}`;
  return { value: reading({ value: setting.env.value(raw), source }, setting.kind.parse), source };
}

export interface Built {
  config: Config;
  /** Where each value came from: 'default', '$PORT', or the source of its raw value. */
  sources: ReadonlyMap<SettingKey, string>;
}

/**
 * Builds a Config out of layers, the weakest first.
 * @param cwd folder from which --chdir goes. Default: the current one.
 * @throws {TunicornError} ERR_TUNICORN_CONFIG (ERR_TUNICORN_CONFIG_FILE for what is in a file) on a refused value, no app, a
 *   --chdir that is no folder, or an address that --bind and --status-bind share.
 */
export function buildConfig(layers: readonly Values[], env: Env = process.env, cwd = currentFolder()): Built {
  const config: Record<string, unknown> = {};
  const sources = new Map<SettingKey, string>();
  const given = new Map<string, RawValue>();
  for (const setting of settingList) {
    const raws = layers.map((layer) => layer.get(setting.key)).filter((raw) => raw !== undefined);
    const values = raws.map((raw) => ({ value: reading(raw, setting.kind.parse), source: raw.source }));
    const { value, source } = values.at(-1) ?? defaultValue(setting, env);
    const last = raws.at(-1);
    if (last !== undefined) given.set(setting.key, last);
    config[setting.key] = value;
    sources.set(setting.key as SettingKey, source);
  }
  const built = config as unknown as Config;
  // As in gunicorn; a number that nobody has asked for says nothing.
  if (given.has('threads') && built.threads > 1) built.workerClass = 'gthread';
  built.chdir = resolve(cwd, built.chdir);
  checkTogether(built, given);
  return { config: built, sources };
}

/** What depends on more than one value. */
function checkTogether(config: Config, given: Values): void {
  if (config.app.trim() === '') {
    throw usageError("no app given: name a file or module, as in 'app.js', 'app:handler' or 'app:create()'");
  }
  const at = (key: SettingKey) => given.get(key)?.source ?? key;
  if (folderAt(config.chdir) === null) {
    throw refuse(given.get('chdir'), `${at('chdir')}: ${show(config.chdir)} is not a folder`);
  }
  const both = config.statusBind.find((address) => config.bind.includes(address));
  if (both !== undefined && !both.endsWith(':0')) {
    throw refuse(given.get('statusBind'), `${at('statusBind')}: ${show(both)} is an address of --bind already`);
  }
  if (config.certfile !== null && config.proxyProtocol !== 'off') {
    const why = 'PROXY headers are not read before TLS: have the proxy end TLS, or leave one of the two out';
    throw refuse(given.get('proxyProtocol'), `${at('proxyProtocol')} and ${at('certfile')}: ${why}`);
  }
}

/**
 * Reads an object of settings and hooks; a key set to undefined counts as not given.
 * @param file the configuration file it is from, for messages; null: it is an argument of run().
 * @throws {TunicornError} unknown name, a name in two spellings, a hook that is no function.
 */
export function readObject(object: object, file: string | null): { values: Values; hooks: Map<string, Hook> } {
  const inFile = file !== null;
  const values = new Map<string, RawValue>();
  const hooks = new Map<string, Hook>();
  const written = new Map<string, string>();
  const prefix = inFile ? `${file}: ` : '';
  for (const [name, value] of Object.entries(object)) {
    if (value === undefined) continue;
    const raw: RawValue = { value, source: `${prefix}${name}`, inFile };
    const named = lookUp(name);
    if (named === undefined) throw refuse(raw, `${prefix}${explainUnknown(name)}`);
    const { key } = 'hook' in named ? named.hook : named.setting;
    const before = written.get(key);
    if (before !== undefined)
      throw refuse(raw, `${prefix}${before} and ${name} are the same setting: give one of them`);
    written.set(key, name);
    if ('hook' in named) hooks.set(key, reading(raw, readHook));
    else values.set(key, raw);
  }
  return { values, hooks };
}

/**
 * Builds a Config from an object, for use as a library. Unknown keys are refused with the nearest name.
 * @throws {TunicornError} ERR_TUNICORN_CONFIG
 */
export function createConfig(input: ConfigInput, env: Env = process.env): Config {
  const { values, hooks } = readObject(input, null);
  for (const key of hooks.keys()) throw usageError(`${key} is a hook: hooks belong in a configuration file`);
  return buildConfig([values], env).config;
}
