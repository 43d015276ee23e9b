/** An nginx of its own for a test: a reverse proxy with keep-alive to a server, in a folder that is removed with it. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from './poll.js';
import { RawClient } from './raw-client.js';

/** Where Debian puts it. */
const PATH = `${process.env.PATH}:/usr/sbin`;

/** Where Debian's package libnginx-mod-stream puts what PROXY headers need; NGINX_STREAM names another place. */
const STREAM = process.env.NGINX_STREAM ?? '/usr/lib/nginx/modules/ngx_stream_module.so';

export function hasStream(): boolean {
  return existsSync(STREAM);
}

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

export interface NginxOptions {
  /** More directives for what is passed on. */
  location?: string;
  /** Another port, from where connections are passed on as they are behind a PROXY header. */
  proxyProtocol?: boolean;
}

export class Nginx {
  readonly port: number;
  /** Requests that come in here are told of as https: $told_scheme. */
  readonly httpsPort: number;
  /** See NginxOptions.proxyProtocol. */
  readonly streamPort: number;
  private readonly child: ChildProcess;
  private readonly folder: string;
  private ended = false;

  private constructor([port, httpsPort, streamPort]: number[], child: ChildProcess, folder: string) {
    this.port = port;
    this.httpsPort = httpsPort;
    this.streamPort = streamPort;
    this.child = child;
    this.folder = folder;
    child.once('exit', () => (this.ended = true));
  }

  /**
   * Starts one in front of `backend` with at most `keepalive` idle connections to it. Each request that it passes on has an
   * X-Front of its own, and its response to the client has the same.
   */
  static start(backend: number, keepalive: number, options: NginxOptions = {}): Promise<Nginx> {
    return Nginx.serve(
      ([port, httpsPort]) => `
  map $server_port $told_scheme { default http; ${httpsPort} https; }
  upstream app { server 127.0.0.1:${backend}; keepalive ${keepalive}; }
  server {
    listen 127.0.0.1:${port}; listen 127.0.0.1:${httpsPort};
    underscores_in_headers on; ignore_invalid_headers off; merge_slashes off;
    proxy_request_buffering off;
    location / {
      proxy_pass http://app; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_set_header X-Front $request_id;
      proxy_next_upstream off; proxy_ignore_client_abort on;
      add_header X-Front $request_id always;
      ${options.location ?? ''}
    }
  }
`,
      options.proxyProtocol
        ? (port) => `server { listen 127.0.0.1:${port}; proxy_pass 127.0.0.1:${backend}; proxy_protocol on; }`
        : null,
    );
  }

  /**
   * Starts one with what `http` returns in its http block; it has to listen at the first of these ports of 127.0.0.1, and may at the
   * second. stream: the same for its stream block, of the third port.
   */
  static async serve(
    http: (ports: [number, number]) => string,
    stream: ((port: number) => string) | null = null,
  ): Promise<Nginx> {
    const folder = mkdtempSync(join(tmpdir(), 'tunicorn-nginx-'));
    const ports = [await freePort(), await freePort(), await freePort()];
    const [port, httpsPort, streamPort] = ports;
    for (const name of ['body', 'proxy', 'other']) mkdirSync(join(folder, name));
    const conf = join(folder, 'nginx.conf');
    writeFileSync(
      conf,
      `${stream ? `load_module ${STREAM};` : ''}
daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/error.log warn;
events { worker_connections 256; }
http {
  access_log off; server_tokens off;
  client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/other; uwsgi_temp_path ${folder}/other; scgi_temp_path ${folder}/other;
${http([port, httpsPort])}
}
${stream ? `stream { ${stream(streamPort)} }` : ''}
`,
    );
    const child = spawn('nginx', ['-p', folder, '-c', conf], { env: { PATH }, stdio: 'ignore' });
    const nginx = new Nginx(ports, child, folder);
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
