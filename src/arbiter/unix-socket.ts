/**
 * The file of a unix socket: replaced if nobody listens at it, made with the permissions gunicorn gives it (all but those of
 * `umask`), and removed only if it is still the same file.
 */
import { lchownSync, lstatSync, statSync, unlinkSync } from 'node:fs';
import { native } from '../native/binding.js';
import { SAME } from './owner.js';

const EADDRINUSE = -98;
const ENOTSOCK = -88;
const ECONNREFUSED = -111;
const EACCES = -13;
const ENOENT = -2;

export interface FileOptions {
  /** Permissions that the file does not get. Default 0. */
  umask?: number;
  /** User and group that the file is given to; null: it stays as it is. Default null. */
  user?: number | null;
  group?: number | null;
}

/**
 * Binds with another umask than the process's; 0, gunicorn's default, lets clients of other users, such as a proxy, connect.
 * The file then goes to the user and group of the workers.
 * @returns 0, or a negative errno with no file left.
 */
export function bindUnix(fd: number, path: string, { umask = 0, user, group }: FileOptions): number {
  const before = process.umask(umask);
  const result = native.bind(fd, 'unix', path, 0);
  process.umask(before);
  if (result < 0) return result;
  try {
    lchownSync(path, user ?? SAME, group ?? SAME);
    return result;
  } catch (err) {
    unlinkSync(path);
    return (err as NodeJS.ErrnoException).errno ?? EACCES;
  }
}

/** Removes a socket file at which nobody listens. @returns 0, or a negative errno if the path is taken. */
export function clearPath(path: string): number {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (!stats) return 0;
  if (!stats.isSocket()) return ENOTSOCK;
  const probe = native.socket('unix');
  if (probe < 0) return probe;
  // Answers at once: a listener takes it or has a full queue (EAGAIN); a socket that nobody listens at refuses.
  const answer = native.connect(probe, 'unix', path, 0);
  native.close(probe);
  if (answer === ENOENT) return 0;
  if (answer === EACCES) return EACCES;
  if (answer !== ECONNREFUSED) return EADDRINUSE;
  try {
    unlinkSync(path);
    return 0;
  } catch (err) {
    return (err as NodeJS.ErrnoException).code === 'ENOENT' ? 0 : ((err as NodeJS.ErrnoException).errno ?? EACCES);
  }
}

/** Says which file is at a path; null: none. */
export function inodeOf(path: string): string | null {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats ? `${stats.dev}:${stats.ino}` : null;
}

/** A successor may have put its own socket at the same path; that one stays. Never throws. */
export function unlinkIfSame(path: string, inode: string): void {
  try {
    if (inodeOf(path) === inode) unlinkSync(path);
  } catch {
    // Gone already, or not ours to remove any more.
  }
}
