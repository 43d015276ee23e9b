import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { globToRegExp, packageOf, placesOf } from '../../../src/arbiter/watch-places.js';

const dir = realpathSync(mkdtempSync(join(tmpdir(), 'tunicorn-places-')));
after(() => rmSync(dir, { recursive: true }));

function file(path: string): void {
  mkdirSync(join(dir, path, '..'), { recursive: true });
  writeFileSync(join(dir, path), '');
}

const FILE = { isFile: () => true };
const FOLDER = { isFile: () => false };

describe('packageOf', () => {
  file('mono/package.json');
  file('mono/api/package.json');
  file('mono/api/src/app.js');
  file('mono/tool.js');
  file('plain/src/app.js');

  for (const [app, chdir, want] of [
    ['src/app.js', 'mono/api', 'mono/api'],
    ['src/app', 'mono/api', 'mono/api'],
    ['src/app.js:create("a/b")', 'mono/api', 'mono/api'],
    ['api/src/app.js', 'mono', 'mono/api'],
    ['api', 'mono', 'mono/api'],
    ['.', 'mono/api', 'mono/api'],
    ['tool.js:app', 'mono', 'mono'],
    ['installed-package', 'mono', 'mono'],
    ['../api/src/app.js', 'mono/other', 'mono/api'],
    ['src/app.js', 'plain', 'plain/src'],
    // Not beyond the current folder, though there is a package above.
    ['src/app.js', 'mono/api/src/..', 'mono/api'],
    ['app.js', 'mono/api/src', 'mono/api/src'],
  ]) {
    it(`${app} in ${chdir}: ${want}`, () => {
      assert.equal(packageOf({ app, chdir: join(dir, chdir) }), join(dir, want));
    });
  }

  it('takes an absolute path for what it is', () => {
    assert.equal(packageOf({ app: join(dir, 'mono/api/src/app.js'), chdir: dir }), join(dir, 'mono/api'));
  });
});

describe('placesOf', () => {
  it("the app's package: code, not node_modules, nothing hidden, though its own path may be both", () => {
    const chdir = join(dir, '.cache/node_modules/own');
    const [place, ...others] = placesOf({ app: 'app.js', chdir, reloadExtraFiles: [] });
    assert.deepEqual(others, []);
    assert.deepEqual(place.paths, [chdir]);
    const counts = (path: string) => !place.ignored(join(chdir, path), FILE);
    for (const path of ['app.js', 'a/b.mjs', 'a.cjs', 'a.ts', 'a.mts', 'a.tsx', 'a.jsx', 'x/a.wasm', 'a.node']) {
      assert.ok(counts(path), path);
    }
    for (const path of ['a.json', 'a.txt', 'js', 'node_modules/a.js', 'x/node_modules/y/a.js', '.git/a.js', '.a.js']) {
      assert.ok(!counts(path), path);
    }
    assert.ok(!place.ignored(join(chdir, 'a'), FOLDER));
    assert.ok(!place.ignored(chdir));
    assert.ok(place.ignored(join(chdir, 'node_modules')));
  });

  it('extra files and folders as they are, from chdir; a pattern from its first fixed folder', () => {
    const reloadExtraFiles = ['a.json', '/etc/views', 'ui/*/config.json', 'ui/**/*.html'];
    const [, plain, one, deep] = placesOf({ app: 'app.js', chdir: dir, reloadExtraFiles });
    assert.deepEqual(plain.paths, [join(dir, 'a.json'), '/etc/views']);
    assert.equal(plain.ignored('/etc/views/.a', FILE), false);
    assert.deepEqual([one.paths, deep.paths], [[join(dir, 'ui')], [join(dir, 'ui')]]);
    assert.equal(one.ignored(join(dir, 'ui/a/config.json'), FILE), false);
    assert.equal(one.ignored(join(dir, 'ui/a/other.json'), FILE), true);
    assert.equal(one.ignored(join(dir, 'ui/a'), FOLDER), false);
    assert.equal(one.ignored(join(dir, 'ui/a/b/c'), FOLDER), true);
    assert.equal(one.ignored(dir, FOLDER), false, 'while ui is not there');
    assert.equal(deep.ignored(join(dir, 'ui/node_modules'), FOLDER), true);
    assert.equal(deep.ignored(join(dir, 'ui/a/b/c.html'), FILE), false);
  });
});

describe('globToRegExp', () => {
  for (const [pattern, yes, no] of [
    ['/a/*.json', ['/a/b.json', '/a/.json'], ['/a/b/c.json', '/a/b_json', '/x/a/b.json']],
    ['/a/?.js', ['/a/b.js'], ['/a/bc.js', '/a/.js']],
    ['/a/[xy]z', ['/a/xz', '/a/yz'], ['/a/zz', '/a/[xy]z']],
    ['/a/[!xy]z', ['/a/az'], ['/a/xz']],
    ['/a/[]^\\]z', ['/a/]z', '/a/^z', '/a/\\z'], ['/a/az']],
    ['/a/[xz', ['/a/[xz'], ['/a/x']],
    ['/a/**/b', ['/a/b', '/a/x/b', '/a/x/y/b'], ['/a/xb', '/a/b/c']],
    ['/a/**', ['/a/b', '/a/b/c'], ['/a', '/ab']],
    ['/a+(b)/{c}/*', ['/a+(b)/{c}/x'], ['/aa/c/x']],
  ] as const) {
    it(pattern, () => {
      for (const path of yes) assert.match(path, globToRegExp(pattern));
      for (const path of no) assert.doesNotMatch(path, globToRegExp(pattern));
    });
  }
});
