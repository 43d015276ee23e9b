/** What the host tests run as a thread's life: it tells who it is, answers, and does what it is told. */
import { once } from 'node:events';
import { type MessagePort, threadId } from 'node:worker_threads';

export interface HostTask {
  port: MessagePort;
  /** 'wait': until told otherwise by a message. */
  plan: 'wait' | 'end' | 'reject' | 'exit' | 'spin' | 'grow';
}

/** Lives of this isolate. */
let lives = 0;

const ends: Record<HostTask['plan'], (task: HostTask) => unknown> = {
  async wait(task) {
    const [then] = (await once(task.port, 'message')) as [HostTask['plan'] | 'echo'];
    if (then !== 'echo') return ends[then](task);
    task.port.postMessage('echo');
    return ends.wait(task);
  },
  end() {},
  reject() {
    throw new Error('rejected on purpose');
  },
  exit: () => process.exit(7),
  spin() {
    while (true);
  },
  grow() {
    const all: unknown[] = [];
    for (;;) all.push({});
  },
};

export default async function life(task: HostTask): Promise<void> {
  task.port.postMessage({ lives: ++lives, threadId });
  try {
    await ends[task.plan](task);
  } finally {
    task.port.close();
  }
}
