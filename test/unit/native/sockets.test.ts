/** Socket calls: what they return when all is well and when it is not, on the main thread and in a worker thread. */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EAGAIN, EINVAL, ENOENT, native } from '../../../src/native/binding.js';
import { ok, readAll, readable, tcpListener, tcpPair, unixPair } from '../../support/native.js';
import { runInBoth } from './run-bodies.js';

/** A number that is no open fd: the highest that a process may have. */
const CLOSED = 0x7ffffff0;
const bytes = (text: string) => new TextEncoder().encode(text);
const isError = (result: unknown, name: string) => {
  assert.ok(typeof result === 'number' && result < 0, `${String(result)} is no error`);
  assert.equal(native.errnoName(result), name);
};

function withFolder(body: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'tunicorn-'));
  try {
    body(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

runInBoth('socket calls', import.meta.url, {
  'a closed fd is EBADF everywhere'() {
    const buffer = new Uint8Array(8);
    const calls: Array<() => number | object> = [
      () => native.bind(CLOSED, 'tcp4', '127.0.0.1', 0),
      () => native.connect(CLOSED, 'tcp4', '127.0.0.1', 1),
      () => native.listen(CLOSED, 1),
      () => native.setReuseAddr(CLOSED),
      () => native.setReusePort(CLOSED),
      () => native.setV6Only(CLOSED),
      () => native.socketType(CLOSED),
      () => native.accepting(CLOSED),
      () => native.adopt(CLOSED),
      () => native.accept(CLOSED),
      () => native.close(CLOSED),
      () => native.dup(CLOSED),
      () => native.shutdown(CLOSED, 1),
      () => native.recv(CLOSED, buffer, 0, 8),
      () => native.peek(CLOSED),
      () => native.send(CLOSED, buffer, 0, 8),
      () => native.sendv(CLOSED, [buffer]),
      () => native.sendfile(CLOSED, CLOSED, 0, 1),
      () => native.fileSize(CLOSED),
      () => native.sendString(CLOSED, 'x', 0),
      () => native.sendHead(CLOSED, 'x', buffer, 0, 8),
      () => native.getSockName(CLOSED),
      () => native.getPeerName(CLOSED),
      () => native.epollWait(CLOSED, new Int32Array(3), 1, 0),
      () => native.epollCtl(CLOSED, 1, 0, 1, 0),
      () => native.eventfdWrite(CLOSED),
      () => native.eventfdRead(CLOSED),
      () => native.pollStart(CLOSED, () => false, 1, 0),
    ];
    for (const call of calls) isError(call(), 'EBADF');
  },

  'sendv: parts in order, what fits, nothing else than bytes'() {
    const [a, b] = unixPair();
    assert.equal(native.sendv(a, [bytes('one'), bytes(''), bytes(' two'), Buffer.from('x three').subarray(1)]), 13);
    const into = new Uint8Array(64);
    assert.equal(native.recv(b, into, 0, 64), 13);
    assert.equal(Buffer.from(into).toString('latin1', 0, 13), 'one two three');
    // At most 64 parts in one call.
    assert.equal(native.sendv(a, Array(100).fill(bytes('ab'))), 128);
    const wrong: unknown[] = [[], {}, null, ['text'], [bytes('a'), new Uint16Array(2)], new Array(3), bytes('ab')];
    for (const parts of wrong) assert.equal(native.sendv(a, parts as Uint8Array[]), EINVAL);
    let n = 0;
    const big = [new Uint8Array(1 << 20), new Uint8Array(1 << 20)];
    while (n >= 0) n = native.sendv(a, big);
    assert.equal(n, EAGAIN);
    native.close(b);
    isError(native.sendv(a, big), 'EPIPE');
    native.close(a);
  },

  'sendfile: a range, the end of the file, what is no file'() {
    withFolder((folder) => {
      const [a, b] = unixPair();
      writeFileSync(join(folder, 'f'), '0123456789');
      const file = openSync(join(folder, 'f'), 'r');
      assert.equal(native.fileSize(file), 10);
      assert.equal(native.sendfile(a, file, 3, 4), 4);
      assert.equal(native.sendfile(a, file, 8, 100), 2);
      assert.equal(native.sendfile(a, file, 10, 100), 0);
      const into = new Uint8Array(64);
      assert.equal(native.recv(b, into, 0, 64), 6);
      assert.equal(Buffer.from(into).toString('latin1', 0, 6), '345689');
      for (const at of [-1, Number.NaN, 2 ** 60]) assert.equal(native.sendfile(a, file, at, 1), EINVAL);
      assert.equal(native.sendfile(a, file, 0, -1), EINVAL);
      const dir = openSync(folder, 'r');
      assert.equal(native.fileSize(dir), EINVAL);
      assert.equal(native.fileSize(a), EINVAL);
      closeSync(dir);
      closeSync(file);
      native.close(a);
      native.close(b);
    });
  },

  'a TCP pair: names, bytes, end of stream'() {
    const [client, server] = tcpPair();
    const here = native.getSockName(client);
    const there = native.getPeerName(server);
    assert.deepEqual(here, there);
    assert.ok(typeof here === 'object' && here.family === 'tcp4' && here.address === '127.0.0.1' && here.port > 0);
    const into = new Uint8Array(16).fill(46);
    assert.equal(native.recv(server, into, 0, 16), EAGAIN);
    assert.equal(native.peek(server), EAGAIN);
    assert.equal(native.send(client, bytes('..hello..'), 2, 5), 5);
    assert.ok(readable(server));
    assert.equal(native.peek(server), 1);
    assert.equal(native.recv(server, into, 3, 4), 4);
    assert.equal(native.recv(server, into, 10, 6), 1);
    assert.equal(Buffer.from(into).toString(), '...hell...o.....');
    assert.equal(native.shutdown(client, 1), 0);
    assert.ok(readable(server));
    assert.equal(native.peek(server), 0);
    assert.equal(native.recv(server, into, 0, 16), 0);
    isError(native.send(client, into, 0, 1), 'EPIPE');
    assert.equal(native.close(client), 0);
    assert.equal(native.close(server), 0);
    isError(native.close(server), 'EBADF');
  },

  'dup: both are the same connection, which ends with the last'() {
    const [client, server] = tcpPair();
    const copy = ok(native.dup(server));
    assert.deepEqual(native.getPeerName(copy), native.getPeerName(server));
    assert.equal(native.close(server), 0);
    const into = new Uint8Array(8);
    assert.equal(native.recv(client, into, 0, 8), EAGAIN);
    assert.equal(native.send(copy, bytes('x'), 0, 1), 1);
    assert.ok(readable(client));
    assert.equal(native.recv(client, into, 0, 8), 1);
    assert.equal(native.close(copy), 0);
    assert.ok(readable(client));
    assert.equal(native.recv(client, into, 0, 8), 0);
    native.close(client);
  },

  'unix: bind, connect, peer gone'() {
    withFolder((folder) => {
      const path = join(folder, 'ä sock');
      const listener = ok(native.socket('unix'));
      const client = ok(native.socket('unix'));
      isError(native.connect(client, 'unix', path), 'ENOENT');
      assert.equal(native.bind(listener, 'unix', path), 0);
      isError(native.connect(client, 'unix', path), 'ECONNREFUSED');
      isError(native.bind(ok(native.socket('unix')), 'unix', path), 'EADDRINUSE');
      assert.equal(native.listen(listener, 1), 0);
      assert.equal(native.accept(listener), EAGAIN);
      assert.equal(native.connect(client, 'unix', path), 0);
      const server = ok(native.accept(listener));
      assert.deepEqual(native.getSockName(server), { family: 'unix', address: path, port: 0 });
      assert.deepEqual(native.getPeerName(server), { family: 'unix', address: '', port: 0 });
      native.close(client);
      isError(native.send(server, bytes('x'), 0, 1), 'EPIPE');
      isError(native.sendString(server, 'x', 0), 'EPIPE');
      isError(native.sendHead(server, 'x', bytes('y'), 0, 1), 'EPIPE');
      native.close(server);
      native.close(listener);
    });
  },

  'datagrams to a path and to an abstract name'() {
    withFolder((folder) => {
      for (const address of [join(folder, 'd'), `@tunicorn-test-${process.pid}-${performance.now()}`]) {
        const server = ok(native.socket('unix', true));
        const client = ok(native.socket('unix', true));
        isError(native.connect(client, 'unixDatagram', address), address.startsWith('@') ? 'ECONNREFUSED' : 'ENOENT');
        ok(native.bind(server, 'unixDatagram', address));
        assert.deepEqual(native.getSockName(server), { family: 'unix', address, port: 0 });
        ok(native.connect(client, 'unixDatagram', address));
        assert.equal(native.sendString(client, 'READY=1\nSTATUS=ä', 1), 0);
        assert.equal(native.sendString(client, 'two', 1), 0);
        const into = new Uint8Array(64);
        const n = native.recv(server, into, 0, 64);
        assert.equal(Buffer.from(into.subarray(0, n)).toString(), 'READY=1\nSTATUS=ä');
        assert.equal(native.recv(server, into, 0, 64), 3);
        assert.equal(native.recv(server, into, 0, 64), EAGAIN);
        native.close(server);
        isError(native.sendString(client, 'gone', 1), 'ECONNREFUSED');
        native.close(client);
      }
    });
  },

  'what an inherited socket is'() {
    const { fd } = tcpListener();
    const [a, b] = unixPair();
    assert.deepEqual([native.socketType(fd), native.accepting(fd)], [1, 1]);
    assert.deepEqual([native.socketType(a), native.accepting(a)], [1, 0]);
    const datagrams = ok(native.socket('unix', true));
    assert.deepEqual([native.socketType(datagrams), native.accepting(datagrams)], [2, 0]);
    assert.equal(native.adopt(fd), 0);
    for (const each of [fd, a, b, datagrams]) native.close(each);
    const file = openSync('/dev/null', 'r');
    isError(native.socketType(file), 'ENOTSOCK');
    closeSync(file);
  },

  'unix: datagrams keep their borders'() {
    withFolder((folder) => {
      const path = join(folder, 's');
      const server = ok(native.socket('unix', true));
      const client = ok(native.socket('unix', true));
      ok(native.bind(server, 'unix', path));
      ok(native.connect(client, 'unix', path));
      assert.equal(native.send(client, bytes('one'), 0, 3), 3);
      assert.equal(native.send(client, bytes('two'), 0, 3), 3);
      const into = Buffer.alloc(10);
      for (const text of ['one', 'two']) {
        assert.equal(native.recv(server, into, 0, 10), 3);
        assert.equal(into.toString('latin1', 0, 3), text);
      }
      isError(native.connect(ok(native.socket('unix')), 'unix', path), 'EPROTOTYPE');
      native.close(server);
      native.close(client);
    });
  },

  'a full blocking socket is not waited for'() {
    const [a, b] = unixPair();
    const chunk = Buffer.alloc(64 * 1024);
    let n = 1;
    while (n > 0) n = native.send(a, chunk, 0, chunk.length);
    assert.equal(n, EAGAIN);
    native.close(a);
    native.close(b);
  },

  'dupTo: another file under the same number'() {
    withFolder((folder) => {
      const fds = ['a', 'b'].map((name) => openSync(join(folder, name), 'w'));
      writeSync(fds[0], 'first');
      assert.equal(native.dupTo(fds[1], fds[0]), fds[0]);
      writeSync(fds[0], 'second');
      assert.deepEqual(
        ['a', 'b'].map((name) => readFileSync(join(folder, name), 'utf8')),
        ['first', 'second'],
      );
      isError(native.dupTo(fds[0], fds[0]), 'EINVAL');
      for (const fd of fds) native.close(fd);
      isError(native.dupTo(fds[0], fds[1]), 'EBADF');
      isError(native.setNonBlocking(fds[0]), 'EBADF');
    });
  },

  'acceptQueue: connections that wait'() {
    const { fd, port } = tcpListener();
    assert.equal(native.acceptQueue(fd), 0);
    const clients = [1, 2, 3].map(() => {
      const client = ok(native.socket('tcp4'));
      native.connect(client, 'tcp4', '127.0.0.1', port);
      return client;
    });
    assert.equal(native.acceptQueue(fd), 3);
    for (const client of clients) native.close(client);
    native.close(fd);
    isError(native.acceptQueue(fd), 'EBADF');
  },

  'unix: names that do not fit'() {
    const fd = ok(native.socket('unix'));
    assert.equal(native.bind(fd, 'unix', ''), EINVAL);
    assert.equal(native.bind(fd, 'unix', `/tmp/${'x'.repeat(200)}`), EINVAL);
    assert.equal(native.bind(fd, 'unix', '/tmp/a\0b'), EINVAL);
    assert.equal(native.bind(fd, 'unix', '/no/such/folder/s'), ENOENT);
    native.close(fd);
  },

  'TCP: addresses and options'() {
    const { fd, port } = tcpListener();
    const other = ok(native.socket('tcp4'));
    isError(native.bind(other, 'tcp4', '127.0.0.1', port), 'EADDRINUSE');
    for (const bad of ['localhost', '127.0.0.256', '::1', '', '127.0.0.1\0x', '1'.repeat(300)]) {
      assert.equal(native.bind(other, 'tcp4', bad, 0), EINVAL, bad);
    }
    for (const bad of [-1, 65536, Number.NaN, 1.5]) assert.equal(native.bind(other, 'tcp4', '127.0.0.1', bad), EINVAL);
    isError(native.bind(other, 'tcp4', '203.0.113.1', 0), 'EADDRNOTAVAIL');
    assert.equal(native.setReuseAddr(other), 0);
    assert.equal(native.setReusePort(other), 0);
    isError(native.setV6Only(other), 'ENOPROTOOPT');
    isError(native.getPeerName(other), 'ENOTCONN');
    isError(native.shutdown(other, 1), 'ENOTCONN');
    isError(native.accept(other), 'EINVAL');
    assert.equal(native.shutdown(other, 9), EINVAL);
    assert.equal(native.socket('tcp5' as 'tcp4'), EINVAL);
    native.close(other);
    native.close(fd);
  },

  'TCP 6'() {
    const fd = native.socket('tcp6');
    if (fd < 0) return; // A kernel without IPv6.
    assert.equal(native.setV6Only(fd), 0);
    assert.equal(native.bind(fd, 'tcp6', '127.0.0.1', 0), EINVAL);
    if (native.bind(fd, 'tcp6', '::1', 0) === 0) {
      const name = native.getSockName(fd);
      assert.ok(typeof name === 'object' && name.family === 'tcp6' && name.address === '::1' && name.port > 0);
    }
    native.close(fd);
  },

  'an outcome is noted by the call that has sent all of it, and by no other'() {
    const [a, b] = unixPair();
    const words = new Int32Array(new SharedArrayBuffer(4 * 3 * (a + 1)));
    ok(native.useOutcomes(words, 3, 1));
    const noted = () => {
      const all = words.filter((word) => word !== 0);
      const there = words[a * 3 + 1];
      words.fill(0);
      assert.equal(all.length, there === 0 ? 0 : 1, 'nowhere else');
      return there;
    };
    native.sendString(a, 'text', 0, 0, 7);
    assert.equal(noted(), 7);
    native.sendHead(a, 'head', bytes('body'), 1, 2, 0, -8);
    assert.equal(noted(), -8);
    native.send(a, bytes('bytes'), 0, 5, 9);
    assert.equal(noted(), 9);
    native.sendv(a, [bytes('one'), bytes('two')], 10);
    assert.equal(noted(), 10);
    native.sendv(a, Array(100).fill(bytes('ab')), 11);
    assert.equal(noted(), 0, 'more parts than leave at once');
    native.sendString(a, 'text', 0, 0, 0);
    native.sendString(a, 'text', 0);
    assert.equal(noted(), 0, 'not asked for');
    const big = Buffer.alloc(1 << 24);
    assert.ok(native.send(a, big, 0, big.length, 12) < big.length);
    native.sendString(a, big.toString('latin1'), 0, 0, 12);
    native.sendHead(a, 'head', big, 0, big.length, 0, 12);
    native.sendv(a, [big, big], 12);
    assert.equal(noted(), 0, 'a part of it, or nothing');
    native.close(b);
    native.sendString(a, 'text', 0, 0, 13);
    assert.equal(noted(), 0, 'broken');
    native.close(a);
    const [c, d] = unixPair();
    const short = new Int32Array(new SharedArrayBuffer(4 * 3));
    ok(native.useOutcomes(short, 3, 0));
    native.sendString(c, 'text', 0, 0, 14);
    assert.ok(
      short.every((word) => word === 0),
      'outside of the words',
    );
    for (const [view, stride, at] of [
      [new Int32Array(9), 3, 0],
      [new Uint8Array(new SharedArrayBuffer(9)), 3, 0],
      [short, 0, 0],
      [short, 3, 3],
      [short, 3, -1],
    ])
      assert.equal(native.useOutcomes(view as Int32Array, stride as number, at as number), EINVAL);
    native.close(c);
    native.close(d);
  },

  'writeOut: to a file and to a socket; the word moves on by what was written'() {
    withFolder((folder) => {
      const words = new Int32Array(2);
      const path = join(folder, 'log');
      const file = openSync(path, 'a');
      assert.equal(native.writeOut(file, bytes('..line..'), 2, 4, words, 1, 0), 4);
      assert.equal(native.writeOut(file, bytes('s'), 0, 1, words, 1, 0), 1);
      assert.deepEqual([readFileSync(path, 'utf8'), [...words]], ['lines', [0, 5]]);
      closeSync(file);
      const [a, b] = unixPair();
      assert.equal(native.writeOut(a, bytes('text'), 0, 4, words, 0, 1), 4);
      assert.equal(readAll(b).toString(), 'text');
      const big = Buffer.alloc(1 << 24);
      const n = native.writeOut(a, big, 0, big.length, words, 0, 1);
      assert.ok(n > 0 && n < big.length);
      assert.equal(native.writeOut(a, big, 0, big.length, words, 0, 1), EAGAIN);
      native.close(b);
      isError(native.writeOut(a, bytes('x'), 0, 1, words, 0, 1), 'EPIPE');
      assert.deepEqual([...words], [4 + n, 5]);
      isError(native.writeOut(CLOSED, bytes('x'), 0, 1, words, 0, 0), 'EBADF');
      for (const [length, index] of [
        [2, 0],
        [1, 2],
        [-1, 0],
      ])
        assert.equal(native.writeOut(a, bytes('x'), 0, length, words, index, 1), EINVAL);
      assert.equal(native.writeOut(a, bytes('x'), 0, 1, bytes('word') as never, 0, 1), EINVAL);
      native.close(a);
    });
  },

  'closeEntry closes, frees the entry and counts in one step'() {
    const words = new Int32Array(new SharedArrayBuffer(16));
    const counts = new Int32Array(new SharedArrayBuffer(8));
    const BIT = 1 << 15;
    const close = (word: number, free: number) => {
      const fd = ok(native.eventfd());
      native.headPut(fd, bytes('head'), 0, 4);
      words[2] = word;
      counts[1] = 7;
      const last = native.closeEntry(fd, words, 2, BIT, free, counts, 1);
      assert.equal(counts[1], 6);
      assert.equal(native.headLength(fd), 0);
      isError(native.close(fd), 'EBADF');
      return last;
    };
    const generation = 0xfff1 << 16;
    assert.equal(close(generation | BIT | 0x4011, generation), (generation | BIT | 0x4011) >>> 0);
    assert.equal(words[2], generation, 'free');
    // Another connection has come under the number already: its word stays.
    const next = 0xfff2 << 16;
    assert.equal(close(next | BIT | 2, generation), (next | BIT | 2) >>> 0);
    assert.equal(words[2], next | BIT | 2);
    assert.equal(close(generation | 2, generation), (generation | 2) >>> 0);
    assert.equal(words[2], generation | 2);
    const fd = ok(native.eventfd());
    assert.equal(native.closeEntry(fd, words, 4, BIT, 0, counts, 1), EINVAL);
    assert.equal(native.closeEntry(fd, words, 0, BIT, 0, counts, -1), EINVAL);
    assert.equal(native.close(fd), 0, 'refused: nothing is closed');
  },

  'a file is no socket'() {
    withFolder((folder) => {
      writeFileSync(join(folder, 'f'), '');
      const fd = ok(native.eventfd());
      isError(native.recv(fd, new Uint8Array(1), 0, 1), 'ENOTSOCK');
      isError(native.sendString(fd, 'x', 0), 'ENOTSOCK');
      isError(native.getSockName(fd), 'ENOTSOCK');
      native.close(fd);
    });
  },

  'ranges outside of the buffer are EINVAL'() {
    const [a, b] = unixPair();
    const buffer = new Uint8Array(8);
    const ranges = [
      [-1, 1],
      [0, -1],
      [0, 9],
      [8, 1],
      [9, 0],
      [0x7fffffff, 0x7fffffff],
    ];
    for (const [offset, length] of ranges) {
      assert.equal(native.send(a, buffer, offset, length), EINVAL);
      assert.equal(native.recv(a, buffer, offset, length), EINVAL);
      assert.equal(native.sendHead(a, '', buffer, offset, length), EINVAL);
      assert.equal(native.headPut(a, buffer, offset, length), EINVAL);
      assert.equal(native.headTake(a, buffer, offset, length), EINVAL);
    }
    // No room is not the end of the stream.
    assert.equal(native.recv(a, buffer, 8, 0), EINVAL);
    assert.equal(native.send(a, buffer, 8, 0), 0);
    const detached = new Uint8Array(8);
    structuredClone(detached.buffer, { transfer: [detached.buffer] });
    assert.equal(native.recv(a, detached, 0, 1), EINVAL);
    assert.equal(native.recv(a, new Uint16Array(8) as unknown as Uint8Array, 0, 1), EINVAL);
    native.close(a);
    native.close(b);
  },

  'shared memory and WebAssembly memory will do'() {
    const [a, b] = unixPair();
    const { Memory } = WebAssembly as unknown as { Memory: new (limits: object) => { buffer: ArrayBuffer } };
    const memory = new Uint8Array(new Memory({ initial: 1 }).buffer);
    assert.equal(native.sendString(a, 'hello', 0), 0);
    assert.equal(native.recv(b, memory, 65531, 5), 5);
    assert.equal(Buffer.from(memory.subarray(65531)).toString(), 'hello');
    assert.equal(native.sendString(a, 'again', 0), 0);
    const shared = new Uint8Array(new SharedArrayBuffer(5));
    assert.equal(native.recv(b, shared, 0, 5), 5);
    assert.equal(Buffer.from(shared).toString(), 'again');
    native.close(a);
    native.close(b);
  },

  'strings arrive as their bytes'() {
    const [a, b] = unixPair();
    const texts = ['', 'plain', 'h\0le', 'caf\xe9 \xff', 'ü€😀', '\ud800 alone \udc00', 'x'.repeat(1000)];
    // Around the size that is sent from the stack, with characters that end beyond its edge.
    for (const size of [65530, 65531, 65532, 65533, 65534, 65535, 65536, 65537]) texts.push(`${'y'.repeat(size - 2)}€`);
    for (const text of texts) {
      for (const utf8 of [0, 1]) {
        const expected = Buffer.from(text, utf8 ? 'utf8' : 'latin1');
        assert.equal(native.sendString(a, text, utf8), 0);
        assert.ok(readAll(b).equals(expected), `sendString, ${text.length} characters, utf8 ${utf8}`);
      }
      const body = bytes('<body>');
      assert.equal(native.sendHead(a, text, body, 1, 4), 0);
      const expected = Buffer.concat([Buffer.from(text, 'latin1'), Buffer.from('body')]);
      assert.ok(readAll(b).equals(expected), `sendHead, ${text.length} characters`);
    }
    assert.equal(native.sendHead(a, '', new Uint8Array(0), 0, 0), 0);
    assert.equal(native.sendString(a, 7 as unknown as string, 0), EINVAL);
    assert.equal(native.sendHead(a, null as unknown as string, new Uint8Array(1), 0, 1), EINVAL);
    native.close(a);
    native.close(b);
  },

  'what a full socket did not take is told'() {
    const clock = new Int32Array(new SharedArrayBuffer(8));
    assert.equal(native.useClock(clock), 0);
    const big = 'ä€😀'.repeat(400_000);
    for (const [name, total, call] of [
      ['sendString utf8', Buffer.byteLength(big), (fd: number) => native.sendString(fd, big, 1)],
      ['sendString latin1', big.length, (fd: number) => native.sendString(fd, big, 0)],
      ['sendHead', big.length + 3, (fd: number) => native.sendHead(fd, big, bytes('end'), 0, 3)],
    ] as const) {
      const [a, b] = unixPair();
      const left = ok(call(a), name);
      assert.ok(left > 0 && left < total, `${name}: ${left} of ${total} left`);
      assert.equal(clock[1] + left, total, name);
      assert.equal(call(a), EAGAIN, name);
      const expected = Buffer.from(big, name.endsWith('utf8') ? 'utf8' : 'latin1').subarray(0, total - left);
      assert.ok(readAll(b).equals(expected), name);
      native.close(a);
      native.close(b);
    }
    // The head goes out whole, the body in part.
    const [a, b] = unixPair();
    const body = new Uint8Array(4_000_000).fill(97);
    const left = ok(native.sendHead(a, 'head\r\n', body, 0, body.length));
    assert.equal(clock[1], 6 + body.length - left);
    const got = readAll(b);
    assert.equal(got.length, clock[1]);
    assert.equal(got.subarray(0, 8).toString(), 'head\r\naa');
    native.close(a);
    native.close(b);
  },

  'who an accepted connection comes from is known also when the client has reset it'() {
    const [client, server] = tcpPair();
    const before = native.getPeerName(server);
    assert.ok(typeof before === 'object');
    // An end with something unread is a reset.
    native.sendString(server, 'x', 0);
    assert.ok(readable(client));
    native.close(client);
    assert.ok(readable(server));
    assert.deepEqual(native.getPeerName(server), before);
    native.close(server);
    isError(native.getPeerName(server), 'EBADF');
    // Nobody was accepted there now.
    const fd = ok(native.socket('tcp4'));
    isError(native.getPeerName(fd), 'ENOTCONN');
    native.close(fd);
  },
});
