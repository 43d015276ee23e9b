/** The outbox: what is held back leaves whole, in order and before anything else, whoever sends, closes or dies. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { isMainThread, Worker } from 'node:worker_threads';
import { EAGAIN, native } from '../../../src/native/binding.js';
import { ok, readAll, readable, tcpPair, unixPair } from '../../support/native.js';
import { runInBoth } from './run-bodies.js';

/** The slot whose outbox the tests of this file use. */
const SLOT = 1001;
const text = (fd: number) => readAll(fd).toString('latin1');

function withPair(body: (client: number, server: number) => void, pair = unixPair): void {
  const [client, server] = pair();
  ok(native.loopRegister(SLOT));
  try {
    body(client, server);
  } finally {
    native.close(client);
    native.close(server);
  }
}

runInBoth('outbox', import.meta.url, {
  'holds back until it is flushed'() {
    withPair((client, server) => {
      assert.equal(native.sendString(server, 'één', 1, 1), 0);
      assert.equal(native.sendHead(server, 'head', Buffer.from('.body.'), 1, 4, 1), 0);
      assert.equal(native.peek(client), EAGAIN);
      assert.equal(native.outboxFlush(SLOT), 0);
      assert.equal(readAll(client).toString(), 'éénheadbody');
      assert.equal(native.outboxFlush(SLOT), 0);
      assert.equal(native.peek(client), EAGAIN);
    }, tcpPair);
  },

  'what it has is as good as sent: the outcome is noted'() {
    withPair((_client, server) => {
      const words = new Int32Array(new SharedArrayBuffer(4 * (server + 1)));
      ok(native.useOutcomes(words, 1, 0));
      native.sendString(server, 'text', 0, 1, 5);
      assert.equal(words[server], 5);
      native.sendHead(server, 'head', Buffer.from('body'), 0, 4, 1, 6);
      assert.equal(words[server], 6);
    });
  },

  'leaves before anything else that is sent'() {
    withPair((client, server) => {
      for (const call of [
        () => native.sendString(server, 'b', 0),
        () => native.sendHead(server, 'b', new Uint8Array(0), 0, 0),
        () => native.send(server, Buffer.from('b'), 0, 1),
      ]) {
        native.sendString(server, 'a', 0, 1);
        assert.ok(call() >= 0);
        assert.equal(text(client), 'ab');
      }
    });
  },

  'leaves before the end of the stream'() {
    withPair((client, server) => {
      native.sendString(server, 'last', 0, 1);
      assert.equal(native.shutdown(server, 1), 0);
      assert.equal(text(client), 'last');
      assert.equal(native.peek(client), 0);
    });
    const [client, server] = tcpPair();
    native.sendString(server, 'last', 0, 1);
    native.close(server);
    assert.ok(readable(client));
    assert.equal(text(client), 'last');
    const words = new Int32Array(2);
    const [client2, server2] = unixPair();
    native.sendString(server2, 'last', 0, 1);
    native.closeEntry(server2, words, 0, 1, 0, words, 1);
    assert.equal(text(client2), 'last');
    native.close(client);
    native.close(client2);
  },

  'keeps what the kernel has no room for, in order, and lets nothing overtake it'() {
    withPair((client, server) => {
      const filler = Buffer.alloc(65536, 0x2e);
      let filled = 0;
      for (let n: number; (n = native.send(server, filler, 0, filler.length)) > 0; ) filled += n;
      let held = '';
      for (let i = 0; i < 20; i++) {
        held += `[${i}]`;
        assert.equal(native.sendString(server, `[${i}]`, 0, 1), 0);
      }
      assert.equal(native.outboxFlush(SLOT), 20);
      assert.equal(native.sendString(server, 'x', 0), EAGAIN);
      assert.equal(native.send(server, filler, 0, 1), EAGAIN);
      let got = text(client);
      for (let i = 0; i < 50 && native.outboxFlush(SLOT) > 0; i++) got += text(client);
      assert.equal(native.sendString(server, 'x', 0), 0);
      got += text(client);
      assert.equal(got.length, filled + held.length + 1);
      assert.equal(got.slice(filled), `${held}x`);
    });
  },

  'one client that does not read keeps nobody else waiting'() {
    withPair((client, server) => {
      const [other, otherServer] = unixPair();
      const filler = Buffer.alloc(65536, 0x2e);
      while (native.send(server, filler, 0, filler.length) > 0);
      native.sendString(server, 'stuck', 0, 1);
      native.sendString(otherServer, 'free', 0, 1);
      native.sendString(server, 'stuck', 0, 1);
      assert.equal(native.outboxFlush(SLOT), 2);
      assert.equal(text(other), 'free');
      // More than it has room for: the rest is not held, and not taken either.
      let results = 0;
      for (let i = 0; i < 100; i++) results += native.sendString(server, 'y', 0, 1) === EAGAIN ? 1 : 0;
      assert.ok(results >= 36, String(results));
      assert.equal(native.sendString(otherServer, 'still', 0, 1), 0);
      assert.equal(text(other), 'still');
      // Its end takes its bytes out of the box.
      native.close(server);
      assert.equal(native.outboxFlush(SLOT), 0);
      native.close(other);
      native.close(otherServer);
      void client;
    });
  },

  'sends at once what is long'() {
    withPair((client, server) => {
      const long = 'x'.repeat(20_000);
      native.sendString(server, 'a', 0, 1);
      assert.equal(native.sendString(server, long, 0, 1), 0);
      assert.equal(text(client), `a${long}`);
    });
  },

  'many short ones do not outgrow it'() {
    withPair((client, server) => {
      let sent = '';
      for (let i = 0; i < 1000; i++) {
        const one = `${i}${'.'.repeat(i)};`;
        if (native.sendString(server, one, 0, 1) === 0) sent += one;
        if (i % 10 === 9) {
          native.outboxFlush(SLOT);
          assert.equal(text(client), sent);
          sent = '';
        }
      }
    });
  },

  'errors are told as without it'() {
    assert.equal(native.outboxFlush(-1), -22);
    assert.equal(native.outboxFlush(1 << 20), -22);
    // An fd that is closed by then: nothing to tell, and nothing left.
    withPair((client, server) => {
      native.close(client);
      native.sendString(server, 'gone', 0, 1);
      assert.equal(native.outboxFlush(SLOT), 0);
      assert.equal(native.errnoName(native.sendString(server, 'gone', 0)), 'EPIPE');
    });
  },
});

async function acrossThreads(): Promise<void> {
  const [client, server] = tcpPair();
  const code = `
    const { workerData, parentPort } = require('node:worker_threads');
    import(workerData.binding).then(({ native }) => {
      native.loopRegister(workerData.slot);
      parentPort.on('message', (line) => {
        if (line === 'spin') for (;;);
        native.sendString(workerData.fd, line, 0, 1);
        parentPort.postMessage('held');
      });
      parentPort.postMessage('ready');
    });`;
  const binding = new URL('../../../src/native/binding.js', import.meta.url).href;
  const slot = SLOT + 1;
  const worker = new Worker(code, { eval: true, workerData: { binding, slot, fd: server } });
  await once(worker, 'message');
  const hold = async (line: string) => {
    worker.postMessage(line);
    await once(worker, 'message');
  };
  await hold('one');
  assert.equal(native.peek(client), EAGAIN);
  assert.equal(native.outboxFlush(slot), 0);
  assert.ok(readable(client));
  assert.equal(text(client), 'one');
  await hold('two');
  ok(native.loopRegister(SLOT));
  assert.equal(native.sendString(server, 'three', 0, 1), 0);
  assert.equal(text(client), 'two');
  native.outboxFlush(SLOT);
  assert.equal(text(client), 'three');
  await hold('four');
  worker.postMessage('spin');
  await worker.terminate();
  native.outboxFlush(slot);
  assert.ok(readable(client));
  assert.equal(text(client), 'four');
  native.close(client);
  native.close(server);
}

// The file also runs inside the thread of runInBoth().
if (isMainThread) {
  test('another thread flushes, a second sender keeps the order, and a death loses nothing', acrossThreads);
}
