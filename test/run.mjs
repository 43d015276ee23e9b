// Runs the tests with node's own runner: unit tests and those that start servers, three files at a time, for they mostly wait; the hunt
// (fuzz) and stress two at a time; last the stress that measures, one at a time. The closing counts are of all of them together.
// A machine that others use as well can fail a test whose bounds it does not keep, so files of which a test or two have failed are run once more,
// alone, and both outcomes are shown: a bug fails again. A file that does not end is ended and has failed. `node test/run.mjs unit` runs some of them.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { endHungFiles } from '../dist/test/support/hung-files.js';

const dist = join(dirname(fileURLToPath(import.meta.url)), '..', 'dist', 'test');
const kinds = process.argv.length > 2 ? process.argv.slice(2) : ['unit', 'integration', 'fuzz', 'stress'];
/** Files of stress/ that measure. */
const ALONE = /\/stress\/(containment|idle|limits|races|recycle|slow|slow-readers)\.test\.js$/;
/** With more failures than that it is not the machine. */
const MOST_AGAIN = 5;
/** The longest file takes two minutes on a slow machine. */
const FILE_LIMIT_MS = 600_000;
const PHASES = [
  { kinds: ['unit', 'integration'], concurrency: 3, pick: () => true },
  { kinds: ['fuzz', 'stress'], concurrency: 2, pick: (file) => !ALONE.test(file) },
  { kinds: ['stress'], concurrency: 1, pick: (file) => ALONE.test(file) },
];

function testFiles(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true })
    .filter((name) => name.endsWith('.test.js'))
    .sort()
    .map((name) => join(folder, name));
}

/** Runs the files; resolves with the runner's counts (name to number), whether all passed, and the files of failed tests. */
function run(files, concurrency) {
  const args = [
    '--test',
    `--test-concurrency=${concurrency}`,
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
  ];
  const runner = spawn(process.execPath, [...args, ...files], { stdio: ['ignore', 'pipe', 'inherit'] });
  const stopWatch = endHungFiles(runner.pid, FILE_LIMIT_MS, (file) => {
    console.log(`\nNot ended after ${FILE_LIMIT_MS / 60_000} minutes, so it is killed: ${file}\n`);
  });
  let tail = '';
  const counts = new Map();
  // By where the test stands: not always in the file that was run.
  const failed = new Set();
  runner.stdout.setEncoding('utf8').on('data', (text) => {
    process.stdout.write(text);
    const lines = (tail + text).split('\n');
    tail = lines.pop();
    for (const line of lines) {
      const count = /^ℹ (tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) ([\d.]+)$/.exec(line);
      if (count !== null) counts.set(count[1], Number(count[2]));
      const failure = /^test at (.+):\d+:\d+$/.exec(line);
      if (failure !== null) failed.add(resolve(failure[1]));
    }
  });
  return new Promise((done) => {
    runner.on('close', (code) => {
      stopWatch();
      done({ counts, failed, passed: code === 0 });
    });
  });
}

const total = new Map();
const failed = new Set();
let passed = true;
let found = 0;
for (const phase of PHASES) {
  const files = phase.kinds
    .filter((kind) => kinds.includes(kind))
    .flatMap((kind) => testFiles(join(dist, kind)))
    .filter(phase.pick);
  if (files.length === 0) continue;
  found += files.length;
  const result = await run(files, phase.concurrency);
  passed &&= result.passed;
  for (const file of result.failed) failed.add(file);
  for (const [name, count] of result.counts) total.set(name, (total.get(name) ?? 0) + count);
}
if (found === 0) {
  console.error(`No tests found under ${dist} for: ${kinds.join(', ')}`);
  process.exit(1);
}
const unlucky = (total.get('fail') ?? 0) + (total.get('cancelled') ?? 0);
if (failed.size > 0 && unlucky <= MOST_AGAIN && [...failed].every((file) => file.endsWith('.test.js'))) {
  console.log(`\n${unlucky} failed. Once more, alone:`);
  const again = await run([...failed], 1);
  passed = again.passed;
  if (passed) {
    console.log(`\nFailed at first, passed alone: ${[...failed].map((file) => relative(dist, file)).join(', ')}`);
    total
      .set('pass', total.get('pass') + unlucky)
      .set('fail', 0)
      .set('cancelled', 0);
  }
}
console.log('\nAll together:');
for (const [name, count] of total) console.log(`ℹ ${name} ${count}`);
process.exitCode = passed ? 0 : 1;
