/**
 * Finds the syntax error in a module or among those that it imports, and has Node print it with its place: import() keeps that
 * to itself. It is started as a process of its own, with --experimental-vm-modules, which lets it parse modules without running
 * them; nothing imports it. Argument: the first module. (Packages are not looked into, nor what CommonJS modules
 * require: those errors have their place.)
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { compileFunction, SourceTextModule } from 'node:vm';

/** Then it gives up. */
const MOST_FILES = 2000;
const JAVASCRIPT = /\.[mc]?js$/;

/** What a module imports; null: it has a syntax error. */
function imports(path: string): readonly string[] | null {
  const text = readFileSync(path, 'utf8').replace(/^#!.*/, '');
  if (!path.endsWith('.cjs')) {
    try {
      return new SourceTextModule(text, { identifier: path }).dependencySpecifiers;
    } catch {
      if (path.endsWith('.mjs')) return null;
    }
  }
  try {
    compileFunction(text, ['exports', 'require', 'module', '__filename', '__dirname']);
    return [];
  } catch {
    return null;
  }
}

/** The first broken one; '' if there is none. */
function broken(first: string): string {
  const files = new Set([first]);
  for (const path of files) {
    const found = imports(path);
    if (found === null) return path;
    for (const specifier of found) {
      const file = resolve(specifier, path);
      if (JAVASCRIPT.test(file) && !file.includes('/node_modules/')) files.add(file);
    }
    if (files.size > MOST_FILES) break;
  }
  return '';
}

/** A path, or '' where it is none. */
function resolve(specifier: string, from: string): string {
  try {
    return createRequire(from).resolve(specifier.replace(/^file:\/\/|\?.*$/g, ''));
  } catch {
    return '';
  }
}

const file = broken(process.argv[2]);
// It runs nothing: the file can be parsed neither as an ES module nor as CommonJS.
if (file !== '') await import(pathToFileURL(file).href);
