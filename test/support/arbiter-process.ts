/**
 * An arbiter (or the CLI) as a child process: its log, its workers, its end. Every process it started is known by the
 * pid in its log and is killed by cleanup().
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { until } from './poll.js';

const RUNNER = fileURLToPath(new URL('../integration/fixtures/run-arbiter.js', import.meta.url));

/** True while the process exists and is no zombie. */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export class ArbiterProcess {
  readonly child: ChildProcess;
  /** Everything written to standard error so far. */
  log = '';
  stdout = '';
  /** Settles when the process ended and its output is complete. */
  readonly ended: Promise<Ended>;
  exit: Ended | null = null;

  constructor(args: readonly string[], env: Record<string, string> = {}, cwd?: string) {
    this.child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, PORT: '', WEB_CONCURRENCY: '', ...env },
      cwd,
    });
    this.child.stdout!.setEncoding('utf8').on('data', (text) => (this.stdout += text));
    this.child.stderr!.setEncoding('utf8').on('data', (text) => (this.log += text));
    this.ended = new Promise((resolve) => {
      this.child.once('close', (code, signal) => resolve((this.exit = { code, signal })));
    });
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** Pids of all workers it ever started, oldest first. */
  get spawned(): number[] {
    return [...this.log.matchAll(/Booting worker with pid: (\d+)/g)].map((m) => Number(m[1]));
  }

  /** Pids of the workers that live. */
  get workers(): number[] {
    return this.spawned.filter(isAlive);
  }

  async waitFor(text: string | RegExp, timeoutMs = 10_000): Promise<void> {
    const found = () => (typeof text === 'string' ? this.log.includes(text) : text.test(this.log)) || null;
    await until(found, { timeoutMs, what: `${text} in the log` }).catch((err) => {
      throw new Error(`${err.message}; the log:\n${this.log}`);
    });
  }

  /** Waits until exactly n workers live and each listener answers. */
  async waitForWorkers(n: number, timeoutMs = 10_000): Promise<number[]> {
    await until(() => this.workers.length === n, { timeoutMs, what: `${n} workers` }).catch((err) => {
      throw new Error(`${err.message}, there are ${this.workers.length}; the log:\n${this.log}`);
    });
    return this.workers;
  }

  /** Addresses in the line `Listening at`. */
  async addresses(): Promise<string[]> {
    await this.waitFor(/Listening at: .* \(\d+\)\n/);
    return /Listening at: (.*) \(\d+\)\n/.exec(this.log)![1].split(',');
  }

  /** Port of the first address. */
  async firstPort(): Promise<number> {
    const [address] = await this.addresses();
    return Number(new URL(address).port);
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Kills whatever of it still lives. */
  async cleanup(): Promise<void> {
    for (const pid of [this.pid, ...this.spawned]) {
      if (pid === this.pid && this.exit) continue;
      try {
        if (isAlive(pid)) process.kill(pid, 'SIGKILL');
      } catch {
        // Gone meanwhile.
      }
    }
    await this.ended;
  }
}

/** Starts an arbiter with fake workers; see fixtures/fake-worker.ts for `behaviour`. */
export function startArbiter(settings: object, behaviour = '', env: Record<string, string> = {}): ArbiterProcess {
  const defaults = { bind: ['127.0.0.1:0'], gracefulTimeout: 5 };
  return new ArbiterProcess([RUNNER, JSON.stringify({ ...defaults, ...settings })], {
    FAKE_WORKER: behaviour,
    ...env,
  });
}

/** Connects to an address as logged, writes `request` if there is one, and returns all that comes back. */
export async function fetchText(address: string, request?: string): Promise<string> {
  const unix = /^unix:(.*)$/.exec(address);
  const url = unix ? null : new URL(address);
  const socket = unix ? connect(unix[1]) : connect(Number(url!.port), url!.hostname.replace(/^\[(.*)\]$/, '$1'));
  if (request !== undefined) socket.write(request);
  let text = '';
  for await (const chunk of socket.setEncoding('utf8')) text += chunk;
  return text;
}
