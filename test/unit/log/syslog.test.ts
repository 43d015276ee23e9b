/** Syslog over each kind of socket, with real servers that come late, go away and come back. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { SyslogSink } from '../../../src/log/syslog-sink.js';
import { streamServer, udpServer, unixDatagrams } from '../../support/log-servers.js';
import { until } from '../../support/poll.js';

const dir = mkdtempSync(join(tmpdir(), 'tunicorn-syslog-'));
after(() => rmSync(dir, { recursive: true }));
let paths = 0;
const path = () => join(dir, `s${paths++}`);
const sinkTo = (address: string) => new SyslogSink({ address, facility: 'local3', program: 'tunicorn.x.error' });

describe('SyslogSink', { concurrency: 4 }, () => {
  it("sends gunicorn's form by UDP: priority, program, message", async () => {
    const server = await udpServer();
    const sink = sinkTo(`udp://127.0.0.1:${server.port}`);
    for (const level of ['debug', 'info', 'warning', 'error', 'critical'] as const) sink.write(level, `é ${level}`);
    await until(() => server.messages.length === 5);
    assert.deepEqual(server.messages, [
      '<159>tunicorn.x.error: é debug',
      '<158>tunicorn.x.error: é info',
      '<156>tunicorn.x.error: é warning',
      '<155>tunicorn.x.error: é error',
      '<154>tunicorn.x.error: é critical',
    ]);
    sink.close();
    await server.close();
  });

  it('counts what a UDP server that is not there loses, and tells when it is back', async () => {
    const first = await udpServer();
    const { port } = first;
    await first.close();
    const sink = sinkTo(`udp://localhost:${port}`);
    const told: number[] = [];
    sink.onRecovered = (lost) => told.push(lost);
    for (let n = 0; n < 10; n++) sink.write('info', `lost ${n}`);
    assert.ok(sink.dropped >= 9, `${sink.dropped} of 10 are known to be lost`);
    assert.deepEqual(told, [], 'not while it is dead');
    const server = await udpServer(port);
    for (let n = 0; n < 3; n++) sink.write('info', `back ${n}`);
    await until(() => server.messages.length === 3);
    assert.deepEqual(told, [10]);
    assert.equal(sink.dropped, 10);
    sink.close();
    await server.close();
  });

  it('cuts a message that is too long, between two characters', async () => {
    const server = await udpServer();
    const sink = sinkTo(`udp://127.0.0.1:${server.port}`);
    sink.write('info', 'é'.repeat(40_000));
    sink.write('info', 'next');
    await until(() => server.messages.length === 2);
    assert.match(server.messages[0], /^<158>tunicorn\.x\.error: é{4000,4090}$/);
    sink.close();
    await server.close();
  });

  it('keeps lines for a TCP server that comes late, and for one that comes back', async () => {
    const first = await streamServer(0, '\n');
    const { port } = first;
    const sink = sinkTo(`tcp://127.0.0.1:${port}`);
    sink.write('info', 'one');
    await until(() => first.messages.length === 1);
    await first.close();
    const startedAt = performance.now();
    for (let n = 0; n < 1000; n++) sink.write('info', `two ${n}`);
    assert.ok(performance.now() - startedAt < 1000, 'nobody waited');
    const second = await streamServer(port, '\n');
    await until(() => second.messages.length === 1000);
    assert.equal(first.messages[0], '<158>tunicorn.x.error: one');
    assert.deepEqual(
      second.messages,
      Array.from({ length: 1000 }, (_, n) => `<158>tunicorn.x.error: two ${n}`),
    );
    assert.equal(sink.dropped, 0);
    sink.close();
    await second.close();
  });

  it('drops what is too much for a server that takes nothing, and tells how many were lost', async () => {
    const at = path();
    const sink = sinkTo(`unix://${at}#stream`);
    const told: [number, string][] = [];
    sink.onRecovered = (lost, why) => told.push([lost, why]);
    for (let n = 0; n < 3000; n++) sink.write('info', `${n} ${'x'.repeat(1000)}`);
    const { dropped } = sink;
    assert.ok(dropped > 1500 && dropped < 2500, `${dropped}`);
    const server = await streamServer(at, '\0');
    await until(() => told.length > 0);
    assert.deepEqual(
      told.map(([lost]) => lost),
      [dropped],
    );
    await until(() => server.messages.length === 3000 - dropped);
    assert.ok(server.messages.every((text, n) => text === `<158>tunicorn.x.error: ${n} ${'x'.repeat(1000)}`));
    sink.close();
    await server.close();
  });

  it('unix datagrams: a server that is slow, and one that comes back', async () => {
    const at = path();
    const first = unixDatagrams(at);
    const sink = sinkTo(`unix://${at}#dgram`);
    // More than a socket's queue takes at once.
    for (let n = 0; n < 600; n++) sink.write('info', `${n}`);
    await until(() => first.messages.length === 600);
    assert.ok(first.messages.every((text, n) => text === `<158>tunicorn.x.error: ${n}`));
    await first.close();
    sink.write('info', 'waits');
    const second = unixDatagrams(at);
    await until(() => second.messages.length === 1);
    assert.deepEqual(second.messages, ['<158>tunicorn.x.error: waits']);
    assert.equal(sink.dropped, 0);
    sink.close();
    await second.close();
  });

  it('a unix socket of unknown type is tried as both', async () => {
    const datagrams = path();
    const one = unixDatagrams(datagrams);
    const toOne = sinkTo(`unix://${datagrams}`);
    toOne.write('info', 'd');
    await until(() => one.messages.length === 1);
    const stream = path();
    const two = await streamServer(stream, '\0');
    const toTwo = sinkTo(`unix://${stream}`);
    toTwo.write('info', 's');
    await until(() => two.messages.length === 1);
    for (const sink of [toOne, toTwo]) sink.close();
    await one.close();
    await two.close();
  });
});
