/** The installed package in a folder that any user can read, for tests that change users in a checkout that only root can. */
import { chmodSync, cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** Copies into dir what the package needs to run, and returns its command. */
export function readableCopy(dir: string): string {
  const { packages } = JSON.parse(readFileSync(join(ROOT, 'node_modules/.package-lock.json'), 'utf8'));
  const needed = Object.keys(packages).filter((path) => !packages[path].dev);
  for (const path of ['package.json', 'prebuilds', 'dist/src', ...needed])
    cpSync(join(ROOT, path), join(dir, path), { recursive: true });
  chmodSync(dir, 0o755);
  return join(dir, 'dist/src/cli.js');
}
