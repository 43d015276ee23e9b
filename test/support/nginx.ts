/** An nginx of its own for a test: a reverse proxy with keep-alive to a server, in a folder that is removed with it. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from './poll.js';
import { RawClient } from './raw-client.js';

/** Where Debian puts it. */
const PATH = `${process.env.PATH}:/usr/sbin`;

export function hasNginx(): boolean {
  return spawnSync('nginx', ['-v'], { env: { PATH } }).status === 0;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export class Nginx {
  readonly port: number;
  private readonly child: ChildProcess;
  private readonly folder: string;
  private ended = false;

  private constructor(port: number, child: ChildProcess, folder: string) {
    this.port = port;
    this.child = child;
    this.folder = folder;
    child.once('exit', () => (this.ended = true));
  }

  /**
   * Starts one in front of `backend` with at most `keepalive` idle connections to it. Each request that it passes on has an
   * X-Front of its own, and its response to the client has the same.
   */
  static start(backend: number, keepalive: number): Promise<Nginx> {
    return Nginx.serve(
      (port) => `
  upstream app { server 127.0.0.1:${backend}; keepalive ${keepalive}; }
  server {
    listen 127.0.0.1:${port};
    underscores_in_headers on; ignore_invalid_headers off; merge_slashes off;
    proxy_request_buffering off;
    location / {
      proxy_pass http://app; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_set_header X-Front $request_id;
      proxy_next_upstream off; proxy_ignore_client_abort on;
      add_header X-Front $request_id always;
    }
  }
`,
    );
  }

  /** Starts one with what `http` returns in its http block; it has to listen at that port of 127.0.0.1. */
  static async serve(http: (port: number) => string): Promise<Nginx> {
    const folder = mkdtempSync(join(tmpdir(), 'tunicorn-nginx-'));
    const port = await freePort();
    for (const name of ['body', 'proxy', 'other']) mkdirSync(join(folder, name));
    const conf = join(folder, 'nginx.conf');
    writeFileSync(
      conf,
      `daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/error.log warn;
events { worker_connections 256; }
http {
  access_log off; server_tokens off;
  client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/other; uwsgi_temp_path ${folder}/other; scgi_temp_path ${folder}/other;
${http(port)}
}
`,
    );
    const child = spawn('nginx', ['-p', folder, '-c', conf], { env: { PATH }, stdio: 'ignore' });
    const nginx = new Nginx(port, child, folder);
    try {
      await until(async () => {
        const client = await RawClient.connect(port);
        client.destroy();
        return true;
      });
    } catch (error) {
      const log = nginx.log;
      await nginx.stop();
      throw new Error(`nginx does not start:\n${log}`, { cause: error });
    }
    return nginx;
  }

  get log(): string {
    try {
      return readFileSync(join(this.folder, 'error.log'), 'utf8');
    } catch {
      return '';
    }
  }

  async stop(): Promise<void> {
    this.child.kill('SIGTERM');
    await until(() => this.ended, { what: 'nginx to end' });
    rmSync(this.folder, { recursive: true });
  }
}
