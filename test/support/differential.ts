/**
 * Runs one app on node:http and on tunicorn and does the same to both, to compare what clients receive and what the app
 * sees. The app is a fixture that answers /log with a list of what it saw and /clear by emptying it: a handler, or a program
 * that listens itself, at NODE_PORT where that is set, and writes `port N` to standard output then.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { appPath, HttpServer } from './http-server.js';
import { until } from './poll.js';
import { RawClient } from './raw-client.js';

const FIXTURES = fileURLToPath(new URL('../../../test/integration/fixtures/', import.meta.url));

export interface Seen {
  /** Bytes that the client received, Date aside. */
  bytes: string;
  /** What the app wrote down. */
  log: string[];
}

/** What a client does. What it returns stands for the bytes. */
export type Scenario = (client: RawClient) => Promise<void>;

export class Differential {
  private readonly child: ChildProcess;
  readonly nodePort: number;
  readonly server: HttpServer;

  private constructor(child: ChildProcess, nodePort: number, server: HttpServer) {
    this.child = child;
    this.nodePort = nodePort;
    this.server = server;
  }

  /** app: as for HttpServer. listens: it is a program that listens itself. env: more of the environment, of node:http's process and of tunicorn. */
  static async start(
    app: string,
    args: readonly string[] = ['--threads', '1'],
    { listens = false, env = [{}, {}] as readonly [Record<string, string>, Record<string, string>] } = {},
  ): Promise<Differential> {
    const child = spawn(process.execPath, [...(listens ? [] : [`${FIXTURES}node-http-server.mjs`]), appPath(app)], {
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
      env: { ...process.env, NODE_PORT: '0', ...env[0] },
    });
    const [line] = await once(child.stdout!.setEncoding('utf8'), 'data');
    try {
      const server = await HttpServer.start(app, args, env[1]);
      return new Differential(child, Number(/port (\d+)/.exec(line)![1]), server);
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  /** Does the same on both. done: the app has seen all that it will see. */
  async run(scenario: Scenario, done: (log: string[]) => boolean): Promise<{ node: Seen; tunicorn: Seen }> {
    const [node, tunicorn] = await Promise.all([
      this.one(this.nodePort, scenario, done),
      this.one(this.server.port, scenario, done),
    ]);
    return { node, tunicorn };
  }

  private async one(port: number, scenario: Scenario, done: (log: string[]) => boolean): Promise<Seen> {
    await ask(port, '/clear');
    const client = await RawClient.connect(port);
    let all = Buffer.alloc(0);
    client.socket.prependListener('data', (chunk) => {
      all = Buffer.concat([all, chunk]);
    });
    try {
      await scenario(client);
      const look = async () => JSON.parse(await ask(port, '/log')) as string[];
      await until(async () => done(await look()), { what: 'the events' }).catch(() => {});
      // Whatever comes too often comes soon.
      await sleep(40);
      const bytes = all.toString('latin1').replace(/\r\nDate: [^\r]*/g, '');
      return { bytes, log: await look() };
    } finally {
      client.destroy();
    }
  }

  async stop(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.server.stop();
  }
}

async function ask(port: number, path: string): Promise<string> {
  const client = await RawClient.connect(port);
  client.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
  const { body } = await client.response();
  client.destroy();
  return body;
}
