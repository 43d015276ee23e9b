/** A tunicorn started from its command line with an app of test/integration/fixtures, for the HTTP tests. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ArbiterProcess, isAlive } from './arbiter-process.js';
import { until } from './poll.js';
import { RawClient } from './raw-client.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** app: a file of test/integration/fixtures, or a path from the package's root where it has a slash. */
export function appPath(app: string): string {
  return app.includes('/') ? `${ROOT}${app}` : `${ROOT}test/integration/fixtures/${app}`;
}

export class HttpServer extends ArbiterProcess {
  port = 0;

  static async start(app: string, args: readonly string[] = [], env: Record<string, string> = {}): Promise<HttpServer> {
    const server = new HttpServer([CLI, '-b', '127.0.0.1:0', ...args, appPath(app)], env);
    try {
      const [address] = await server.addresses();
      server.port = Number(new URL(address).port);
      await server.waitForWorkers(1);
    } catch (error) {
      await server.cleanup();
      throw error;
    }
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get worker(): number {
    return this.workers[0];
  }

  /** Resident memory of the worker, MiB. */
  get rss(): number {
    const status = readFileSync(`/proc/${this.worker}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)![1]) / 1024;
  }

  async connect(): Promise<RawClient> {
    return RawClient.connect(this.port);
  }

  /** Opens a connection, writes, and returns all that comes until the server closes. */
  async talk(text: string | Buffer): Promise<string> {
    const client = await this.connect();
    client.write(text);
    const all = await client.end();
    client.destroy();
    return all;
  }

  /** One GET on a connection of its own, with the worker still the same one. */
  async stillServes(path = '/hello'): Promise<void> {
    const [worker] = this.spawned;
    const text = await this.talk(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    if (!text.startsWith('HTTP/1.1 200 ')) throw new Error(`answered ${JSON.stringify(text)}; the log:\n${this.log}`);
    if (!isAlive(worker) || this.spawned.length !== 1)
      throw new Error(`the worker was replaced; the log:\n${this.log}`);
    if (/thread \d+ (has|is) ended/.test(this.log)) throw new Error(`a thread was replaced; the log:\n${this.log}`);
  }

  /** Ends by TERM, which has to be a peaceful end with nothing left over. */
  async stop(): Promise<void> {
    const pids = this.spawned;
    this.kill('SIGTERM');
    const ended = await Promise.race([this.ended, new Promise<null>((r) => setTimeout(r, 15_000, null).unref())]);
    await this.cleanup();
    if (ended === null || ended.code !== 0)
      throw new Error(`TERM: ended ${JSON.stringify(ended)}; the log:\n${this.log}`);
    await until(() => pids.every((pid) => !isAlive(pid) || !existsSync(`/proc/${pid}`)), {
      what: 'the workers to end',
    });
  }
}
