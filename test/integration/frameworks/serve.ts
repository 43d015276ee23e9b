/**
 * Runs the same tests of an app in apps/ on node:http, where its framework is at home and which proves the test right, and
 * on tunicorn's command line. An app file exports factories, each of which is given a folder: there the app leaves
 * notes for the test and finds the files that it serves. Threads share nothing but that.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import { fileURLToPath } from 'node:url';
import { HttpServer } from '../../support/http-server.js';
import { until } from '../../support/poll.js';
import { RawClient } from '../../support/raw-client.js';

const APPS = 'test/integration/frameworks/apps/';
const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));

export const NODE = 'node:http';
export const GTHREAD = 'gthread, 2 threads';

/** On what: null is node:http, otherwise tunicorn's arguments. */
export const SERVERS: Record<string, readonly string[] | null> = {
  [NODE]: null,
  [GTHREAD]: ['--threads', '2'],
  sync: ['-k', 'sync'],
};

/** A running app. */
export class Site {
  /** The folder that the app was given. */
  readonly folder = mkdtempSync(join(tmpdir(), 'tunicorn-frameworks-'));
  port = 0;
  /** Null on node:http. */
  tunicorn: HttpServer | null = null;
  private node: ChildProcess | null = null;
  private nodeOutput = '';

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Lines that the app has left. */
  get notes(): string[] {
    const file = join(this.folder, 'notes');
    return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [];
  }

  /** What the server's processes have printed. */
  get output(): string {
    return this.tunicorn === null ? this.nodeOutput : this.tunicorn.stdout + this.tunicorn.log;
  }

  /** Waits for a note that starts so, and returns it. */
  note(start: string): Promise<string> {
    return until(() => this.notes.find((line) => line.startsWith(start)) ?? '', { what: `the note ${start}` });
  }

  /** Makes a file in the folder. */
  put(name: string, data: string | Uint8Array = ''): void {
    writeFileSync(join(this.folder, name), data);
  }

  connect(): Promise<RawClient> {
    return RawClient.connect(this.port);
  }

  /** POSTs three bytes at a time to /echo, each piece when the one before it has come back; `fields`: more of the head. */
  async echoInPieces(fields = ''): Promise<string> {
    const echo = await this.connect();
    echo.write(`POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n${fields}\r\n`);
    for (const piece of ['abc', 'def']) {
      echo.write(`3\r\n${piece}\r\n`);
      await echo.when(() => (echo.data.includes(piece) ? true : null), piece);
    }
    echo.write('0\r\n\r\n');
    const { body } = await echo.response();
    echo.destroy();
    return body;
  }

  /** A client that asks for path and leaves when `some` of it has come. */
  async leaveAmid(path: string): Promise<void> {
    const client = await this.connect();
    client.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await client.when(() => (client.data.includes('some') ? true : null), 'some of it');
    client.destroy();
  }

  /** spec: a file of apps/ and its factory, `express.mjs:five`. */
  async start(spec: string, args: readonly string[] | null): Promise<void> {
    if (args !== null) {
      this.tunicorn = await HttpServer.start(`${APPS}${spec}(${JSON.stringify(this.folder)})`, args);
      this.port = this.tunicorn.port;
      return;
    }
    const [file, factory] = spec.split(':');
    this.node = spawn(process.execPath, [`${ROOT}${APPS}on-node.mjs`, `${ROOT}${APPS}${file}`, factory, this.folder], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    for (const stream of [this.node.stdout, this.node.stderr]) {
      stream!.setEncoding('utf8').on('data', (text) => (this.nodeOutput += text));
    }
    const port = () => /^port (\d+)$/m.exec(this.nodeOutput)?.[1];
    await until(port, { what: 'the port' }).catch((error) => {
      throw new Error(`${error.message}; it printed:\n${this.nodeOutput}`);
    });
    this.port = Number(port());
  }

  /** Ends the server, which must not have lost a worker or a thread on the way. */
  async stop(): Promise<void> {
    try {
      if (this.node !== null && this.node.exitCode === null) {
        this.node.kill('SIGKILL');
        await once(this.node, 'close');
      }
      if (this.tunicorn !== null) {
        const { spawned } = this.tunicorn;
        await this.tunicorn.stop();
        const lost = /thread \d+ (has|is) ended|Uncaught/i.exec(this.output)?.[0];
        if (spawned.length !== 1 || lost) throw new Error(`${lost ?? 'a worker was lost'}; output:\n${this.output}`);
      }
    } finally {
      rmSync(this.folder, { recursive: true, force: true });
    }
  }
}

/** Defines tests for an app on each of the servers (default: all); `prepare` fills the folder before the app starts. */
export function onEachServer(
  title: string,
  spec: string,
  define: (site: Site) => void,
  options: { servers?: readonly string[]; prepare?: (site: Site) => void } = {},
): void {
  for (const name of options.servers ?? Object.keys(SERVERS)) {
    describe(`${title}, ${name}`, () => {
      const site = new Site();
      before(async () => {
        options.prepare?.(site);
        await site.start(spec, SERVERS[name]);
      });
      after(() => site.stop());
      define(site);
    });
  }
}
