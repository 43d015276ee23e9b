/** Whom a worker runs as: it leaves the arbiter's user and groups before it loads anything of the app. */
import type { Config } from '../config/settings.js';
import { TunicornError, WORKER_BOOT_ERROR } from '../errors.js';

/**
 * Takes the groups and the user that the settings name; what is so already stays. With --user alone the group stays, as in
 * gunicorn, but the arbiter's other groups are left in any case.
 * @throws {TunicornError} ERR_TUNICORN_IDENTITY, exit status 3: not permitted.
 */
export function takeIdentity({ user, group, initgroups }: Pick<Config, 'user' | 'group' | 'initgroups'>): void {
  const uid = user ?? process.getuid!();
  const gid = group ?? process.getgid!();
  if (uid === process.getuid!() && gid === process.getgid!() && !initgroups) return;
  try {
    takeGroups(initgroups ? user : null, gid);
    if (gid !== process.getgid!()) process.setgid!(gid);
    if (uid !== process.getuid!()) process.setuid!(uid);
  } catch (cause) {
    const why = (cause as Error).message;
    throw new TunicornError('ERR_TUNICORN_IDENTITY', `cannot run as user ${uid}, group ${gid}: ${why}`, {
      exitCode: WORKER_BOOT_ERROR,
      cause,
    });
  }
}

/** Node has it on POSIX; its types forget it. */
interface Initgroups {
  initgroups(user: number | string, extraGroup: number | string): void;
}

/** The groups of `user` and `gid`; `gid` alone where there is no user, or one without an account. */
function takeGroups(user: number | null, gid: number): void {
  try {
    if (user !== null) return (process as unknown as Initgroups).initgroups(user, gid);
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code !== 'ERR_UNKNOWN_CREDENTIAL') throw err;
  }
  process.setgroups!([gid]);
}
