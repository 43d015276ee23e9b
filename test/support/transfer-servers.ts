/**
 * tunicorn and node:http with the same app for big bodies (fixtures/http-big.mjs), and one transfer measured on either: rate, peak
 * memory above what the process had before, CPU time. Used by the tests and by bench/transfers.ts.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HttpServer } from './http-server.js';
import { cpuSeconds, peakRss, resetPeakRss, rss } from './proc.js';
import { content, contentHash, download, upload } from './transfer.js';

const FIXTURES = fileURLToPath(new URL('../../../test/integration/fixtures/', import.meta.url));

export const TRANSFERS = ['upload', 'download', 'chunked'] as const;
/** Transfers that run at once to warm the servers up: more than there are threads on the machines that measure. */
const AT_ONCE = 4;

export type TransferKind = (typeof TRANSFERS)[number];

export interface Measured {
  /** MiB a second. */
  rate: number;
  /** MiB of memory at the peak above that before. */
  growth: number;
  /** CPU seconds of the server. */
  cpu: number;
}

/** A server process that is measured. */
interface Target {
  port: number;
  pid: number;
}

export class TransferServers {
  readonly tunicorn: HttpServer;
  readonly size: number;
  private readonly sha1: string;
  private readonly node: Target;
  private readonly child: ChildProcess;
  private readonly folder: string;

  private constructor(size: number, folder: string, tunicorn: HttpServer, child: ChildProcess, node: Target) {
    this.size = size;
    this.sha1 = contentHash(size);
    this.folder = folder;
    this.tunicorn = tunicorn;
    this.child = child;
    this.node = node;
  }

  /** Starts both; size: bytes of each transfer. */
  static async start(size: number, args: readonly string[] = []): Promise<TransferServers> {
    const folder = mkdtempSync(join(tmpdir(), 'tunicorn-big-'));
    const file = join(folder, 'big.bin');
    const fd = openSync(file, 'w');
    for (const piece of content(size)) writeSync(fd, piece);
    closeSync(fd);
    process.env.BIG_FILE = file;
    const child = spawn(process.execPath, [`${FIXTURES}node-http-server.mjs`, `${FIXTURES}http-big.mjs`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const port = await new Promise<number>((resolve, reject) => {
        child.stdout!.setEncoding('utf8').once('data', (text: string) => resolve(Number(/port (\d+)/.exec(text)![1])));
        child.once('exit', () => reject(new Error('node:http did not start')));
      });
      const tunicorn = await HttpServer.start('http-big.mjs', args);
      return new TransferServers(size, folder, tunicorn, child, { port, pid: child.pid! });
    } catch (error) {
      child.kill('SIGKILL');
      rmSync(folder, { recursive: true });
      throw error;
    }
  }

  /**
   * Transfers without measuring, several at once, so that each of tunicorn's threads has some: code is compiled and heaps have
   * their size then, and what grows afterwards grows with the body.
   */
  async warmUp(kind: TransferKind): Promise<void> {
    for (const server of ['node', 'tunicorn'] as const) {
      await Promise.all(Array.from({ length: AT_ONCE }, () => this.transfer(server, kind)));
    }
  }

  /** One transfer; throws if a byte of it is wrong. */
  async measure(server: 'tunicorn' | 'node', kind: TransferKind): Promise<Measured> {
    const { pid } = this.target(server);
    const before = rss(pid);
    resetPeakRss(pid);
    const cpu = cpuSeconds(pid);
    const ms = await this.transfer(server, kind);
    return {
      rate: this.size / 2 ** 20 / (ms / 1000),
      growth: (peakRss(pid) - before) / 2 ** 20,
      cpu: cpuSeconds(pid) - cpu,
    };
  }

  private target(server: 'tunicorn' | 'node'): Target {
    return server === 'node' ? this.node : { port: this.tunicorn.port, pid: this.tunicorn.worker };
  }

  /** How long it took, ms. */
  private async transfer(server: 'tunicorn' | 'node', kind: TransferKind): Promise<number> {
    const { port } = this.target(server);
    const { size, sha1 } = this;
    if (kind === 'upload') {
      const got = await upload(port, '/upload', size);
      assert.deepEqual(JSON.parse(got.text), { size, sha1 });
      return got.ms;
    }
    const got = await download(port, `/${kind}`);
    assert.deepEqual({ size: got.bytes, sha1: got.sha1 }, { size, sha1 });
    return got.ms;
  }

  async stop(): Promise<void> {
    this.child.kill('SIGKILL');
    rmSync(this.folder, { recursive: true });
    await this.tunicorn.stop();
  }
}

/** The middle of some numbers. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}
