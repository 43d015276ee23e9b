import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { InvalidValue } from '../../../src/config/validate.js';
import { splitWords } from '../../../src/config/words.js';

describe('splitWords', () => {
  for (const [text, want] of [
    ['', []],
    ['  \n\t ', []],
    [' -w 3  --bind=:1\n', ['-w', '3', '--bind=:1']],
    [`'a b' "c d"`, ['a b', 'c d']],
    [`a'b c'"d e"f`, ['ab cd ef']],
    [`'' ""`, ['', '']],
    ['a\\ b \\\\ \\"', ['a b', '\\', '"']],
    [`'a\\b' "a\\b" "a\\"b\\\\"`, ['a\\b', 'a\\b', 'a"b\\']],
    [`"it's" 'say "x"'`, [`it's`, 'say "x"']],
    ['$HOME `x` #y', ['$HOME', '`x`', '#y']],
  ] as const) {
    it(`reads ${JSON.stringify(text)}`, () => assert.deepEqual(splitWords(text), want));
  }

  for (const [text, message] of [
    ["'a", /a ' is not closed/],
    ['a "b c', /a " is not closed/],
    ['a\\', /nothing follows/],
    ['"a\\', /nothing follows/],
  ] as const) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(
        () => splitWords(text),
        (err) => err instanceof InvalidValue && message.test(err.message),
      );
    });
  }
});
