/**
 * How many CPUs this process may really use: the affinity mask (os.availableParallelism) and the CPU time quota of its
 * cgroup, whichever is less. Containers limit by quota, which neither os.cpus() nor the mask shows.
 * cgroup v2: the file `cpu.max` ("quota period" or "max period"), along the process's path and every parent of it.
 * cgroup v1: `cpu.cfs_quota_us` (-1: none) over `cpu.cfs_period_us`, in the hierarchy that holds the `cpu` controller.
 * Source: the kernel's Documentation/admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst.
 */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';

/** Where to look; tests give a made-up tree. */
export interface CgroupPlaces {
  /** Mount point of the cgroup file systems. Default /sys/fs/cgroup. */
  root?: string;
  /** The process's own cgroups. Default /proc/self/cgroup. */
  self?: string;
}

function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return null;
  }
}

/** quota / period in CPUs; Infinity where there is no limit or the text is not understood. */
function ratio(quota: string | undefined, period: string | undefined): number {
  const q = Number(quota);
  const p = Number(period);
  return q > 0 && p > 0 ? q / p : Number.POSITIVE_INFINITY;
}

function quotaV2(dir: string): number {
  const [quota, period] = (read(join(dir, 'cpu.max')) ?? '').split(/\s+/);
  return ratio(quota, period);
}

function quotaV1(dir: string): number {
  return ratio(read(join(dir, 'cpu.cfs_quota_us')) ?? '', read(join(dir, 'cpu.cfs_period_us')) ?? '');
}

/** The least quota of `path` and its parents below `mount`, the mount point itself included. */
function leastAlong(mount: string, path: string, quotaOf: (dir: string) => number): number {
  let least = quotaOf(mount);
  // Inside a container /proc/self/cgroup may name a path of the host ("/docker/..." or "/../x") that the mount does not
  // show; the files are then simply not there, and the mount point (already looked at) is the container's own group.
  for (let p = join('/', path); p !== '/'; p = dirname(p)) least = Math.min(least, quotaOf(join(mount, p)));
  return least;
}

/** CPU quota of this process's cgroups in CPUs (1.5 = one and a half), Infinity if there is none. Never throws. */
export function cpuQuota(places: CgroupPlaces = {}): number {
  const root = places.root ?? '/sys/fs/cgroup';
  let least = Number.POSITIVE_INFINITY;
  for (const line of (read(places.self ?? '/proc/self/cgroup') ?? '').split('\n')) {
    // hierarchy-ID:controller-list:cgroup-path; version 2 has ID 0 and an empty list.
    const match = /^(\d+):([^:]*):(.*)$/.exec(line);
    if (!match) continue;
    const [, id, controllers, path] = match;
    if (id === '0' && controllers === '') {
      least = Math.min(least, leastAlong(root, path, quotaV2));
      // systemd's hybrid layout mounts version 2 beside version 1.
      least = Math.min(least, leastAlong(join(root, 'unified'), path, quotaV2));
    } else if (controllers.split(',').includes('cpu')) {
      for (const mount of new Set([controllers, 'cpu', 'cpu,cpuacct'])) {
        least = Math.min(least, leastAlong(join(root, mount), path, quotaV1));
      }
    }
  }
  return least;
}

/** CPUs this process may use: at least 1, the quota rounded up. */
export function usableCpus(places: CgroupPlaces = {}, parallelism = availableParallelism()): number {
  return Math.max(1, Math.min(parallelism, Math.ceil(cpuQuota(places))));
}
