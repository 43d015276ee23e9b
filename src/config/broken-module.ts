/**
 * Finds the module with a syntax error among those that a module imports: import() says neither its name nor the place. It is
 * started as a process of its own, with --experimental-vm-modules, which lets it parse modules without running them; nothing
 * imports it. Argument: the first module. It prints the path of the broken one, or nothing. (A CommonJS module's error has its
 * place; those are not looked into, nor are packages.)
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { SourceTextModule } from 'node:vm';

/** Then it gives up. */
const MOST_FILES = 2000;
const ES_MODULE = /\.m?js$/;

function broken(file: string): string {
  const files = new Set([file]);
  for (const path of files) {
    if (files.size > MOST_FILES) return '';
    let specifiers: readonly string[];
    try {
      const module = new SourceTextModule(readFileSync(path, 'utf8'), { identifier: path });
      specifiers = module.dependencySpecifiers;
    } catch (err) {
      if (err instanceof SyntaxError) return path;
      continue;
    }
    for (const specifier of specifiers) {
      const found = resolve(specifier, path);
      if (ES_MODULE.test(found) && !found.includes('/node_modules/')) files.add(found);
    }
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

process.stdout.write(broken(process.argv[2]));
