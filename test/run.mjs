// Runs the tests with node's own runner: unit, then those that start servers, then the hunt (fuzz), then stress; one file at a
// time, because several of them measure. One runner, one closing count. `node test/run.mjs unit` runs some of them.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const dist = join(dirname(fileURLToPath(import.meta.url)), '..', 'dist', 'test');
const kinds = process.argv.length > 2 ? process.argv.slice(2) : ['unit', 'integration', 'fuzz', 'stress'];

function testFiles(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true })
    .filter((name) => name.endsWith('.test.js'))
    .sort()
    .map((name) => join(folder, name));
}

const files = kinds.flatMap((kind) => testFiles(join(dist, kind)));
if (files.length === 0) {
  console.error(`No tests found under ${dist} for: ${kinds.join(', ')}`);
  process.exit(1);
}
const run = spawnSync(
  process.execPath,
  ['--test', '--test-concurrency=1', '--test-reporter=spec', '--test-reporter-destination=stdout', ...files],
  { stdio: ['ignore', 'inherit', 'inherit'] },
);
process.exit(run.status ?? 1);
