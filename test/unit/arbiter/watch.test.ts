/** Watch with real files, in this process; the rest of --reload is in test/integration/reload-on-change.test.ts. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Watch } from '../../../src/arbiter/watch.js';
import type { Config } from '../../../src/config/settings.js';
import type { Logger } from '../../../src/log.js';
import { until } from '../../support/poll.js';

const root = realpathSync(mkdtempSync(join(tmpdir(), 'tunicorn-watcher-')));
after(() => rmSync(root, { recursive: true }));

function folder(): string {
  const dir = mkdtempSync(join(root, 'app-'));
  for (const name of ['app.mjs', 'a.mjs', 'b.mjs']) writeFileSync(join(dir, name), '');
  return dir;
}

const wanted = (chdir: string, settings: Partial<Config> = {}) =>
  ({ reload: true, reloadEngine: 'auto', reloadExtraFiles: [], app: 'app.mjs', chdir, ...settings }) as Config;

/** A Watch, what it has logged, and how often it has asked for a reload. */
function watching() {
  const lines: string[] = [];
  const asked = { times: 0 };
  const note = (line: string) => void lines.push(line);
  const log = { info: note, warning: note, error: note } as unknown as Logger;
  return { watch: new Watch({ log: () => log, onChange: () => asked.times++ }), lines, asked };
}

describe('Watch', { concurrency: 2, timeout: 60_000 }, () => {
  it('changes that come together are one reload', async () => {
    const { watch, lines, asked } = watching();
    const dir = folder();
    watch.follow(wanted(dir));
    await until(() => lines.includes(`Watching ${dir} for changes`), { what: 'the watch' });
    let round = 0;
    // On a busy machine the kernel's news may come one by one, but not each time.
    await until(
      async () => {
        const before = asked.times;
        round++;
        for (const name of ['app.mjs', 'a.mjs', 'b.mjs']) writeFileSync(join(dir, name), `${round}`);
        await until(() => asked.times > before, { what: 'a reload' });
        return /^Changed: (app|a|b)\.mjs and 2 more$/.test(lines.at(-1) ?? '');
      },
      { what: 'one reload for three files', everyMs: 300 },
    );
    watch.close();
  });

  it('says which extra file is not there, and watches for it all the same', async () => {
    const { watch, lines, asked } = watching();
    const dir = folder();
    watch.follow(wanted(dir, { reloadExtraFiles: ['app.mjs', 'later.json', '*.none', join(dir, 'a.mjs')] }));
    await until(() => lines.includes(`Watching ${dir} for changes`), { what: 'the watch' });
    assert.deepEqual(lines.slice(0, -1), ['There is no later.json yet (--reload-extra-file)']);
    writeFileSync(join(dir, 'later.json'), '{}');
    await until(() => asked.times > 0, { what: 'a reload' });
    watch.close();
  });

  it('follows another config, and nothing once it is closed', async () => {
    const { watch, lines, asked } = watching();
    const [one, two] = [folder(), folder()];
    watch.follow(wanted(one));
    await until(() => lines.length === 1, { what: 'the first folder' });
    // The same again changes nothing; another folder does.
    watch.follow(wanted(one, { workers: 3 }));
    watch.follow(wanted(two));
    await until(() => lines.length === 2, { what: 'the second folder' });
    assert.deepEqual(lines, [`Watching ${one} for changes`, `Watching ${two} for changes`]);
    writeFileSync(join(one, 'a.mjs'), '1');
    writeFileSync(join(two, 'b.mjs'), '1');
    await until(() => asked.times === 1, { what: 'a reload' });
    assert.deepEqual(lines.slice(2), ['Changed: b.mjs']);
    writeFileSync(join(two, 'a.mjs'), '2');
    watch.close();
    watch.follow(wanted(two, { reload: false }));
    // Whatever is under way would be there before what begins now.
    const other = watching();
    other.watch.follow(wanted(two));
    await until(() => other.lines.length === 1, { what: 'another one' });
    writeFileSync(join(two, 'a.mjs'), '3');
    await until(() => other.asked.times === 1, { what: 'a reload' });
    other.watch.close();
    assert.deepEqual([asked.times, lines.length], [1, 3]);
  });

  // The limit is one of a user namespace, so the test has one of its own.
  const limited = [
    '--user',
    '--map-root-user',
    'sh',
    '-c',
    'echo 2 >/proc/sys/user/max_inotify_watches && exec "$@"',
    'sh',
  ];
  const possible = spawnSync('unshare', [...limited, 'true']).status === 0;
  it('where inotify has no watches left it polls', { skip: !possible && 'no user namespaces here' }, async () => {
    const dir = folder();
    const script = `
      import { Watch } from ${JSON.stringify(fileURLToPath(new URL('../../../src/arbiter/watch.js', import.meta.url)))};
      const log = { info: console.log, warning: console.log, error: console.log };
      const watch = new Watch({ log: () => log, onChange: () => process.exit(0) });
      watch.follow(${JSON.stringify(wanted(dir))});`;
    const child = spawn('unshare', [...limited, process.execPath, '--input-type=module', '-e', script]);
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text) => (output += text));
    const ended = new Promise((resolve) => child.once('close', resolve));
    try {
      await until(() => /\(polling\)\n/.test(output), { what: 'polling' });
      writeFileSync(join(dir, 'a.mjs'), '1');
      assert.equal(await ended, 0, output);
      assert.match(
        output,
        /^No inotify watches are left \(ENOSPC\): .*\nWatching \S+ for changes \(polling\)\nChanged: a\.mjs\n$/,
      );
    } finally {
      child.kill('SIGKILL');
    }
  });
});
