/** A worker thread that does one thing, named by workerData.role; see threads.test.ts and terminate.test.ts. */
import { setImmediate as turn } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { native } from '../../../src/native/binding.js';

export interface Fixture {
  role: 'unref' | 'ref' | 'loop' | 'busy';
  /** unref, ref: an eventfd to watch. loop: the slot to register. */
  n: number;
  /** loop: 1 = spin. busy: its clock. */
  words: Int32Array;
  /** busy: what to use. */
  epfd: number;
  wakes: number[];
  sockets: number[];
  /** busy: how the thread ends; 'never' = it is terminated. */
  end: 'never' | 'exit' | 'throw' | 'return';
}

const { role, n, words, epfd, wakes, sockets, end } = workerData as Fixture;

if (role === 'unref' || role === 'ref') {
  const id = native.pollStart(n, () => false, 1, 1);
  if (role === 'unref') {
    native.pollRef(id, 0);
    native.pollRef(id, 1);
    native.pollRef(id, 0);
  } else {
    parentPort!.once('message', () => native.pollStop(id));
    parentPort!.unref();
  }
} else if (role === 'loop') {
  parentPort!.on('message', () => {
    Atomics.store(words, 1, 1);
    while (Atomics.load(words, 0) === 1);
    Atomics.store(words, 1, 0);
  });
  parentPort!.postMessage(native.loopRegister(n));
} else {
  const buffer = new Uint8Array(70_000);
  const events = new Int32Array(3 * 16);
  const texts = ['ü'.repeat(50), 'ü'.repeat(40_000)];
  native.useClock(words);
  native.loopRegister(1000);
  native.setThreadName('busy');
  let calls = 0;
  const work = (): boolean => {
    const fd = sockets[calls % sockets.length];
    const text = texts[calls % 20 === 0 ? 1 : 0];
    native.recv(fd, buffer, 0, 70_000);
    native.sendHead(fd, text, buffer, 0, 1000);
    native.sendString(fd, text, calls & 1);
    native.send(fd, buffer, 0, 10);
    native.headPut(fd, buffer, 0, 500);
    native.headLength(fd);
    native.headTake(fd, buffer, 0, 1000);
    native.epollWait(epfd, events, 16, 0);
    native.loopIdle(1000);
    native.loopCpu(1000);
    native.getPeerName(fd);
    // It makes no fd of its own: a thread may be terminated before it can tell anybody about it.
    native.close(-1);
    native.eventfdWrite(wakes[calls % wakes.length]);
    if (++calls > 20 && end === 'throw') throw new Error('as told');
    if (calls > 20 && end === 'exit') process.exit(0);
    return calls % 7 !== 0;
  };
  const ids = wakes.map((wake, i) => native.pollStart(wake, work, 5, i & 1));
  ids.push(native.pollStart(epfd, work, 5, 0));
  parentPort!.postMessage('up');
  while (end !== 'return' || calls < 20) {
    // Handles that come, pause and go while others are being called.
    native.pollPause(ids[0], calls & 1);
    native.pollStop(native.pollStart(wakes[0], work, 1, 1));
    work();
    await turn();
  }
  for (const id of ids) native.pollStop(id);
}
