/** The hosts' contract, one test body for both libraries: a life is an isolate of its own, and every end is told. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { type HostOptions, isOutOfMemory, type ThreadHost } from '../../../src/pool/host.js';
import { stackOf } from '../../../src/pool/inspect.js';
import type { ThreadTask } from '../../../src/pool/messages.js';
import { piscinaHost } from '../../../src/pool/piscina.js';
import { tinypoolHost } from '../../../src/pool/tinypool.js';
import { openHandles, threadCount } from '../../support/native.js';
import { until } from '../../support/poll.js';
import type { HostTask } from './host-fixture.js';

const entry = new URL('./host-fixture.js', import.meta.url);

class Life {
  readonly port: MessagePort;
  readonly abort = new AbortController();
  readonly ended: Promise<void>;
  private readonly up: Promise<unknown[]>;

  constructor(host: ThreadHost, then: HostTask['plan']) {
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    let open = true;
    port1.once('close', () => {
      open = false;
    });
    this.up = once(port1, 'message');
    // Lives that are to fail are asked why; the promise must not count as unhandled before.
    this.up.catch(() => {});
    this.ended = host.run({ port: port2, plan: then } as unknown as ThreadTask, this.abort.signal);
    this.ended
      .catch(() => {})
      .finally(() => {
        // The end is told by another way than what was said before it, and may come first. A closed port has told all.
        const last = open ? (receiveMessageOnPort(port1) as { message: unknown } | undefined) : undefined;
        if (last !== undefined) port1.emit('message', last.message);
        port1.close();
      });
  }

  async started(): Promise<{ lives: number; threadId: number }> {
    return (await this.up)[0] as { lives: number; threadId: number };
  }

  async tell(then: HostTask['plan']): Promise<void> {
    await this.started();
    this.port.postMessage(then);
  }

  async echo(): Promise<void> {
    await this.started();
    this.port.postMessage('echo');
    assert.deepEqual(await once(this.port, 'message'), ['echo']);
  }
}

for (const [name, create] of [
  ['piscina', piscinaHost],
  ['tinypool', tinypoolHost],
] as const) {
  /** Runs a body with a host, and sees to it that no thread and no pipe or socket is left of it. */
  async function withHost(options: Partial<HostOptions>, body: (host: ThreadHost) => Promise<void>): Promise<void> {
    const fds = () => openHandles().length;
    const [threadsBefore, fdsBefore] = [threadCount(), fds()];
    const host = create({ entry, threads: 3, ...options });
    // Both libraries unref threads that are about to end; the arbiter keeps a real worker's loop alive.
    const alive = setInterval(() => {}, 1000);
    try {
      await body(host);
    } finally {
      await host.destroy();
      clearInterval(alive);
    }
    await until(() => threadCount() <= threadsBefore, { what: 'the threads to end' });
    await until(() => fds() <= fdsBefore, { what: 'the fds to be closed' });
  }

  describe(`host on ${name}`, { timeout: 120_000 }, () => {
    // libuv's own threads are not to be counted.
    test('warm-up', async () => {
      const host = create({ entry, threads: 1 });
      await new Life(host, 'end').ended;
      await host.destroy();
    });

    test('every life is a new isolate; the thread of the last one is gone when run() resolves', async () => {
      await withHost({ threads: 1 }, async (host) => {
        const threads = threadCount();
        const ids = new Set<number>();
        for (let i = 0; i < 20; i++) {
          const life = new Life(host, 'end');
          const { lives, threadId } = await life.started();
          assert.equal(lives, 1);
          ids.add(threadId);
          await life.ended;
          // The kernel takes a moment to forget a thread that has been joined.
          await until(() => threadCount() <= threads, {
            everyMs: 1,
            timeoutMs: 1000,
            what: 'the old thread to be gone',
          });
        }
        assert.equal(ids.size, 20);
      });
    });

    test('a life that rejects: the reason, and the next one is new', async () => {
      await withHost({ threads: 1 }, async (host) => {
        for (let i = 0; i < 5; i++) {
          const life = new Life(host, 'reject');
          await assert.rejects(life.ended, (error: Error) => {
            assert.match(error.message, /rejected on purpose/);
            assert.equal(isOutOfMemory(error), false);
            return true;
          });
          assert.equal((await life.started()).lives, 1);
        }
      });
    });

    test('process.exit() in a thread rejects', async () => {
      await withHost({}, async (host) => {
        for (let i = 0; i < 3; i++) await assert.rejects(new Life(host, 'exit').ended, /7/);
      });
    });

    test('an entry that does not load rejects, every time', async () => {
      await withHost({ entry: new URL('./broken-host-fixture.js', import.meta.url) }, async (host) => {
        for (let i = 0; i < 3; i++) await assert.rejects(new Life(host, 'wait').ended, /broken on purpose/);
      });
    });

    test('aborting ends it at every instant', async () => {
      await withHost({ threads: 1 }, async (host) => {
        const isAbort = (error: Error) => error.name === 'AbortError';
        // Event loop turns after the start; about 1 ms each while the thread boots, as setTimeout has it.
        for (const turns of [0, 1, 2, 5, 10, 20, 40, 80, 160]) {
          const life = new Life(host, 'wait');
          for (let i = 0; i < turns; i++) await new Promise((resolve) => setTimeout(resolve, 1));
          life.abort.abort();
          await assert.rejects(life.ended, isAbort, `${turns} turns`);
        }
        for (const then of ['wait', 'spin'] as const) {
          const life = new Life(host, then);
          await life.started();
          life.abort.abort();
          await assert.rejects(life.ended, isAbort, then);
        }
        const early = AbortSignal.abort();
        const { port1, port2 } = new MessageChannel();
        await assert.rejects(host.run({ port: port2, plan: 'wait' } as unknown as ThreadTask, early), isAbort);
        port1.close();
        // Ended in peace: nothing is left to abort.
        const life = new Life(host, 'end');
        await life.ended;
        life.abort.abort();
      });
    });

    test('aborting ends it while its stack is asked for, too', async () => {
      await withHost({ threads: 1 }, async (host) => {
        const threads = threadCount();
        for (let i = 0; i < 25; i++) {
          const life = new Life(host, 'spin');
          const { threadId } = await life.started();
          const stack = stackOf(threadId, 10_000);
          // From before the question has arrived until after the answer.
          for (let turn = 0; turn < i; turn++) await new Promise(setImmediate);
          life.abort.abort();
          await assert.rejects(life.ended);
          assert.match((await stack) ?? '    at ', /^ {4}at /);
          await until(() => threadCount() <= threads, { what: 'the thread to be gone' });
        }
      });
    });

    test('threads start while others run, up to the most at a time', async () => {
      await withHost({ threads: 3 }, async (host) => {
        const first = [new Life(host, 'wait'), new Life(host, 'wait')];
        await Promise.all(first.map((life) => life.echo()));
        for (let i = 0; i < 3; i++) {
          const third = new Life(host, 'wait');
          let up = false;
          const started = third.started().then(() => (up = true));
          // The others answer all the while.
          while (!up) await Promise.all(first.map((life) => life.echo()));
          await started;
          await assert.rejects(new Life(host, 'wait').ended, { code: 'ERR_TUNICORN_THREAD' });
          await third.echo();
          await third.tell('end');
          await third.ended;
        }
        const ids = await Promise.all(first.map(async (life) => (await life.started()).threadId));
        assert.equal(new Set(ids).size, 2);
        await Promise.all(first.map((life) => life.tell('end')));
        await Promise.all(first.map((life) => life.ended));
      });
    });

    test('destroy ends what runs and what starts', async () => {
      await withHost({}, async (host) => {
        const lives = [new Life(host, 'wait'), new Life(host, 'spin'), new Life(host, 'wait')];
        await Promise.all(lives.slice(0, 2).map((life) => life.started()));
        const told = Promise.all(lives.map((life) => assert.rejects(life.ended)));
        await host.destroy();
        await told;
      });
    });

    // In Node 24 it may take the process with it; native.heapGuard (heap.test.ts) is what contains it there.
    const contained = Number.parseInt(process.versions.node, 10) < 24;
    test('a thread that outgrows its memory rejects as such; the others go on', { skip: !contained }, async () => {
      await withHost({ threads: 2, memoryMb: 64 }, async (host) => {
        const other = new Life(host, 'wait');
        for (let i = 0; i < 3; i++) {
          const life = new Life(host, 'grow');
          await assert.rejects(life.ended, (error: unknown) => isOutOfMemory(error));
          await other.echo();
        }
        await other.tell('end');
        await other.ended;
      });
    });
  });
}

test('isOutOfMemory looks through causes, and only there', () => {
  const oom = Object.assign(new Error('x'), { code: 'ERR_WORKER_OUT_OF_MEMORY' });
  assert.ok(isOutOfMemory(oom));
  assert.ok(isOutOfMemory(new Error('y', { cause: new Error('z', { cause: oom }) })));
  const circle: Error & { cause?: unknown } = new Error('circle');
  circle.cause = circle;
  for (const other of [undefined, null, 'ERR_WORKER_OUT_OF_MEMORY', new Error('ERR_WORKER_OUT_OF_MEMORY'), circle])
    assert.equal(isOutOfMemory(other), false);
});
