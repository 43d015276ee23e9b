/** --reload with real processes and files: what counts as a change, what a broken app does, extra files and polling. */
import assert from 'node:assert/strict';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { AppFolders } from '../support/app-folders.js';
import { ArbiterProcess } from '../support/arbiter-process.js';
import { ask } from '../support/ask.js';
import { until } from '../support/poll.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));

/** Everything here takes some starts of threads and processes: patience for busy machines. */
const LONG_MS = 30_000;

/** Answers with the version of this module, and with what a second one says. */
const app = (version: number, other = "'-'") => `export default (req, res) => res.end('${version} ' + ${other});`;
const folders = new AppFolders('watch', app(1));
const started: ArbiterProcess[] = [];

after(async () => {
  for (const one of started) await one.cleanup();
  folders.remove();
});

/** A server with --reload in a folder, and that folder's files. */
class Project {
  readonly dir: string;
  readonly server: ArbiterProcess;
  private port = 0;

  private constructor(dir: string, server: ArbiterProcess) {
    this.dir = dir;
    this.server = server;
    started.push(server);
  }

  static async start(args: string[], files: Record<string, string> = {}): Promise<Project> {
    const dir = folders.make({ 'package.json': '{}', ...files });
    const settings = ['-b', '127.0.0.1:0', '--threads', '2', '--graceful-timeout', '5'];
    const server = new ArbiterProcess([CLI, ...settings, ...args], { TUNICORN_CMD_ARGS: '' }, dir);
    const project = new Project(dir, server);
    project.port = await server.firstPort();
    await server.waitFor(/Watching \S+ for changes/, LONG_MS);
    await project.serves('1 -');
    return project;
  }

  write(name: string, text: string): void {
    const path = join(this.dir, name);
    mkdirSync(join(path, '..'), { recursive: true });
    writeFileSync(path, text);
  }

  async serves(body: string): Promise<void> {
    let last = '';
    await until(async () => (last = (await ask(this.port, '/')).body) === body, {
      timeoutMs: LONG_MS,
      what: `"${body}"`,
    }).catch((err) => {
      throw new Error(`${err.message}; it was "${last}"; the log:\n${this.server.log}`);
    });
  }

  /** What has been told to have changed, in order. */
  get changes(): string[] {
    return [...this.server.log.matchAll(/Changed: (.*)$/gm)].map((match) => match[1]);
  }

  async stop(): Promise<void> {
    this.server.kill('SIGTERM');
    assert.equal((await this.server.ended).code, 0, this.server.log);
  }
}

describe('--reload', { concurrency: 2, timeout: 120_000 }, () => {
  it('new code is served by fresh threads of the same worker; what is no code of the app changes nothing', async () => {
    const project = await Project.start(['--reload', 'app.mjs']);
    const { server } = project;
    // Ignored; the change after them shows that they were not only late.
    project.write('node_modules/x/index.js', '');
    project.write('.cache/x.js', '');
    project.write('data.json', '{}');
    project.write('lib/other.mjs', "export default 'A';");
    await server.waitFor(/Changed: lib\/other\.mjs$/m, LONG_MS);
    project.write('app.mjs', `import other from './lib/other.mjs'; ${app(2, 'other')}`);
    await project.serves('2 A');
    project.write('lib/other.mjs', "export default 'B';");
    await project.serves('2 B');
    // As editors write: another file under the same name.
    project.write('lib/.other.swp', "export default 'C';");
    renameSync(join(project.dir, 'lib/.other.swp'), join(project.dir, 'lib/other.mjs'));
    await project.serves('2 C');
    for (const change of project.changes) assert.match(change, /^(app|lib\/other)\.mjs( and 1 more)?$/);
    assert.equal(server.spawned.length, 1, 'the worker is the same');
    await project.stop();
  });

  for (const kind of [
    { name: 'gthread', args: [] },
    { name: 'sync', args: ['-k', 'sync'] },
  ]) {
    it(`${kind.name}: broken code changes nothing and the log says why; the repaired file alone is taken up`, async () => {
      const project = await Project.start(['--reload', ...kind.args, 'app.mjs']);
      const { server } = project;
      // The error is in a module that no thread has loaded before.
      project.write('late.mjs', 'export default (');
      project.write('app.mjs', `import late from './late.mjs'; ${app(2, 'late')}`);
      await server.waitFor(/SyntaxError: [\s\S]*late\.mjs/, LONG_MS);
      await project.serves('1 -');
      project.write('late.mjs', "export default 'late';");
      await project.serves('2 late');
      if (kind.name === 'gthread') await server.waitFor('Reloaded 2 threads', LONG_MS);
      rmSync(join(project.dir, 'late.mjs'));
      await server.waitFor(/Cannot find module .*late\.mjs/, LONG_MS);
      await project.serves('2 late');
      assert.equal(server.exit, null);
      await project.stop();
    });
  }

  it('--reload-extra-file: files, folders and patterns, also ones that come later; --reload-engine poll', async () => {
    const read = `JSON.parse(readFileSync(new URL('./config.json', import.meta.url))).word`;
    const project = await Project.start(
      [
        ...['--reload', '--reload-engine', 'poll', '--reload-extra-file', 'config.json'],
        ...['--reload-extra-file', 'views', '--reload-extra-file', 'ui/*/config.json', 'app.mjs'],
      ],
      {
        'app.mjs': `import { readFileSync } from 'node:fs'; const word = ${read}; ${app(1, 'word')}`,
        'config.json': '{"word":"-"}',
      },
    );
    const { server } = project;
    assert.match(server.log, /Watching \S+ for changes \(polling\)/);
    project.write('other.json', '{}');
    project.write('config.json', '{"word":"other word"}');
    await project.serves('1 other word');
    for (const name of ['views/page.html', 'ui/a/config.json']) {
      project.write(name, '<p>');
      await until(() => project.changes.some((change) => change.startsWith(name)), {
        timeoutMs: LONG_MS,
        what: `${name} to be noticed`,
      });
    }
    for (const change of project.changes) assert.doesNotMatch(change, /other\.json/);
    await project.stop();
  });

  it('a configuration file in the package counts, and can turn it off', async () => {
    const conf = (settings: object) => `export default ${JSON.stringify({ app: 'app.mjs', ...settings })}`;
    const project = await Project.start([], { 'tunicorn.conf.mjs': conf({ reload: true }) });
    const { server } = project;
    project.write('tunicorn.conf.mjs', conf({ reload: false, threads: 3 }));
    await server.waitFor(/Changed: tunicorn\.conf\.mjs[\s\S]*Reloaded \d threads/, LONG_MS);
    project.write('app.mjs', app(2));
    server.kill('SIGHUP');
    await project.serves('2 -');
    assert.deepEqual(project.changes, ['tunicorn.conf.mjs']);
    await project.stop();
  });
});
