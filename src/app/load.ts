/**
 * From an app spec to an App: find the file, import it, pick the export, see what kind of handler it is.
 *
 * Every pool thread loads the app for itself, so nothing here needs the main thread, the process's working
 * directory (threads cannot chdir; cwd is an argument) or any state between calls. Each step has its own error
 * code and says the absolute path and the exports found: APP_NOT_FOUND, APP_IMPORT (the user's code threw; it is
 * the cause, with its stack), APP_EXPORT (no such export), APP_NOT_HANDLER. All carry gunicorn's exit status 4.
 *
 * A program may listen itself instead (adopt.ts). Its listener goes before its exports, unless the spec names one; without
 * a handler among the exports it is waited for, and APP_LISTEN says that the wait was in vain, APP_TLS that it is not for HTTP.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, relative, resolve } from 'node:path';
import type { TunicornError } from '../errors.js';
import type { Adoption } from './adopt.js';
import { classify, describe, isHandler, KINDS } from './classify.js';
import { importModule } from './import.js';
import { loadError, summary } from './load-error.js';
import { serverApp, upgradeHooks } from './server-app.js';
import { type AppSpec, parseSpec } from './spec.js';
import type { App, UpgradeListener } from './types.js';

const EXTENSIONS = ['.js', '.mjs', '.cjs', '.ts', '.mts', '.cts'];
/** Looked for in this order where the spec names no export. */
const USUAL_NAMES = ['app', 'handler'];

type Bag = Record<string, unknown>;

export interface LoadOptions {
  cwd: string;
  /** Programs that listen themselves are adopted: installed by the caller. Default: they are not. */
  adoption?: Adoption;
  /** For how long such a program may take to listen, ms. Default 30,000. */
  listenMs?: number;
}

/** Loads the app that spec names, relative to cwd. Throws a TunicornError with exit code APP_LOAD_ERROR. */
export async function loadApp(spec: string, options: LoadOptions): Promise<App> {
  const { adoption, cwd } = options;
  const { file, parsed } = locate(spec, cwd);
  if (adoption !== undefined) adoption.wanted = parsed.port;
  const module = await importModule(file);
  const source = relative(cwd, file) || file;
  if (adoption === undefined) return exported(module, parsed, file, source);
  if (parsed.path.length === 0) {
    if (parsed.port !== null || !hasHandler(module)) await awaitListener(adoption, file, options.listenMs ?? 30_000);
    if (adoption.server !== null) return serverApp(adoption.server, `${source}:listen()`);
    if (parsed.port !== null) throw portError(adoption, file);
  }
  let app: App;
  try {
    app = await exported(module, parsed, file, source);
  } catch (err) {
    // What the spec names has listened: `server.js:start()`.
    if (adoption.server !== null && NO_HANDLER.test((err as TunicornError).code))
      return serverApp(adoption.server, `${source}:listen()`);
    throw adoption.foreign.length === 0 ? err : tlsError(adoption, file);
  }
  // It listens late, when its database answers, say: then its server has all that the export has, and 'upgrade'.
  adoption.late = (server) => {
    if (app.kind === 'node' && parsed.path.length === 0) Object.assign(app, serverApp(server, app.source));
  };
  return app;
}

const NO_HANDLER = /^ERR_TUNICORN_APP_(NOT_HANDLER|EXPORT)$/;

/** Waits until the program listens, as far as that can still happen. */
async function awaitListener(adoption: Adoption, file: string, ms: number): Promise<void> {
  const waited = await adoption.wait(ms);
  if (waited === 'listening' || adoption.wanted !== null) return;
  if (adoption.foreign.length > 0) throw tlsError(adoption, file);
  if (waited === 'idle') return;
  throw loadError(
    'LISTEN',
    `${file} exports no handler, and no http.Server of it has called listen() within ${ms / 1000} s (--timeout). ` +
      `Accepted as exports: ${KINDS}.`,
  );
}

function portError({ wanted, foreign }: Adoption, file: string): TunicornError {
  const found = foreign.length === 0 ? 'with nothing' : `with ${foreign.join(', ')}`;
  return loadError('LISTEN', `No http.Server of ${file} listens at port ${wanted}: it listens ${found}.`);
}

function tlsError({ foreign }: Adoption, file: string): TunicornError {
  return loadError(
    'TLS',
    `${file} exports no handler and listens with ${foreign.join(', ')}, which tunicorn cannot serve: it speaks plain ` +
      'HTTP/1.1. Have a proxy in front of it end TLS, and give the handler to an http.Server of node:http.',
  );
}

/** The app among a module's exports. */
async function exported(module: Bag, parsed: AppSpec, file: string, source: string): Promise<App> {
  const found = pickExport(module, parsed, file);
  let value = found.value;
  if (parsed.args !== null) {
    if (typeof value !== 'function') {
      throw loadError(
        'EXPORT',
        `${found.name} in ${file} is ${describe(value)}, not a factory. ${listExports(module)}`,
      );
    }
    try {
      value = await (value as (...args: unknown[]) => unknown).apply(found.owner, parsed.args);
    } catch (err) {
      throw loadError('IMPORT', `${found.name}(...) in ${file} failed: ${summary(err)}`, err);
    }
  } else if (!isHandler(value) && isThenable(value)) {
    try {
      value = await value;
    } catch (err) {
      throw loadError('IMPORT', `${found.name} in ${file} is a promise that rejected: ${summary(err)}`, err);
    }
  }
  const name = parsed.args === null ? found.name : `${found.name}()`;
  try {
    const app = await classify(value, `${source}:${name}`, value === found.value ? found.owner : undefined);
    if (app !== null) {
      const upgrade = upgradeOf(value, module);
      if (upgrade !== null) app.hooks ??= upgradeHooks(upgrade);
      return app;
    }
  } catch (err) {
    throw loadError('IMPORT', `${name} in ${file} failed to start: ${summary(err)}`, err);
  }
  throw loadError(
    'NOT_HANDLER',
    `${name} in ${file} is ${describe(value)}, not a handler. Accepted: ${KINDS}. ${listExports(module)}`,
  );
}

/** The file a spec means. A file that exists under the whole spec wins over a reading of its colons. */
function locate(spec: string, cwd: string): { file: string; parsed: AppSpec } {
  const whole = resolve(cwd, spec);
  if (isFile(whole)) return { file: whole, parsed: { module: spec, path: [], port: null, args: null } };
  const parsed = parseSpec(spec);
  const file = findModule(parsed.module, cwd);
  if (file !== null) return { file, parsed };
  const base = resolve(cwd, parsed.module);
  throw loadError(
    'NOT_FOUND',
    `No app at ${base}: tried the file itself, ${EXTENSIONS.join(', ')} after it, a directory with an index or a ` +
      `package.json, and a package named ${JSON.stringify(parsed.module)}.`,
  );
}

function findModule(name: string, cwd: string): string | null {
  const base = resolve(cwd, name);
  if (isFile(base)) return base;
  for (const extension of EXTENSIONS) {
    if (isFile(base + extension)) return base + extension;
  }
  const require = createRequire(join(cwd, 'tunicorn.js'));
  if (existsSync(base)) {
    const main = tryResolve(require, base);
    if (main !== null) return main;
    for (const extension of EXTENSIONS) {
      if (isFile(join(base, `index${extension}`))) return join(base, `index${extension}`);
    }
  }
  if (name.startsWith('.') || name.startsWith('/')) return null;
  const found = tryResolve(require, name);
  // A builtin such as `http` resolves to its bare name: never an app.
  return found?.startsWith('/') ? found : null;
}

function tryResolve(require: NodeJS.Require, name: string): string | null {
  try {
    return require.resolve(name);
  } catch {
    return null;
  }
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

/** A function `upgrade` of the handler's own, or among the exports. */
function upgradeOf(value: unknown, module: Bag): UpgradeListener | null {
  const owners = [value, ...layers(module).filter((bag) => bag === module || isPlainObject(bag))];
  for (const owner of owners) {
    if (!isObject(owner) || !Object.hasOwn(owner, 'upgrade')) continue;
    if (typeof owner.upgrade === 'function') return owner.upgrade as UpgradeListener;
  }
  return null;
}

interface Found {
  name: string;
  value: unknown;
  /** What the value was read from: a factory that is a method is called on it. */
  owner: unknown;
}

function pickExport(module: Bag, spec: AppSpec, file: string): Found {
  return spec.path.length === 0 ? pickUsual(module, file) : pickNamed(module, spec.path, file);
}

/**
 * The places where an export may be: the module itself, its default (which is module.exports for CommonJS), and the
 * default of that (ES modules compiled to CommonJS).
 */
function layers(module: Bag): Bag[] {
  const found = [module];
  for (let next: unknown = module.default; found.length < 3 && isObject(next); next = next.default) found.push(next);
  return found;
}

function pickNamed(module: Bag, path: string[], file: string): Found {
  const name = path.join('.');
  for (const layer of layers(module)) {
    let owner: unknown;
    let value: unknown = layer;
    for (const part of path) {
      owner = value;
      value = isObject(value) ? value[part] : undefined;
    }
    if (value !== undefined) return { name, value, owner: owner === module ? undefined : owner };
  }
  throw loadError('EXPORT', `${file} has no export ${name}. ${listExports(module)}`);
}

/** Something among the exports is a handler, or a promise that may be for one. */
function hasHandler(module: Bag): boolean {
  const usual = USUAL_NAMES.flatMap((name) => layers(module).map((layer) => layer[name]));
  return findUsual(module) !== null || [module.default, ...usual].some(isThenable);
}

function findUsual(module: Bag): Found | null {
  const places = layers(module);
  const defaults = places.slice(1);
  // default, and the default inside it where the outer one is only a wrapper.
  for (const value of defaults) if (isHandler(value)) return { name: 'default', value, owner: undefined };
  for (const layer of places) {
    for (const name of USUAL_NAMES) {
      const value = layer[name];
      if (isHandler(value)) return { name, value, owner: undefined };
    }
  }
  if (typeof module.fetch === 'function') return { name: 'fetch', value: module, owner: undefined };
  return null;
}

function pickUsual(module: Bag, file: string): Found {
  const places = layers(module);
  const found = findUsual(module);
  if (found !== null) return found;
  // Nothing is a handler: take what was most likely meant, so that the error can say what it is.
  const names = new Set(['default', ...USUAL_NAMES]);
  for (const layer of places) {
    for (const name of names) {
      const value = layer[name];
      if (value !== undefined && !(isPlainObject(value) && Object.keys(value).length === 0))
        return { name, value, owner: undefined };
    }
  }
  throw loadError(
    'EXPORT',
    `${file} exports neither default, app, handler nor fetch. ${listExports(module)}${guardHint(file)}`,
  );
}

const GUARD = /require\.main\s*===?\s*module|module\s*===?\s*require\.main|import\.meta\.main\b|process\.argv\[1\]/;

/** What is done only where node was started with the file is not done here, as in Python. */
function guardHint(file: string): string {
  const [guard] = GUARD.exec(readFileSync(file, 'utf8')) ?? [];
  if (guard === undefined) return '';
  return ` It does something only as the main module (${guard}), which it is not here: export the app.`;
}

/** What module.exports is unless assigned: its names are exports too. */
function isPlainObject(value: unknown): value is Bag {
  return isObject(value) && Object.getPrototypeOf(value) === Object.prototype;
}

function listExports(module: Bag): string {
  const found = new Map<string, unknown>();
  for (const layer of layers(module).filter((bag) => bag === module || isPlainObject(bag))) {
    for (const name of Object.keys(layer)) {
      if (name !== 'module.exports' && name !== '__esModule' && !found.has(name)) found.set(name, layer[name]);
    }
  }
  if (found.size === 0) return 'It exports nothing.';
  const shown = [...found].slice(0, 20).map(([name, value]) => `${name} (${describe(value)})`);
  return `Exports found: ${shown.join(', ')}${found.size > 20 ? ', ...' : ''}.`;
}

function isObject(value: unknown): value is Bag {
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return isObject(value) && typeof value.then === 'function';
}
