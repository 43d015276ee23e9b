/**
 * What --reload watches, as paths for the watching library (watch.ts), each with the files of it that count.
 *
 * Which files a thread has loaded cannot be seen from outside: ES modules are in no cache that can be read. So it is the files
 * with code in the app's package that count. That takes in modules that are loaded late, new ones, and the one that keeps
 * the app from loading; a file that is never loaded costs a reload that was not needed, and a reload costs no request.
 */
import { existsSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import type { Config } from '../config/settings.js';

/** A place to watch. */
export interface Place {
  /** Absolute: files and folders; they need not exist. */
  paths: string[];
  /** Whether a path does not count. Asked before it is known what it is (no stats), and again with stats. */
  ignored(path: string, stats?: { isFile(): boolean }): boolean;
}

/** Files that hold code, or are loaded as such. */
const CODE = /\.([mc]?[jt]s|[jt]sx|wasm|node)$/;
const MAGIC = /[*?[]/;

/** The places that a config wants watched: the app's package, the extra files, each pattern. */
export function placesOf(config: Pick<Config, 'app' | 'chdir' | 'reloadExtraFiles'>): Place[] {
  const root = packageOf(config);
  const extra = config.reloadExtraFiles.map((path) => resolve(config.chdir, path));
  const plain = extra.filter((path) => !MAGIC.test(path));
  return [
    { paths: [root], ignored: (path, stats) => hidden(root, path) || (stats?.isFile() === true && !CODE.test(path)) },
    ...(plain.length > 0 ? [{ paths: plain, ignored: () => false }] : []),
    ...extra.filter((path) => MAGIC.test(path)).map(patternPlace),
  ];
}

/** Extra files that are no patterns and do not exist: slips, perhaps. */
export function missingFiles({ chdir, reloadExtraFiles }: Pick<Config, 'chdir' | 'reloadExtraFiles'>): string[] {
  return reloadExtraFiles.filter((path) => !MAGIC.test(path) && !existsSync(resolve(chdir, path)));
}

/** The nearest folder with a package.json from the app's file upwards, not beyond `chdir`; otherwise the file's own folder. */
export function packageOf({ app, chdir }: Pick<Config, 'app' | 'chdir'>): string {
  const whole = resolve(chdir, app);
  // As app/spec.ts: a file of that very name goes before the reading of colons.
  const file = existsSync(whole) ? whole : resolve(chdir, app.split(':', 1)[0]);
  const own = statSync(file, { throwIfNoEntry: false })?.isDirectory() ? file : dirname(file);
  for (let folder = own; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder;
    if (folder === chdir || folder === dirname(folder)) return own;
  }
}

/** In node_modules, or in a folder or file whose name begins with a dot. */
function hidden(root: string, path: string): boolean {
  return below(root, path).some((part) => part === 'node_modules' || part.startsWith('.'));
}

/** The names on the way from a root to a path; none if it is not in it (it is above, while the root is waited for). */
function below(root: string, path: string): string[] {
  const parts = relative(root, path).split(sep);
  return parts[0] === '..' ? [] : parts;
}

function patternPlace(pattern: string): Place {
  const parts = pattern.split(sep);
  const fixed = parts.findIndex((part) => MAGIC.test(part));
  const root = parts.slice(0, fixed).join(sep) || sep;
  const levels = parts.includes('**') ? Number.POSITIVE_INFINITY : parts.length - fixed;
  const matches = globToRegExp(pattern);
  return {
    paths: [root],
    ignored: (path, stats) =>
      hidden(root, path) || below(root, path).length > levels || (stats?.isFile() === true && !matches.test(path)),
  };
}

/**
 * The expression that an absolute path has to match for a pattern as Python's glob has them: * and ? and [] within a name, **
 * for any number of folders. [!a] is all but a. A [ that nothing closes stands for itself.
 */
export function globToRegExp(pattern: string): RegExp {
  const parts = pattern.split(sep).map((part) => (part === '**' ? '(?:[^/]+/)*' : `${nameSource(part)}/`));
  const source = parts.join('').replace(/\/$/, '');
  // ** at the end: everything below.
  return new RegExp(`^${pattern.endsWith('**') ? `${source}[^/]+` : source}$`);
}

function nameSource(name: string): string {
  return name.replace(/\[(!?)(\]?[^\]]*)\]|[*?]|[.+^${}()|[\]\\]/g, (text, not: string | undefined, set: string) => {
    if (text === '*') return '[^/]*';
    if (text === '?') return '[^/]';
    if (not === undefined) return `\\${text}`;
    return `[${not && '^'}${set.replace(/[\\\]^[]/g, '\\$&')}]`;
  });
}
