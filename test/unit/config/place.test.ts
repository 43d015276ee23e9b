import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { ownPlace, syntaxPlace } from '../../../src/config/place.js';

const dir = realpathSync(mkdtempSync(join(tmpdir(), 'tunicorn-place-')));
after(() => rmSync(dir, { recursive: true }));

function write(files: Record<string, string>): string {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(dir, name, '..'), { recursive: true });
    writeFileSync(join(dir, name), text);
  }
  return join(dir, Object.keys(files)[0]);
}

describe('syntaxPlace', { concurrency: 2 }, () => {
  it('file and line in the module itself', async () => {
    const file = write({ 'a.mjs': '\nlet = 1;' });
    assert.equal(await syntaxPlace(file), `${file}:2`);
  });

  it('in a module that it imports, directly or not; nothing is run', async () => {
    const file = write({
      'b.mjs': "import fs from 'node:fs'; import './none.mjs'; import './c.mjs'; process.exit(9);",
      'c.mjs': "import './b.mjs'; export { x } from './sub/d.mjs?query';",
      'sub/d.mjs': '// fine\n\nexport const x = (;',
    });
    assert.equal(await syntaxPlace(file), `${join(dir, 'sub/d.mjs')}:3`);
  });

  it('in CommonJS, and in a .js file of either kind', async () => {
    for (const [name, text] of [
      ['g.cjs', "require('x');\nlet = (;"],
      ['commonjs/h.js', '#!/usr/bin/env node\nwith ({}) process.exit(9);\nlet x = (;'],
      ['esm/i.js', "import 'node:fs';\nexport const x = (;"],
    ]) {
      const file = write({ [name]: text, 'esm/package.json': '{"type":"module"}' });
      assert.equal(await syntaxPlace(file), `${file}:${text.split('\n').length}`);
    }
    const fine = write({ 'commonjs/j.js': 'with ({}) process.exit(9);' });
    assert.equal(await syntaxPlace(fine), '');
  });

  it('nothing where there is none, in packages, and for a file that is not there', async () => {
    const file = write({
      'e.mjs': "import 'pack'; import './f.cjs';",
      'node_modules/pack/index.mjs': 'let = 1',
      'node_modules/pack/package.json': '{"main":"index.mjs"}',
      'f.cjs': 'let = 1',
    });
    assert.equal(await syntaxPlace(file), '');
    assert.equal(await syntaxPlace(join(dir, 'none.mjs')), '');
  });
});

describe('ownPlace', () => {
  const own = new URL('../../../src/config/file.js', import.meta.url);
  for (const [stack, place] of [
    ['at run (/a/b.js:1:2)', '/a/b.js:1:2'],
    ['at file:///a/b.mjs?read=3:4:5', '/a/b.mjs:4:5'],
    ['at async file:///a/b.mjs:4:5', '/a/b.mjs:4:5'],
    ['at new Foo (file:///a b/(c)/d.mjs:4:5)', '/a b/(c)/d.mjs:4:5'],
    ['at Object.<anonymous> (/a/b.cjs:1:7)', '/a/b.cjs:1:7'],
    ['at resolve (node:internal/modules/esm/resolve:283:11)\n    at run (/a/b.js:1:2)', '/a/b.js:1:2'],
    ['at node:internal/main/run_main_module:28:49', ''],
    [`at run (${own.href}:79:48)\n    at load (/a/b.js:1:2)`, '/a/b.js:1:2'],
    ['at <anonymous>', ''],
  ]) {
    it(`${stack.split('\n')[0]}: ${place || 'none'}`, () => {
      const err = new Error('x');
      err.stack = `Error: x\n    ${stack}`;
      assert.equal(ownPlace(err, '/conf.js'), place);
    });
  }

  it('the file itself where there is no stack', () => assert.equal(ownPlace('text', '/conf.js'), '/conf.js'));
});
