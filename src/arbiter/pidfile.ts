/**
 * The file with the arbiter's process id. It is written beside its place and renamed, so that a reader never finds half of it; one
 * that names a process that lives is respected, any other replaced. Only a file that still has our id is removed.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { TunicornError } from '../errors.js';

const MODE = 0o644;

export class Pidfile {
  /** Absolute: the current folder may change. */
  path: string;

  /**
   * Writes it.
   * @throws {TunicornError} ERR_TUNICORN_PIDFILE, exit status 1: another living process has it, or it cannot be written.
   */
  constructor(path: string) {
    this.path = resolve(path);
    write(this.path);
  }

  /** It is there, and names this process. Somebody may have deleted it. */
  get held(): boolean {
    return readPid(this.path) === process.pid;
  }

  /**
   * Gives it another name. One that somebody has deleted is written anew.
   * @throws {TunicornError} ERR_TUNICORN_PIDFILE: another living process has a file of that name, or it cannot be written.
   */
  rename(path: string): void {
    const target = resolve(path);
    write(target);
    if (target !== this.path) this.unlink();
    this.path = target;
  }

  /** Removes it, if it is still ours. Never throws; a second call does nothing. */
  unlink(): void {
    try {
      if (this.held) rmSync(this.path);
    } catch {
      // Its folder is not ours to write any more.
    }
  }
}

function write(path: string): void {
  const owner = readPid(path);
  if (owner !== null && owner !== process.pid && isAlive(owner)) {
    throw failure(`already running on pid ${owner}, or the pid file ${path} is stale`);
  }
  const draft = `${path}.${randomBytes(6).toString('hex')}`;
  try {
    writeFileSync(draft, `${process.pid}\n`, { mode: MODE, flag: 'wx' });
    renameSync(draft, path);
  } catch (cause) {
    rmSync(draft, { force: true });
    throw failure(`cannot write the pid file ${path}: ${(cause as Error).message}`, cause);
  }
}

function failure(message: string, cause?: unknown): TunicornError {
  return new TunicornError('ERR_TUNICORN_PIDFILE', message, { cause });
}

/** The id in a file; null if there is no such file, or none in it. */
function readPid(path: string): number | null {
  try {
    const text = readFileSync(path, 'utf8').trim();
    return /^[1-9]\d*$/.test(text) ? Number(text) : null;
  } catch {
    return null;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (err) {
    // EPERM: somebody else's.
    return (err as NodeJS.ErrnoException).code === 'EPERM';
  }
}
