/** Releases in folders of their own, the present one behind a symbolic link, and old ones removed while it serves. */
import assert from 'node:assert/strict';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { AppFolders } from '../support/app-folders.js';
import { ArbiterProcess } from '../support/arbiter-process.js';
import { ask } from '../support/ask.js';
import { until } from '../support/poll.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
const folders = new AppFolders('releases', '');
const started: ArbiterProcess[] = [];

after(async () => {
  for (const one of started) await one.cleanup();
  folders.remove();
});

/** Its release, and which one a file in the current folder is of; /exit ends its thread. */
const app = (n: number) => `import { readFileSync } from 'node:fs';
export default (req, res) => {
  if (req.url === '/exit') process.exit(1);
  let file = 'none';
  try { file = readFileSync('release.txt', 'utf8'); } catch {}
  res.end('${n} ' + file);
};`;

/** A folder with two releases, 1 and 2, and the link `current` to the first. */
function releases(): string {
  const dir = folders.make();
  for (const n of [1, 2]) {
    mkdirSync(join(dir, `${n}`));
    writeFileSync(join(dir, `${n}/app.mjs`), app(n));
    writeFileSync(join(dir, `${n}/release.txt`), `${n}`);
  }
  symlinkSync('1', join(dir, 'current'));
  return dir;
}

function next(dir: string): void {
  symlinkSync('2', join(dir, 'next'));
  renameSync(join(dir, 'next'), join(dir, 'current'));
}

function tunicorn(cwd: string, ...args: string[]): ArbiterProcess {
  // As a shell does.
  const env = { PWD: cwd, TUNICORN_CMD_ARGS: '' };
  const one = new ArbiterProcess([CLI, '--bind', '127.0.0.1:0', '--threads', '1', ...args], env, cwd);
  started.push(one);
  return one;
}

async function ends(one: ArbiterProcess): Promise<void> {
  one.kill('SIGTERM');
  assert.equal((await one.ended).code, 0, one.log);
}

const answer = (port: number, text: string) =>
  until(async () => (await ask(port, '/', { timeout: 1000 })).body === text, { what: text });

describe('releases behind a symbolic link', { concurrency: 2, timeout: 120_000 }, () => {
  it('HUP takes the release that the link points to', async () => {
    const dir = releases();
    const one = tunicorn('/', join(dir, 'current/app.mjs'));
    const port = await one.firstPort();
    await answer(port, '1 none');
    next(dir);
    one.kill('SIGHUP');
    await answer(port, '2 none');
    assert.equal(one.spawned.length, 1);
    await ends(one);
  });

  for (const [what, where, args] of [
    ['the folder in which it was started', 'current', ['app.mjs']],
    ['--chdir', '', ['--chdir', 'current', 'app.mjs']],
  ] as const) {
    it(`HUP follows a link in the name of ${what}, and the old release may have been removed`, async () => {
      const dir = releases();
      const one = tunicorn(join(dir, where), ...args);
      const port = await one.firstPort();
      await answer(port, '1 1');
      next(dir);
      rmSync(join(dir, '1'), { recursive: true });
      one.kill('SIGHUP');
      await answer(port, '2 2');
      // Threads share the current folder of their process.
      assert.equal(one.spawned.length, 2);
      one.kill('SIGHUP');
      await one.waitFor('Reloaded 1 threads');
      await ends(one);
    });
  }

  it('a current folder that is removed and stays so: threads and workers are replaced, HUP is refused and says why', async () => {
    const dir = releases();
    const one = tunicorn(join(dir, '1'), join(dir, 'current/app.mjs'));
    const port = await one.firstPort();
    await answer(port, '1 1');
    next(dir);
    rmSync(join(dir, '1'), { recursive: true });
    await ask(port, '/exit');
    await answer(port, '2 none');
    one.kill('SIGHUP');
    await one.waitFor(
      `Hang up: nothing is changed: the folder in which tunicorn was started is gone: ${join(dir, '1')}.`,
    );
    process.kill(one.workers[0], 'SIGKILL');
    await one.waitFor(/was sent SIGKILL[\s\S]*Booting worker/);
    await answer(port, '2 none');
    await ends(one);
  });
});
