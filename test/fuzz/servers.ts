/** The servers that the hunt runs against: both worker classes, which let every field pass (--header-map). */
import { isAlive } from '../support/arbiter-process.js';
import { HttpServer } from '../support/http-server.js';
import { complaints } from '../support/stress-server.js';
import { type Counts, hunt } from './hunt.js';

const APP = 'dist/test/fuzz/app.js';
/** ms between two times that the lines of refused requests are taken out of the log we keep. */
const TIDY_MS = 1000;

export const CLASSES = [
  { name: 'gthread', args: ['--threads', '3', '--header-map', 'dangerous'], keepAlive: true },
  { name: 'sync', args: ['-k', 'sync', '--header-map', 'dangerous'], keepAlive: false },
];

/** Hunts on one class for `ms`. @throws where a case went wrong, or the server lost a process or thread. */
export async function huntOn(
  kind: (typeof CLASSES)[number],
  seed: number,
  ms: number,
  clients: number,
): Promise<Counts> {
  const counts = { cases: 0, requests: 0, refused: 0, incomplete: 0 };
  const server = await HttpServer.start(APP, kind.args);
  const tidy = () => (server.log = server.log.replace(/^.*\[INFO\].* Refused a request from 127\.0\.0\.1: .*\n/gm, ''));
  const timer = setInterval(tidy, TIDY_MS);
  try {
    const { worker } = server;
    await hunt({ port: server.port, keepAlive: kind.keepAlive }, seed, ms, clients, counts);
    tidy();
    if (!isAlive(worker) || server.spawned.length !== 1) throw new Error(`the worker ended; the log:\n${server.log}`);
    if (/thread \d+ (has|is) ended|replaced/i.test(server.log))
      throw new Error(`a thread ended; the log:\n${server.log}`);
    const wrong = complaints(server.log);
    if (wrong.length > 0) throw new Error(`complaints in the log:\n${wrong.slice(0, 20).join('\n')}`);
    await server.stop();
  } finally {
    clearInterval(timer);
    await server.cleanup();
  }
  return counts;
}
