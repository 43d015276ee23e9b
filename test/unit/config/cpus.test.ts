import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { type CgroupPlaces, cpuQuota, usableCpus } from '../../../src/config/cpus.js';

const dir = mkdtempSync(join(tmpdir(), 'tunicorn-cgroup-'));
after(() => rmSync(dir, { recursive: true, force: true }));

let count = 0;

/** A made-up cgroup tree: contents of /proc/self/cgroup, and files by path. */
function tree(self: string, files: Record<string, string>): CgroupPlaces {
  const root = join(dir, `tree${count++}`);
  for (const [path, text] of Object.entries({ ...files, self })) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), `${text}\n`);
  }
  return { root, self: join(root, 'self') };
}

describe('cpuQuota', () => {
  it('version 2: the least along the path, parents and the root included', () => {
    const path = '0::/a.slice/b.service';
    const files = {
      'cpu.max': 'max 100000',
      'a.slice/cpu.max': '150000 100000',
      'a.slice/b.service/cpu.max': '400000 100000',
    };
    assert.equal(cpuQuota(tree(path, files)), 1.5);
    assert.equal(cpuQuota(tree(path, { ...files, 'cpu.max': '50000 100000' })), 0.5);
    assert.equal(cpuQuota(tree(path, { ...files, 'a.slice/cpu.max': 'max 100000' })), 4);
    assert.equal(cpuQuota(tree('0::/', { 'cpu.max': '200000 100000' })), 2);
  });

  it("version 2 in a container: the path is the host's, the mount point the container's own", () => {
    assert.equal(cpuQuota(tree('0::/docker/abc', { 'cpu.max': '250000 100000' })), 2.5);
    assert.equal(cpuQuota(tree('0::/../../x', { 'cpu.max': '250000 100000' })), 2.5);
  });

  it('version 1, with the controller alone or joined, beside an empty version 2', () => {
    const self = '4:memory:/m\n3:cpu,cpuacct:/x/y\n0::/';
    const files = {
      'cpu,cpuacct/x/cpu.cfs_quota_us': '300000',
      'cpu,cpuacct/x/cpu.cfs_period_us': '100000',
      'cpu,cpuacct/x/y/cpu.cfs_quota_us': '-1',
      'cpu,cpuacct/x/y/cpu.cfs_period_us': '100000',
    };
    assert.equal(cpuQuota(tree(self, files)), 3);
    assert.equal(
      cpuQuota(tree('1:cpu:/', { 'cpu/cpu.cfs_quota_us': '50000', 'cpu/cpu.cfs_period_us': '100000' })),
      0.5,
    );
    assert.equal(cpuQuota(tree('1:cpuset:/', { 'cpu/cpu.cfs_quota_us': '1' })), Number.POSITIVE_INFINITY);
  });

  it('no limit where nothing is known or understood', () => {
    assert.equal(cpuQuota({ root: join(dir, 'none'), self: join(dir, 'none') }), Number.POSITIVE_INFINITY);
    assert.equal(cpuQuota(tree('nonsense', {})), Number.POSITIVE_INFINITY);
    assert.equal(cpuQuota(tree('0::/', { 'cpu.max': 'what is this' })), Number.POSITIVE_INFINITY);
    assert.equal(cpuQuota(tree('0::/', { 'cpu.max': '100000 0' })), Number.POSITIVE_INFINITY);
  });
});

describe('usableCpus', () => {
  it('is the lesser of mask and quota, rounded up, at least 1', () => {
    const quota = (text: string) => tree('0::/', { 'cpu.max': text });
    assert.equal(usableCpus(quota('150000 100000'), 8), 2);
    assert.equal(usableCpus(quota('800000 100000'), 4), 4);
    assert.equal(usableCpus(quota('1000 100000'), 4), 1);
    assert.equal(usableCpus(quota('max 100000'), 3), 3);
  });
});
