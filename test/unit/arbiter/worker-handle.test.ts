import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { workerExecArgv } from '../../../src/arbiter/worker-handle.js';

describe('workerExecArgv', () => {
  it('hands node flags on, but not what to run nor the inspector', () => {
    assert.deepEqual(
      workerExecArgv([
        '--max-old-space-size=100',
        '-e',
        'code()',
        '--eval=code()',
        '--input-type=module',
        '--inspect=0',
        '--inspect-brk',
        '--test',
        '--test-concurrency=2',
        '--watch',
        '--import',
        './hook.js',
        '-r',
        './hook.cjs',
        '--enable-source-maps',
      ]),
      ['--max-old-space-size=100', '--import', './hook.js', '-r', './hook.cjs', '--enable-source-maps'],
    );
  });
});
