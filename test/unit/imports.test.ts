/**
 * Imports run one way: this test reads the import statements of src/ and holds the layers of the design. The borders
 * between processes and between threads are crossed by file paths and messages, never by an import.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const SRC = fileURLToPath(new URL('../../../src', import.meta.url));

/** Anyone may import these. */
const COMMON = [
  'answers',
  'node-http',
  'request',
  'errors',
  'log',
  'statsd',
  'messages',
  'origin',
  'version',
  'config',
  'access-format',
  'access-json',
  'hooks',
  'trust',
  'proxy-protocol',
  'own-listeners',
];

/** Layer -> what else it may import. `x: types` allows `import type` only; `x/y` one file of x. */
const LAYERS: Record<string, string[]> = {
  cli: ['serve', 'arbiter', 'daemon'],
  daemon: [],
  index: ['serve'],
  serve: ['arbiter'],
  arbiter: ['native'],
  worker: ['selector', 'shared', 'pool', 'native', 'front/messages: types'],
  front: ['native'],
  pool: ['shared', 'native'],
  thread: ['app', 'http', 'shared', 'selector', 'native', 'pool/messages: types'],
  app: ['http: types'],
  http: ['native'],
  shared: ['native'],
  selector: ['native'],
  native: [],
  answers: [],
  'node-http': [],
  request: [],
  config: [],
  hooks: [],
  errors: [],
  log: [],
  statsd: [],
  messages: [],
  origin: [],
  version: [],
  'access-format': [],
  'access-json': [],
  'access-atoms': ['version'],
  trust: [],
  'proxy-protocol': [],
  'own-listeners': [],
};
/** The lowest layers do without most of what is common. */
const NARROW: Record<string, string[]> = {
  answers: ['node-http'],
  'node-http': [],
  request: ['errors'],
  native: ['errors'],
  errors: [],
  version: [],
  trust: [],
  'proxy-protocol': [],
  'own-listeners': [],
  'access-atoms': ['version'],
  'access-json': ['access-atoms', 'access-format', 'log/text'],
  'access-format': ['access-atoms'],
  config: ['errors', 'version', 'config', 'access-format'],
  messages: ['config: types'],
  hooks: ['config', 'errors', 'log: types', 'messages: types', 'own-listeners'],
  log: ['errors', 'config: types', 'config/log-address', 'native', 'statsd'],
};

interface Import {
  from: string;
  to: string;
  typesOnly: boolean;
}

// import ... from '...', export ... from '...', import '...', import('...').
const IMPORT =
  /^\s*(?:import|export)\s+(type\s)?(?:([^;'"]*?)\s*from\s*)?['"]([^'"]+)['"]|\bimport\(\s*(?:\/\*.*?\*\/\s*)?['"]([^'"]+)['"]\s*\)/gm;

/** Imports of files of the project in a source text; `from` is its path below src/, without extension. */
function importsOf(from: string, text: string): Import[] {
  const found: Import[] = [];
  for (const [, type, names, path, dynamic] of text.matchAll(IMPORT)) {
    const target = path ?? dynamic;
    if (!target.startsWith('.')) continue;
    // import { type A, type B } is one of types only as well.
    const list = /^\{([^}]*)\}$/.exec((names ?? '').trim())?.[1];
    const allTypes = list?.split(',').every((name) => /^\s*(type\s.*)?$/s.test(name));
    found.push({
      from,
      to: normalize(join(dirname(from), target)).replace(/\.js$/, ''),
      typesOnly: type !== undefined || allTypes === true,
    });
  }
  return found;
}

const layerOf = (file: string) => file.split('/')[0];

/** Why an import is forbidden, or null. */
function forbidden({ from, to, typesOnly }: Import): string | null {
  const layer = layerOf(from);
  const target = layerOf(to);
  if (to.startsWith('..')) return `${from} imports ${to}, which is not in src/`;
  if (layer === target) return null;
  const allowed = LAYERS[layer];
  if (allowed === undefined) return `${from} is in no layer: add ${layer} to this test`;
  for (const rule of [...(NARROW[layer] ?? COMMON), ...allowed]) {
    const [where, kind] = rule.split(': ');
    if ((where === target || where === to) && (kind !== 'types' || typesOnly)) return null;
  }
  return `${from} must not import ${to}${typesOnly ? ' (not even types)' : ''}`;
}

/** Files that import each other in a circle, as far as code goes (types are gone when it runs). */
function cycles(imports: Import[]): string[] {
  const graph = new Map<string, string[]>();
  for (const { from, to, typesOnly } of imports) {
    if (!typesOnly) graph.set(from, [...(graph.get(from) ?? []), to]);
  }
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, path: string[]): void => {
    if (path.includes(file)) found.push([...path.slice(path.indexOf(file)), file].join(' -> '));
    if (done.has(file) || path.includes(file)) return;
    for (const next of graph.get(file) ?? []) visit(next, [...path, file]);
    done.add(file);
  };
  for (const file of graph.keys()) visit(file, []);
  return found;
}

function allImports(): Import[] {
  const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((name) => /(?<!\.d)\.c?ts$/.test(name));
  assert.ok(files.length > 30, `found only ${files.length} files in ${SRC}`);
  return files.flatMap((name) => importsOf(name.replace(/\.c?ts$/, ''), readFileSync(join(SRC, name), 'utf8')));
}

describe('imports', () => {
  test('run one way', () => {
    const imports = allImports();
    assert.ok(imports.length > 80, `found only ${imports.length} imports`);
    assert.deepEqual(imports.map(forbidden).filter(Boolean), []);
  });

  test('make no circle', () => {
    assert.deepEqual(cycles(allImports()), []);
  });
});

describe('the import test itself', () => {
  const check = (from: string, text: string) => importsOf(from, text).map(forbidden).filter(Boolean);

  test('finds every kind of import', () => {
    const text = `
      import { a } from '../native/binding.js';
      import type { B } from './b.js';
      import {
        type C,
        type D,
      } from '../http/c.js';
      import { type E, f } from '../http/e.js';
      export { g } from './g.js';
      export type { H } from './h.js';
      import './i.js';
      const j = await import('./j.js');
      import fs from 'node:fs';
      const url = new URL('../thread/entry.js', import.meta.url);`;
    assert.deepEqual(
      importsOf('thread/x', text).map(({ to, typesOnly }) => `${to}${typesOnly ? ' types' : ''}`),
      [
        'native/binding',
        'thread/b types',
        'http/c types',
        'http/e',
        'thread/g',
        'thread/h types',
        'thread/i',
        'thread/j',
      ],
    );
  });

  test('refuses what crosses a border or goes upwards', () => {
    const refused = [
      ['arbiter/arbiter', '../worker/main.js'],
      ['arbiter/sock', '../shared/tconn.js'],
      ['arbiter/sock', '../selector/epoll.js'],
      ['worker/thread-worker', '../thread/entry.js'],
      ['worker/thread-worker', '../http/parser.js'],
      ['pool/thread-pool', '../thread/entry.js'],
      ['pool/inline', '../worker/tconn.js'],
      ['thread/entry', '../pool/thread-pool.js'],
      ['thread/entry', '../pool/messages.js'],
      ['thread/handle', '../worker/tconn.js'],
      ['app/load', '../http/parser.js'],
      ['app/load', '../native/binding.js'],
      ['http/socket', '../app/types.js'],
      ['http/socket', '../shared/memory.js'],
      ['shared/driver', '../selector/epoll.js'],
      ['selector/epoll', '../shared/memory.js'],
      ['native/binding', '../log.js'],
      ['config/config', '../arbiter/arbiter.js'],
      ['errors', './log.js'],
      ['log', './config/settings.js'],
      ['index', './worker/main.js'],
      ['somewhere/new', '../errors.js'],
      ['index', '../test/support/poll.js'],
    ];
    for (const [from, path] of refused) {
      assert.equal(check(from, `import { x } from '${path}';`).length, 1, `${from} -> ${path}`);
      if (layerOf(from) === 'arbiter') assert.equal(check(from, `const x = await import('${path}');`).length, 1);
    }
    assert.deepEqual(check('thread/entry', `import type { X } from '../pool/messages.js';`), []);
    assert.deepEqual(check('app/types', `import type { X } from '../http/request.js';`), []);
    assert.equal(check('arbiter/arbiter', `import type { X } from '../worker/base.js';`).length, 1);
  });

  test('finds circles', () => {
    const edge = (from: string, to: string, typesOnly = false) => ({ from, to, typesOnly });
    assert.deepEqual(cycles([edge('a', 'b'), edge('b', 'c'), edge('a', 'c')]), []);
    assert.deepEqual(cycles([edge('a', 'b'), edge('b', 'c'), edge('c', 'b')]), ['b -> c -> b']);
    assert.deepEqual(cycles([edge('a', 'b'), edge('b', 'a', true)]), []);
  });
});
