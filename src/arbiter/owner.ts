/** Gives files to the user and group of the workers, who open their logs themselves. */
import { closeSync, constants, fchownSync, fstatSync, openSync } from 'node:fs';
import type { Config } from '../config/settings.js';
import { standardOf } from '../log/target.js';
import type { Logger } from '../log.js';

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_WRONLY } = constants;
/** To chown: no change. */
export const SAME = -1;

/**
 * Gives the log files to --user and --group; one that does not exist yet is made. A symbolic link is left alone: whoever may
 * write in its folder could have any file given to him. Never throws: what fails is a warning, as the worker may have access
 * all the same.
 */
export function giveLogs({ errorlog, accesslog, user, group }: Config, log: Logger): void {
  if (user === null && group === null) return;
  for (const path of [errorlog, accesslog]) {
    if (path === null || standardOf(path, 2) !== undefined) continue;
    try {
      give(path, user ?? SAME, group ?? SAME);
    } catch (err) {
      log.warning(`Cannot give ${path} to user ${user}, group ${group}: ${(err as Error).message}`);
    }
  }
}

function give(path: string, user: number, group: number): void {
  const fd = openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o644);
  try {
    if (fstatSync(fd).isFile()) fchownSync(fd, user, group);
  } finally {
    closeSync(fd);
  }
}
