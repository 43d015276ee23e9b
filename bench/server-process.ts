/**
 * The life of one server under test: started in a session and process group of its own on a free port, polled until it
 * answers, handed to the caller, and ended by pid, first politely. What it leaves behind is killed and told, so no
 * run can disturb the next one. An exit or a signal of the harness ends the servers that still run.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive, processTree } from './proc.js';
import { isAnswering, type Scenario } from './scenarios.js';
import { type Launch, ROOT, type Server } from './servers.js';

const READY_MS = 15_000;
const STOP_MS = 5_000;
const OUTPUT_CHARS = 2_000;

export interface LiveServer {
  pid: number;
  port: number;
  /** Throws when the server's root process has exited. */
  assertRunning(): void;
}

/** Root pids of what runs now, and directories in use, for the harness's own end. */
const running = new Set<number>();
const directories = new Set<string>();

export function makeTemp(): string {
  const dir = mkdtempSync(join(tmpdir(), 'tunicorn-bench-'));
  directories.add(dir);
  return dir;
}

export function removeTemp(dir: string): void {
  rmSync(dir, { recursive: true, force: true });
  directories.delete(dir);
}

/** Ends everything that the harness started and removes its files; for signals and unexpected exits. */
export function cleanUp(): void {
  for (const pid of running) {
    for (const stat of processTree(pid)) {
      try {
        process.kill(stat.pid, 'SIGKILL');
      } catch {
        // It went by itself.
      }
    }
  }
  for (const dir of directories) removeTemp(dir);
}

/** Registers a process that must not outlive the harness (the load tool). */
export function track(child: ChildProcess): void {
  const { pid } = child;
  if (pid === undefined) return;
  running.add(pid);
  child.once('exit', () => running.delete(pid));
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** Ends the server's processes. Resolves to a note when they had to be killed. */
async function stop(root: number, child: ChildProcess): Promise<string | undefined> {
  const tree = processTree(root);
  const alive = () => [...tree.filter(isAlive), ...processTree(root)];
  if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
  for (const deadline = Date.now() + STOP_MS; Date.now() < deadline && alive().length > 0; ) await sleep(20);
  const left = new Set(alive().map((stat) => stat.pid));
  for (const pid of left) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It went by itself.
    }
  }
  return left.size > 0 ? `${left.size} processes did not end within ${STOP_MS / 1000} s of SIGTERM` : undefined;
}

/**
 * Runs `use` against a live server. `note` is called with what is odd but does not spoil the measurement.
 * Throws, with the end of the server's output, when it does not come up or dies under `use`.
 */
export async function withServer<T>(
  server: Server,
  scenario: Scenario,
  settings: Omit<Launch, 'port' | 'scenario' | 'temp'>,
  env: Record<string, string>,
  note: (text: string) => void,
  use: (live: LiveServer) => Promise<T>,
): Promise<T> {
  const port = await freePort();
  const temp = makeTemp();
  const command = server.command({ ...settings, port, scenario: scenario.name, temp });
  const child = spawn(command.file, command.args, {
    cwd: ROOT,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env, ...command.env, PORT: String(port), BENCH_SCENARIO: scenario.name },
  });
  let output = '';
  const collect = (data: Buffer) => {
    output = (output + data.toString()).slice(-OUTPUT_CHARS);
  };
  child.stdout.on('data', collect);
  child.stderr.on('data', collect);
  let failure: Error | undefined;
  child.once('error', (error) => {
    failure = error;
  });

  const assertRunning = () => {
    if (failure) throw failure;
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`the server exited (${child.signalCode ?? child.exitCode})`);
    }
  };
  const pid = child.pid ?? -1;
  if (pid > 0) running.add(pid);
  try {
    for (const deadline = Date.now() + READY_MS; ; await sleep(30)) {
      assertRunning();
      const left = deadline - Date.now();
      if (left <= 0) throw new Error(`no answer within ${READY_MS / 1000} s`);
      if (await isAnswering(scenario, port, left)) break;
    }
    assertRunning();
    return await use({ pid, port, assertRunning });
  } catch (error) {
    const tail = output.trim();
    throw tail ? new Error(`${(error as Error).message}; its output ends:\n${tail}`, { cause: error }) : error;
  } finally {
    if (pid > 0) {
      const left = await stop(pid, child);
      if (left) note(left);
      running.delete(pid);
    }
    removeTemp(temp);
  }
}
