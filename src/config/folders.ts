/**
 * Folders that may be reached by a symbolic link to the present release: named as the operator named them, so that the link is
 * followed anew at each use; and which one a name leads to now.
 */
import { readlinkSync, statSync } from 'node:fs';

/** The current folder by the name by which the shell knows it ($PWD), as long as that is the same folder. */
export function currentFolder(): string {
  const cwd = process.cwd();
  const { PWD } = process.env;
  return PWD !== undefined && PWD !== cwd && folderAt(PWD) === folderAt(cwd) ? PWD : cwd;
}

/** Tells folders apart by what they are, not by name; null: there is none. */
export function folderAt(path: string): string | null {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats?.isDirectory() ? `${stats.dev}:${stats.ino}` : null;
}

/** Path of the current folder; null: it has been removed. Not process.cwd(), which remembers. */
export function presentFolder(): string | null {
  const path = readlinkSync('/proc/self/cwd');
  return folderAt(path) === folderAt('.') ? path : null;
}

/** Node starts no thread in a process whose current folder has been removed (a release that is out of use): leaves such a one. */
export function leaveRemovedFolder(chdir: string): void {
  if (presentFolder() === null) process.chdir(folderAt(chdir) === null ? '/' : chdir);
}
