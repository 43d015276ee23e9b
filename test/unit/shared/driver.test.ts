/** Which of the ready connections a thread is given next. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Driver } from '../../../src/shared/driver.js';
import { allocate, Shared } from '../../../src/shared/memory.js';
import { ReadyRing } from '../../../src/shared/ready-ring.js';
import { ConnTable } from '../../../src/shared/tconn.js';

for (const owner of [1, 2]) {
  test(`a connection that thread ${owner} took out of the kernel is not passed over for those that main goes on handing over`, () => {
    const shared = new Shared(allocate(2, 100, { epfd: -1, mainWake: -1, threadWake: [] }));
    const table = new ConnTable(shared);
    const driver = new Driver(shared, table, 1);
    const main = new ReadyRing(shared, 0);
    const ready = (ring: ReadyRing, fd: number) => {
      const generation = table.open(fd, 0);
      table.handOver(fd, false);
      ring.put(fd, generation);
    };
    for (let fd = 1; fd <= 20; fd++) ready(main, fd);
    ready(new ReadyRing(shared, owner), 50);
    let turns = 0;
    for (let fd = driver.taken(); fd !== 50; fd = driver.taken()) {
      assert.ok(++turns < 100, 'it starves');
      // Served, and ready again at once: there is always something in main's ring.
      table.release(fd, 0);
      main.put(fd, driver.generation);
    }
  });
}
