/** Imports an app's file as `node FILE` would. */
import { createRequire } from 'node:module';
import { extname } from 'node:path';
import { pathToFileURL } from 'node:url';
import { syntaxPlace } from '../config/place.js';
import { loadError, summary } from './load-error.js';

/** What Node says of a file that is not for it, or of which it takes only a part (Node 22.18: TypeScript's types). */
const NOT_NODES = new Set(['ERR_UNKNOWN_FILE_EXTENSION', 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX']);
const TYPESCRIPT = /\.[mc]?tsx?$/;

/** Its exports. @throws {TunicornError} ERR_TUNICORN_APP_IMPORT, with what the file has thrown as cause. */
export async function importModule(file: string): Promise<Record<string, unknown>> {
  try {
    return (await import(pathToFileURL(file).href)) as Record<string, unknown>;
  } catch (err) {
    const code = String((err as { code?: unknown } | null)?.code);
    let hint = '';
    if (NOT_NODES.has(code)) {
      const require = createRequire(file);
      // Somebody (`--require ts-node/register`) knows how to load such files, but only by require().
      if (Object.hasOwn(require.extensions, extname(file))) return required(require, file);
      if (TYPESCRIPT.test(file)) hint = ` (${typescriptHint()})`;
    } else if (err instanceof SyntaxError) {
      const place = await syntaxPlace(file);
      if (place !== '') hint = ` (${place})`;
    }
    throw loadError('IMPORT', `Cannot load ${file}: ${summary(err)}${hint}`, err);
  }
}

function required(require: NodeJS.Require, file: string): Record<string, unknown> {
  try {
    return { default: require(file) as unknown };
  } catch (err) {
    throw loadError('IMPORT', `Cannot load ${file}: ${summary(err)}`, err);
  }
}

/** tsx's hooks for import do not work in threads; those for require() do, and so does its register() inside the app. */
function typescriptHint(): string {
  const tsx = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].some((text) => /\btsx\b/.test(text));
  if (tsx) return "tsx does not work in threads by --import: set NODE_OPTIONS='--require tsx/cjs'";
  return `Node ${process.version} cannot load TypeScript by itself: compile it, or use Node >= 22.18`;
}
