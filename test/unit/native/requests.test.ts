/** What main learns of requests whose threads say nothing: their heads, their clients, their threads' CPU and loops. */
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { isMainThread } from 'node:worker_threads';
import {
  CLIENT_ENDED,
  CLIENT_GONE,
  EAGAIN,
  EINVAL,
  native,
  SCHED_BATCH,
  SCHED_OTHER,
} from '../../../src/native/binding.js';
import { ok, readAll, readable, tcpPair, unixPair } from '../../support/native.js';
import { runInBoth } from './run-bodies.js';

/** One for each thread that runs this file: their loops are counted by slot. */
const SLOT = 1010 + (isMainThread ? 0 : 1);
const bytes = (text: string) => Buffer.from(text, 'latin1');

function burn(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end; );
}

runInBoth('requests', import.meta.url, {
  'recvHead receives behind what is there, and keeps the beginning'() {
    const [client, server] = unixPair();
    const into = Buffer.alloc(4096);
    native.sendString(client, 'GET /a HTTP', 0);
    assert.equal(native.recvHead(server, into, 10, 0, 1000), 11);
    assert.equal(native.headLine(server), 'GET /a HTTP');
    native.sendString(client, '/1.1\r\n\r\nrest', 0);
    assert.equal(native.recvHead(server, into, 10, 11, 1000), 12);
    assert.equal(native.headLine(server), 'GET /a HTTP/1.1\r\n\r\nrest');
    assert.equal(into.latin1Slice(10, 33), 'GET /a HTTP/1.1\r\n\r\nrest');
    assert.equal(native.recvHead(server, into, 0, 0, 10), EAGAIN);
    assert.equal(native.recvHead(server, into, 4090, 0, 10), EINVAL);
    const long = 'x'.repeat(2000);
    native.headNote(server, bytes(long), 0, 2000);
    const kept = native.headLine(server);
    assert.ok(kept.length >= 500 && kept.length < 600 && long.startsWith(kept), String(kept.length));
    native.close(client);
    assert.equal(native.recvHead(server, into, 0, 0, 10), 0);
    native.close(server);
  },

  'peekBytes leaves what it shows'() {
    const [client, server] = unixPair();
    const into = Buffer.alloc(16);
    assert.equal(native.peekBytes(server, into, 16), EAGAIN);
    native.sendString(client, 'hello', 0);
    assert.equal(native.peekBytes(server, into, 3), 3);
    assert.equal(into.latin1Slice(0, 3), 'hel');
    assert.equal(readAll(server).toString(), 'hello');
    native.close(client);
    assert.equal(native.peekBytes(server, into, 16), 0);
    native.close(server);
  },

  'hangup: there, ended, gone'() {
    const [client, server] = tcpPair();
    assert.equal(native.hangup(server), 0);
    native.sendString(client, 'request', 0);
    native.shutdown(client, 1);
    assert.ok(readable(server));
    assert.equal(native.hangup(server), CLIENT_ENDED);
    // One that has only ended its side takes an interim response without a word.
    native.sendString(server, 'interim', 0);
    assert.equal(native.hangup(server), CLIENT_ENDED);
    native.close(client);
    native.sendString(server, 'interim', 0);
    assert.equal(native.hangup(server), CLIENT_GONE);
    native.close(server);
    assert.ok(native.hangup(-1) < 0);
  },

  'outQueue: what the other side has yet to take'() {
    const [client, server] = tcpPair();
    assert.equal(native.outQueue(server), 0);
    // Its kernel takes some of it at once; it has itself to make room for the rest.
    const bytes = new Uint8Array(1 << 20);
    while (native.send(server, bytes, 0, bytes.length) > 0);
    const before = native.outQueue(server);
    assert.ok(before > 0);
    const end = performance.now() + 10_000;
    while (native.outQueue(server) >= before && performance.now() < end) native.recv(client, bytes, 0, bytes.length);
    assert.ok(native.outQueue(server) < before);
    native.close(client);
    native.close(server);
    assert.ok(native.outQueue(-1) < 0);
  },

  async 'CPU time of the thread, and of the callback that runs'() {
    const words = new Int32Array(new SharedArrayBuffer(8));
    ok(native.loopRegister(SLOT, words, 1));
    const before = native.threadCpu();
    burn(20);
    const used = native.threadCpu() - before;
    assert.ok(used > 2000 && used < 1e6, `${used} us`);
    // Nothing is in hand: the loop takes no mark.
    await turn();
    await turn();
    assert.equal(native.stretchCpu(), 0);
    words[1] = 1;
    await turn();
    await turn();
    burn(20);
    const stretch = native.stretchCpu();
    assert.ok(stretch > 2000 && stretch < 1e6, `${stretch} us`);
    assert.ok(native.stretchCpu() < stretch, 'counts from the last call');
    words[1] = 0;
    ok(native.loopRegister(SLOT));
  },

  async 'a loop that turns is seen to'() {
    ok(native.loopRegister(SLOT));
    const first = native.loopTurns(SLOT);
    burn(5);
    assert.equal(native.loopTurns(SLOT), first, 'not within a callback');
    for (let i = 0; i < 5; i++) await turn();
    assert.ok(native.loopTurns(SLOT) >= first + 3);
    assert.ok(native.loopTurns(-1) < 0);
  },

  'a thread may give way to others, and come back'() {
    assert.equal(native.setPolicy(0, SCHED_BATCH), 0);
    assert.equal(native.setPolicy(0, SCHED_OTHER), 0);
    assert.equal(native.setPolicy(native.gettid(), SCHED_BATCH), 0);
    assert.equal(native.setPolicy(native.gettid(), SCHED_OTHER), 0);
    assert.equal(native.setPolicy(0, 1), EINVAL, 'no other class');
    assert.ok(native.setPolicy(0x7ffffff0, SCHED_BATCH) < 0);
  },
});
