// Puts prebuilds/<platform>-<arch>/tunicorn.node in place: keeps one that loads (the packed tarball carries it), builds it
// with node-gyp otherwise. Whatever is missing is told in one message.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, renameSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '..', '..');
const target = join(root, 'prebuilds', `${process.platform}-${process.arch}`, 'tunicorn.node');
const sources = [
  'addon.cc',
  'addon.h',
  'epoll.cc',
  'socket.cc',
  'process.cc',
  'title.cc',
  'outbox.cc',
  'heap.cc',
  'binding.gyp',
].map((f) => join(here, f));

function fail(message) {
  console.error(`tunicorn: ${message}`);
  process.exit(1);
}

/** True when the addon stands there, is not older than its sources, and loads. */
function ready() {
  if (!existsSync(target)) return false;
  const built = statSync(target).mtimeMs;
  const checkout = existsSync(join(root, 'tsconfig.json'));
  if (checkout && sources.some((f) => statSync(f).mtimeMs > built)) return false;
  try {
    createRequire(import.meta.url)(target);
    return true;
  } catch {
    return false;
  }
}

const [major] = process.versions.node.split('.').map(Number);
if (major < 20)
  fail(`Node.js 20 or later is needed; this is ${process.version}. Install a newer Node.js and try again.`);
if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch)) {
  fail(`runs on Linux x64 and arm64; this is ${process.platform} ${process.arch}, for which there is no selector yet.`);
}
if (ready()) process.exit(0);

const compiler = process.env.CXX ?? 'c++';
for (const [tool, what] of [
  [compiler, 'a C++ compiler'],
  ['make', 'make'],
  ['python3', 'Python 3'],
]) {
  if (spawnSync(tool.split(' ')[0], ['--version'], { stdio: 'ignore' }).error) {
    fail(
      `its addon has to be built on this machine and ${what} (${tool}) is missing. ` +
        'Install it (Debian: apt-get install g++ make python3; Alpine: apk add g++ make python3) and run npm install again.',
    );
  }
}

const gyp = process.env.npm_config_node_gyp;
const [command, args] = gyp ? [process.execPath, [gyp]] : ['node-gyp', []];
const build = spawnSync(command, [...args, 'rebuild', '--silent', '--directory', here], { encoding: 'utf8' });
if (build.error?.code === 'ENOENT') fail('node-gyp is missing: run this through npm, or npm install -g node-gyp.');
if (build.status !== 0) {
  console.error(build.stdout + build.stderr);
  fail('the addon could not be built; what the compiler said stands above.');
}
mkdirSync(dirname(target), { recursive: true });
// By rename: a process that has the old one loaded keeps it.
copyFileSync(join(here, 'build', 'Release', 'tunicorn.node'), `${target}.new`);
renameSync(`${target}.new`, target);
