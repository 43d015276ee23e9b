/**
 * The configuration file: a JavaScript module (TypeScript where this Node reads it) whose default export is an object of
 * settings and hooks, a function of the environment that returns one, or a promise of either. It is the operator's code and
 * the only code of others that runs in the arbiter; it is read anew each time, what it imports is not.
 */
import { realpathSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, extname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { fileError, usageError } from './config.js';
import { ownPlace, syntaxPlace } from './place.js';
import type { Env } from './settings.js';
import { show } from './validate.js';

/** Looked for in the current folder, unless a file is named. */
export const DEFAULT_FILES = ['.js', '.mjs', '.cjs', '.ts'].map((extension) => `tunicorn.conf${extension}`);
const EXTENSIONS = ['.js', '.mjs', '.cjs', '.ts', '.mts', '.cts'];
/** Time that a file may take, ms; a reload waits for it. */
const PATIENCE_MS = 10_000;

/** How many times a file has been read in this process: makes each import a new one. */
let reads = 0;

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

/**
 * The file to read, absolute; null if none is named and none of the usual ones is in `cwd`.
 * @param named what --config says: PATH or file:PATH.
 * @throws {TunicornError} it does not exist or is of no kind that can be read; several of the usual ones exist.
 */
export function findConfigFile(named: string | null, cwd: string): string | null {
  if (named === null) {
    const found = DEFAULT_FILES.map((name) => join(cwd, name)).filter(isFile);
    if (found.length > 1) {
      const names = found.map((path) => basename(path)).join(' and ');
      throw fileError(`${names} are both in ${cwd}: say which one by --config`);
    }
    return found[0] ?? null;
  }
  if (/^python:/.test(named))
    throw usageError(`--config: ${show(named)}: there are no Python modules here, give a path`);
  const path = resolve(cwd, named.replace(/^file:/, ''));
  if (!isFile(path)) throw fileError(`--config: there is no file ${path}`);
  if (!EXTENSIONS.includes(extname(path))) {
    throw fileError(`--config: ${path} is no configuration file: its name has to end in ${EXTENSIONS.join(', ')}`);
  }
  return path;
}

/**
 * Runs a configuration file and returns its object, unchecked.
 * @param env what a function is called with (a copy).
 * @param patience how long it may take, ms. Default 10 s.
 * @throws {TunicornError} ERR_TUNICORN_CONFIG_FILE: it threw (the cause) or has a syntax error, each with the place; it takes
 *   too long; its default export is no object.
 */
export async function loadConfigFile(file: string, env: Env, patience = PATIENCE_MS): Promise<object> {
  let value: unknown;
  try {
    value = await within(patience, file, run(file, env));
  } catch (err) {
    throw await explain(file, err);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  const what = value === undefined ? 'has no default export' : `exports ${show(value)} by default`;
  throw fileError(`${file} ${what}: an object of settings, or a function that returns one, is needed`);
}

async function run(file: string, env: Env): Promise<unknown> {
  const require = createRequire(file);
  // Node remembers for ever where a symbolic link has pointed to.
  const real = realpathSync(file);
  // CommonJS modules are kept by path, ES modules by URL.
  delete require.cache[real];
  const module = (await import(`${pathToFileURL(real).href}?read=${++reads}`)) as { default?: unknown };
  let value = module.default;
  // An ES module compiled to CommonJS.
  if (isRecord(value) && value.__esModule === true) value = value.default;
  value = await value;
  return typeof value === 'function' ? await value({ ...env }) : value;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

async function within<T>(ms: number, file: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(fileError(`${file} takes longer than ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function explain(file: string, err: unknown): Promise<Error> {
  const code = (err as { code?: unknown } | null)?.code;
  if (code === 'ERR_TUNICORN_CONFIG_FILE') return err as Error;
  if (code === 'ERR_UNKNOWN_FILE_EXTENSION' && /\.[mc]?ts$/.test(file)) {
    return fileError(`${file}: Node ${process.version} cannot read TypeScript by itself; write it in JavaScript`);
  }
  const text = err instanceof Error ? `${err.name}: ${err.message}` : `it threw ${show(err)}`;
  const place = err instanceof SyntaxError ? await syntaxPlace(file) : ownPlace(err, file);
  return fileError(`cannot read ${file}: ${text}${place && ` (at ${place})`}`, err);
}
