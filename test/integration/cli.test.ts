/** The command: what it prints and its exit statuses, as far as no worker is needed. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
const PACKAGE = new URL('../../../package.json', import.meta.url);

function tunicorn(args: string[], env: Record<string, string> = {}) {
  return spawnSync(process.execPath, [CLI, ...args], {
    encoding: 'utf8',
    timeout: 20_000,
    env: { ...process.env, PORT: '', WEB_CONCURRENCY: '', ...env },
  });
}

describe('tunicorn', () => {
  it('--help goes to standard output, status 0', () => {
    const { status, stdout, stderr } = tunicorn(['--help']);
    assert.equal(status, 0);
    assert.equal(stderr, '');
    assert.match(stdout, /^Usage: tunicorn \[options\] \[APP\]\n/);
    assert.match(stdout, /-w, --workers <INT>/);
  });

  it('--version', () => {
    const { version } = JSON.parse(readFileSync(PACKAGE, 'utf8'));
    assert.equal(tunicorn(['-v']).stdout, `tunicorn (version ${version})\n`);
  });

  for (const [args, message] of [
    [[], /no app given/],
    [['--wrokers', '3', 'app.js'], /unknown option '--wrokers' \(did you mean --workers\?\)/],
    [['-w', 'many', 'app.js'], /--workers: "many" is not a whole number from 1 to 1024/],
    [['-k', 'gevent', 'app.js'], /unknown worker class "gevent": choose from gthread, sync/],
    [['app.js', 'other.js'], /one app is expected/],
    [['app.js', '--bind'], /'-b, --bind <ADDRESS>' argument missing/],
    [['--chdir', '/no/such/folder', 'app.js'], /--chdir: "\/no\/such\/folder" is not a folder/],
  ] as const) {
    it(`${JSON.stringify(args)}: one message, no stack trace, status 2`, () => {
      const { status, stdout, stderr } = tunicorn([...args]);
      assert.equal(status, 2);
      assert.equal(stdout, '');
      assert.match(stderr, message);
      assert.match(stderr, /^tunicorn: error: .*\nTry 'tunicorn --help'\.\n$/);
    });
  }

  it('names the variable if a value from the environment is refused', () => {
    const { status, stderr } = tunicorn(['app.js'], { WEB_CONCURRENCY: 'auto' });
    assert.equal(status, 2);
    assert.match(stderr, /\$WEB_CONCURRENCY: "auto" is not a whole number/);
  });

  it('an error log that cannot be opened: status 1, no stack trace', () => {
    const { status, stderr } = tunicorn(['--log-file', '/no/such/folder/log', 'app.js']);
    assert.equal(status, 1);
    assert.match(stderr, /^tunicorn: error: cannot open the error log '\/no\/such\/folder\/log': .*\n$/);
  });
});
