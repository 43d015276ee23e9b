/**
 * Upgraded connections that open and close in every way while threads die under them: no message goes astray, clients of
 * other threads notice nothing, no descriptor is left. STRESS=full: 60 s.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { until } from '../support/poll.js';
import { fdCount, fdKinds } from '../support/proc.js';
import { Random, seedOf } from '../support/random.js';
import { complaints, FULL, serverStarter } from '../support/stress-server.js';

const SECONDS = Number(process.env.SECONDS ?? (FULL ? 60 : 4));
const CLIENTS = 24;
/** How a connection ends, and by whose doing. */
const ENDS = ['close', 'terminate', 'own close', 'own terminate', 'own reset'];

const start = serverStarter();

interface Result {
  opened: number;
  echoed: number;
  kills: number;
  cut: number;
  wrong: string[];
}

/** One connection: opens, has some messages echoed, ends. */
async function visit(port: number, random: Random, killChance: number, result: Result): Promise<void> {
  const ws = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: random.chance(0.3) });
  const gone = new Promise<void>((resolve) => ws.once('close', () => resolve()));
  // A thread that dies takes its connections along, at whatever they are.
  ws.on('error', () => {});
  await Promise.race([once(ws, 'open').catch(() => {}), gone]);
  if (ws.readyState !== WebSocket.OPEN) {
    result.cut++;
    return gone;
  }
  result.opened++;
  const sent: string[] = [];
  ws.on('message', (data) => {
    const expected = sent.shift();
    if (String(data) !== expected)
      result.wrong.push(`${String(data).slice(0, 40)} in place of ${expected?.slice(0, 40)}`);
    result.echoed++;
  });
  const name = `${result.opened} `;
  for (let i = random.int(0, 29); i > 0 && ws.readyState === WebSocket.OPEN; i--) {
    const text = name.repeat(1 + random.int(0, random.chance(0.05) ? 20_000 : 20));
    sent.push(text);
    ws.send(text);
    if (random.chance(0.5))
      await Promise.race([until(() => sent.length === 0, { everyMs: 1, timeoutMs: 30_000 }), gone]);
  }
  if (random.chance(killChance)) {
    result.kills++;
    ws.send(random.chance(0.7) ? 'exit' : 'stuck');
    return gone;
  }
  const how = random.pick(ENDS);
  if (how === 'own terminate') ws.terminate();
  else if (how === 'own close') ws.close();
  else if (how === 'own reset') (ws as unknown as { _socket: { resetAndDestroy(): void } })._socket.resetAndDestroy();
  else ws.send(how);
  return gone;
}

test(`${SECONDS} s of WebSockets that open and close while threads die`, async (t) => {
  const seed = seedOf();
  t.diagnostic(`SEED=${seed}`);
  const random = new Random(seed);
  const server = await start('upgrade.js', ['--threads', '3', '--timeout', '1', '--graceful-timeout', '10']);
  const [worker] = server.workers;
  const { socket: sockets } = fdKinds(worker);
  const result: Result = { opened: 0, echoed: 0, kills: 0, cut: 0, wrong: [] };
  const run = async (seconds: number, killChance: number): Promise<void> => {
    const end = performance.now() + seconds * 1000;
    const client = async (): Promise<void> => {
      while (performance.now() < end) await visit(server.port, random, killChance, result);
    };
    await Promise.all(Array.from({ length: CLIENTS }, client));
  };
  await run(1, 0);
  let before = -1;
  const fds = await until(
    () => {
      const now = fdCount(worker);
      const same = now === before;
      before = now;
      return same ? now : 0;
    },
    { everyMs: 300, what: 'a steady fd count' },
  );
  assert.deepEqual([result.cut, result.wrong], [0, []]);
  await run(SECONDS, 0.02);
  t.diagnostic(JSON.stringify({ ...result, wrong: result.wrong.length }));
  assert.deepEqual(result.wrong, [], server.log.slice(-2000));
  assert.ok(result.kills > 0 && result.opened > 5 * SECONDS, JSON.stringify(result));
  assert.deepEqual(server.spawned, [worker]);
  const level = () => fdCount(worker) <= fds && fdKinds(worker).socket === sockets;
  await until(level, { what: 'the fds' }).catch((error) => {
    throw new Error(`${error.message}: at first ${fds}, ${sockets} sockets, now ${JSON.stringify(fdKinds(worker))}`);
  });
  await run(1, 0);
  assert.deepEqual(complaints(server.log, /has ended|is ended|Also on thread/), []);
  const stopped = performance.now();
  server.kill('SIGTERM');
  assert.deepEqual(await server.ended, { code: 0, signal: null });
  assert.ok(performance.now() - stopped < 5000, `the end took ${performance.now() - stopped} ms`);
});
