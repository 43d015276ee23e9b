/**
 * Clients of TLS and HTTP/2 that come, ask side by side, cut their requests short and leave in every way, through HUPs: each answer is
 * its request's own, and no descriptor is left. STRESS=full: 60 s and 20 HUPs.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent } from 'node:https';
import { connect as connectTcp } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { settled, until } from '../support/poll.js';
import { fdCount, rss } from '../support/proc.js';
import { Random, seedOf } from '../support/random.js';
import { complaints, FULL, serverStarter } from '../support/stress-server.js';
import { askStream, askTls, CERT_ARGS, openSession } from '../support/tls.js';

const SECONDS = Number(process.env.SECONDS ?? (FULL ? 60 : 4));
const HUPS = FULL ? 20 : 2;
const CLIENTS = 12;

const start = serverStarter();

interface Result {
  asked: number;
  streams: number;
  left: number;
  wrong: string[];
}

/** The body that comes back: its own, whoever else asks. */
function bodyOf(result: Result, random: Random): string {
  return `${result.asked++} `.repeat(1 + random.int(0, random.chance(0.1) ? 30_000 : 50));
}

/** HTTP/1.1: some requests on a connection. */
async function visit(port: number, random: Random, result: Result): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  for (let i = random.int(1, 8); i > 0; i--) {
    const body = bodyOf(result, random);
    const answer = await askTls(port, '/echo/1', { agent, method: 'POST', body, headers: { 'x-id': '1' } });
    if (answer.status !== 200 || answer.body !== body)
      result.wrong.push(`${answer.status} ${answer.body.slice(0, 40)}`);
  }
  agent.destroy();
}

/** HTTP/2: streams side by side; some are reset. */
async function session(port: number, random: Random, result: Result): Promise<void> {
  const client = await openSession(port);
  const one = async () => {
    const body = bodyOf(result, random);
    const headers = { ':method': 'POST', 'x-id': '1' };
    if (random.chance(0.2)) {
      const stream = client.request({ ':path': '/echo/1', ...headers });
      stream.on('error', () => {});
      stream.write(body);
      setTimeout(() => stream.close(8), random.int(0, 5));
      result.left++;
      await once(stream, 'close');
      return;
    }
    const answer = await askStream(client, '/echo/1', headers, Buffer.from(body));
    result.streams++;
    if (answer.headers[':status'] !== 200 || answer.body.toString() !== body) {
      result.wrong.push(`stream: ${answer.headers[':status']} ${answer.body.toString().slice(0, 40)}`);
    }
  };
  await Promise.all(Array.from({ length: random.int(1, 12) }, one));
  if (random.chance(0.5)) client.destroy();
  else client.close();
}

/** Somebody who says nothing, half of a handshake, or something else, and leaves. */
async function intruder(port: number, random: Random, result: Result): Promise<void> {
  const socket = connectTcp(port, '127.0.0.1');
  socket.on('error', () => {});
  const hello = Buffer.from('16030100f5010000f10303', 'hex');
  socket.write(random.chance(0.5) ? hello.subarray(0, random.int(1, hello.length)) : 'GET / HTTP/1.1\r\n\r\n');
  await sleep(random.int(0, 10));
  result.left++;
  if (random.chance(0.5)) socket.destroy();
  else socket.resetAndDestroy();
}

test(`${SECONDS} s of clients of TLS and HTTP/2, ${HUPS} HUPs`, async (t) => {
  const seed = seedOf();
  const server = await start('echo.js', [
    ...CERT_ARGS,
    '--http-protocols',
    'h2,h1',
    '--threads',
    '2',
    '--keep-alive',
    '30',
  ]);
  const [worker] = server.workers;
  const result: Result = { asked: 0, streams: 0, left: 0, wrong: [] };
  await visit(server.port, new Random(seed), result);
  const fds = await settled(() => fdCount(worker));
  const memory = rss(worker);
  const end = performance.now() + SECONDS * 1000;
  const client = async (index: number) => {
    const random = new Random(seed + index);
    while (performance.now() < end) {
      const what = random.chance(0.2) ? intruder : random.chance(0.5) ? session : visit;
      await what(server.port, random, result).catch((error) => result.wrong.push(`${what.name}: ${error}`));
    }
  };
  const hups = async () => {
    for (let i = 0; i < HUPS; i++) {
      const done = server.log.split('Reloaded').length;
      server.kill('SIGHUP');
      await until(() => server.log.split('Reloaded').length > done, { timeoutMs: 20_000, what: 'the reload' });
    }
  };
  await Promise.all([hups(), ...Array.from({ length: CLIENTS }, (_, i) => client(i + 1))]);
  const grown = (rss(worker) - memory) / 2 ** 20;
  t.diagnostic(`SEED=${seed}`);
  t.diagnostic(`${JSON.stringify({ ...result, wrong: result.wrong.length })}, grew by ${grown.toFixed(0)} MiB`);
  assert.deepEqual(result.wrong.slice(0, 5), []);
  assert.deepEqual(complaints(server.log), []);
  assert.equal(server.spawned.length, 1);
  await until(() => fdCount(worker) <= fds, { timeoutMs: 20_000, what: `${fds} descriptors again` });
  server.kill('SIGTERM');
  assert.equal((await server.ended).code, 0);
});
