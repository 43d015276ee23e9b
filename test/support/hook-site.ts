/**
 * A server with hooks in its configuration file. Every hook notes what it saw in a file, which so has the order over all processes.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AppFolders } from './app-folders.js';
import { ArbiterProcess } from './arbiter-process.js';
import { ask } from './ask.js';
import { until } from './poll.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
const APP = `import { appendFileSync } from 'node:fs';
export default (req, res) => {
  if (req.url === '/throw') throw new Error('thrown by the app');
  if (req.url === '/exit') process.exit(7);
  if (req.url === '/left') appendFileSync(process.env.NOTES, '{"hook":"handler"}\\n');
  res.setHeader('X-Handled', String(req.marked ?? 'by the app'));
  res.end('hello');
};`;

const folders = new AppFolders('hooks', APP);
const started: Site[] = [];

/** To be called after the tests of a file. */
export async function cleanUp(): Promise<void> {
  for (const { server } of started) await server.cleanup();
  folders.remove();
}

export interface Note {
  hook: string;
  pid: number;
  threadId: number;
  [fact: string]: unknown;
}

/**
 * Text of a configuration file: `hooks` are members of its object, which may call note(hook, facts). Notes have the process, the
 * thread, and a number for the copy of the module.
 */
export function conf(hooks: string, settings: object = {}): string {
  return `import { appendFileSync, existsSync } from 'node:fs';
    import { threadId } from 'node:worker_threads';
    const copy = Math.random();
    const note = (hook, facts) =>
      appendFileSync(process.env.NOTES, JSON.stringify({ hook, pid: process.pid, threadId, copy, ...facts }) + '\\n');
    const see = (server) => ({
      server: server.pid, wants: server.numWorkers, has: server.workers?.map((w) => w.pid), addresses: server.addresses,
      cfg: server.cfg.threads, logs: typeof server.log.info, mark: server.mark,
    });
    const seeWorker = (worker) => ({
      worker: worker.pid, ppid: worker.ppid, age: worker.age, cfg: worker.cfg.threads, logs: typeof worker.log.info,
      booted: worker.booted, alive: worker.alive, mark: worker.mark,
    });
    const seeThread = (thread) => ({
      worker: thread.pid, ppid: thread.ppid, age: thread.age, slot: thread.slot, id: thread.threadId,
      cfg: thread.cfg.threads, logs: typeof thread.log.info,
    });
    const wait = (ms) => new Promise((done) => setTimeout(done, ms));
    const fail = (what) => { throw new Error(what + ' is broken'); };
    export default {
      app: 'app.mjs', bind: '127.0.0.1:0', workers: 1, threads: 1,
      ...${JSON.stringify(settings)},
      ${hooks}
    };`;
}

export class Site {
  readonly dir: string;
  readonly server: ArbiterProcess;

  constructor(hooks: string, settings: object = {}, files: Record<string, string> = {}) {
    this.dir = folders.make({ 'conf.mjs': conf(hooks, settings), notes: '', ...files });
    this.server = new ArbiterProcess([CLI, '-c', 'conf.mjs'], { NOTES: join(this.dir, 'notes') }, this.dir, true);
    started.push(this);
  }

  get notes(): Note[] {
    const lines = readFileSync(join(this.dir, 'notes'), 'utf8').trimEnd();
    return lines === '' ? [] : lines.split('\n').map((line) => JSON.parse(line));
  }

  /** Notes of a hook. */
  of(hook: string): Note[] {
    return this.notes.filter((note) => note.hook === hook);
  }

  /** Waits for the n-th note of a hook. */
  async seen(hook: string, n = 1, timeoutMs = 10_000): Promise<Note> {
    const what = `note ${n} of ${hook}`;
    await until(() => this.of(hook).length >= n, { what, timeoutMs }).catch((err) => {
      throw new Error(`${err.message}; the log:\n${this.server.log}\n${JSON.stringify(this.notes)}`);
    });
    return this.of(hook)[n - 1];
  }

  async port(): Promise<number> {
    return await this.server.firstPort();
  }

  /** Waits until it serves. */
  async serves(): Promise<number> {
    const port = await this.port();
    const { status, error } = await ask(port, '/');
    assert.equal(status, 200, `${error}; the log:\n${this.server.log}`);
    return port;
  }

  async ends(signal: NodeJS.Signals | null = 'SIGTERM', status = 0): Promise<void> {
    if (signal !== null) this.server.kill(signal);
    const { code } = await this.server.ended;
    assert.equal(code, status, this.server.log);
    assert.deepEqual(this.server.workers, [], 'no worker is left');
  }
}
