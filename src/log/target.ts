/**
 * Where a log goes, as a descriptor of the process: the main thread opens it, all threads write to the same number. So it is
 * reopened in one place: the new file takes over the old one's number (dup3) at one instant for all threads, also for one that
 * is stuck, and no line falls between the two. No descriptor blocks its writer: pipes and terminals are opened anew with
 * O_NONBLOCK where they are ours to open, and sockets are written with send(), see file-sink.ts.
 */
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { TunicornError } from '../errors.js';
import { native } from '../native/binding.js';

const { O_APPEND, O_CREAT, O_NOCTTY, O_NONBLOCK, O_RDWR, O_WRONLY } = constants;
const ENXIO = -6;

/** Files that are no files: a socket has no name by which it could be opened, and another user's pipe refuses it. */
const STANDARD: ReadonlyMap<string, 1 | 2> = new Map([
  ['/dev/stdout', 1],
  ['/dev/stderr', 2],
]);

/** The standard stream that a path stands for; undefined: none, it is a file. */
export function standardOf(path: string, usual: 1 | 2): 1 | 2 | undefined {
  return path === '-' ? usual : STANDARD.get(path);
}

/** Targets of this process (main thread) that are files. */
const files = new Set<LogTarget>();

export class LogTarget {
  /** 'error log', 'access log'. */
  readonly what: string;
  /** Null: a standard stream. */
  readonly path: string | null;
  readonly fd: number;
  readonly #owned: boolean;
  /** Standard streams that go to the same file. */
  readonly #streams: number[] = [];
  #open = true;

  /**
   * @param path '-' is the standard stream `standardFd`; /dev/stdout and /dev/stderr are those of their names.
   * @throws {TunicornError} ERR_TUNICORN_LOG if the file cannot be opened.
   */
  constructor(what: string, path: string, standardFd: 1 | 2) {
    this.what = what;
    const standard = standardOf(path, standardFd);
    this.path = standard === undefined ? path : null;
    try {
      this.fd = standard === undefined ? openFile(path) : openStandard(standard);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new TunicornError('ERR_TUNICORN_LOG', `cannot open the ${what} '${path}': ${reason}`, { cause });
    }
    this.#owned = this.fd !== standard;
    if (this.path !== null) files.add(this);
  }

  /**
   * Opens the file again, after a rotation renamed it. If that fails, the old one is better than none.
   * @throws what openSync throws.
   */
  reopen(): void {
    if (this.path === null || !this.#open) return;
    const fd = openFile(this.path);
    const result = native.dupTo(fd, this.fd);
    for (const stream of this.#streams) native.dupTo(fd, stream);
    closeSync(fd);
    if (result < 0) throw new Error(native.errnoName(result));
  }

  /**
   * From now on a standard stream of the process goes to this file, for native code and child processes, too. Not where the
   * target is no file: it would not block, which is not what they expect. @returns whether it does.
   */
  takeOver(stream: 1 | 2): boolean {
    if (this.path === null || !fstatSync(this.fd).isFile()) return false;
    native.dupTo(this.fd, stream);
    this.#streams.push(stream);
    return true;
  }

  /** A second call does nothing. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    files.delete(this);
    if (this.#owned) closeSync(this.fd);
  }
}

/** Standard streams that --capture-output takes over: not the one that is the access log itself. */
export function capturedStreams({ accesslog }: { accesslog: string | null }): (1 | 2)[] {
  const kept = accesslog === null ? undefined : standardOf(accesslog, 1);
  return ([1, 2] as const).filter((stream) => stream !== kept);
}

/** A FIFO without a reader is opened for both: what it holds is read by who comes later, and opening it waits for nobody. */
function openFile(path: string): number {
  const flags = O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK;
  try {
    return openSync(path, flags | O_WRONLY);
  } catch (err) {
    if ((err as NodeJS.ErrnoException).errno !== ENXIO) throw err;
    return openSync(path, O_RDWR | O_NOCTTY | O_NONBLOCK);
  }
}

/**
 * A descriptor for a standard stream that does not block. O_NONBLOCK on the stream itself would be everybody's who shares it, a
 * shell's for example, so pipes and terminals are opened anew; a file has its own place to write at, which must stay.
 */
function openStandard(fd: 1 | 2): number {
  const stat = fstatSync(fd);
  if (stat.isFile() || stat.isSocket()) return fd;
  try {
    return openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_APPEND | O_NOCTTY | O_NONBLOCK);
  } catch {
    // Another user's (a container that does not run as root), or nobody reads it any more. Node undoes this at the end.
    if (stat.isFIFO()) native.setNonBlocking(fd);
    return fd;
  }
}

/** Opens all log files of this process again; `failed` hears of each that could not be. Never throws. */
export function reopenTargets(failed: (message: string) => void): void {
  for (const target of files) {
    try {
      target.reopen();
    } catch (err) {
      failed(`Cannot reopen the ${target.what} '${target.path}', the old one goes on: ${(err as Error).message}`);
    }
  }
}
