/**
 * What it costs to hand one piece of work to a thread and get its answer, without any HTTP: piscina and tinypool tasks,
 * and our hand-over. Each is measured alone (one round trip after the other) and under load (64 in flight).
 * Run as a process of its own, once per host and round: `node dispatch.js HOST THREADS SECONDS` prints one line of JSON.
 * CPU time is the whole process's, all threads.
 */
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';

/** `missing` says why there are no figures; `failed` is set when there should have been some. */
export type DispatchOutcome =
  | { sequential: DispatchFigure; loaded: DispatchFigure }
  | { missing: string; failed?: true };

export interface DispatchFigure {
  tasks: number;
  microsecondsPerTask: number;
  cpuMicrosecondsPerTask: number;
}

/** A pool under measurement: `task` resolves to its argument, having been on a thread. */
interface Host {
  task(value: number): Promise<number>;
  close(): Promise<unknown>;
}

export const DISPATCH_HOSTS = ['piscina', 'tinypool', 'tunicorn', 'tunicorn-future'] as const;
export type DispatchHost = (typeof DISPATCH_HOSTS)[number];

export const IN_FLIGHT = 64;
const TASK = new URL('./apps/dispatch-task.js', import.meta.url).href;

async function piscinaHost(threads: number): Promise<Host> {
  const { Piscina } = await import('piscina');
  const pool = new Piscina<number, number>({ filename: TASK, minThreads: threads, maxThreads: threads });
  return { task: (value) => pool.run(value), close: () => pool.destroy() };
}

async function tinypoolHost(threads: number): Promise<Host> {
  const { default: Tinypool } = await import('tinypool');
  const pool = new Tinypool({ filename: TASK, minThreads: threads, maxThreads: threads, runtime: 'worker_threads' });
  return { task: (value) => pool.run(value) as Promise<number>, close: () => pool.destroy() };
}

/**
 * Our hand-over: ThreadPool.submit(conn) of a connection on which nothing has arrived. A thread takes it, tries to receive,
 * and gives it back to the selector: everything that a request costs besides itself. With `future` the round trip ends when
 * the Future is set on the main thread (a message); without, as in the server, nobody tells main: it ends when the
 * connection's word in shared memory says that the thread is done, which main looks for once a turn of its loop.
 */
async function tunicornHost(threads: number, future: boolean): Promise<Host> {
  const { PoolFixture } = await import('./pool-fixture.js');
  const fixture = await PoolFixture.start(threads, IN_FLIGHT);
  const task = async (value: number): Promise<number> => {
    const conn = fixture.take();
    await (future ? fixture.submitForFuture(conn) : fixture.submitAndWatch(conn));
    fixture.giveBack(conn);
    return value;
  };
  return { task, close: () => fixture.close() };
}

/** Runs `inFlight` loops of tasks for `seconds`. */
async function measure(host: Host, inFlight: number, seconds: number): Promise<DispatchFigure> {
  let tasks = 0;
  const cpuBefore = process.cpuUsage();
  const begin = performance.now();
  const end = begin + seconds * 1000;
  const loop = async () => {
    while (performance.now() < end) {
      const value = tasks++;
      if ((await host.task(value)) !== value) throw new Error('a task gave a wrong answer');
    }
  };
  await Promise.all(Array.from({ length: inFlight }, loop));
  const micros = (performance.now() - begin) * 1000;
  const cpu = process.cpuUsage(cpuBefore);
  return { tasks, microsecondsPerTask: micros / tasks, cpuMicrosecondsPerTask: (cpu.user + cpu.system) / tasks };
}

async function run(name: DispatchHost, threads: number, seconds: number): Promise<DispatchOutcome> {
  const hosts: Record<DispatchHost, () => Promise<Host>> = {
    piscina: () => piscinaHost(threads),
    tinypool: () => tinypoolHost(threads),
    tunicorn: () => tunicornHost(threads, false),
    'tunicorn-future': () => tunicornHost(threads, true),
  };
  const host = await hosts[name]();
  try {
    await measure(host, IN_FLIGHT, Math.min(0.5, seconds));
    const sequential = await measure(host, 1, seconds);
    const loaded = await measure(host, IN_FLIGHT, seconds);
    return { sequential, loaded };
  } finally {
    await host.close();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [name, threads, seconds] = process.argv.slice(2);
  console.log(JSON.stringify(await run(name as DispatchHost, Number(threads), Number(seconds))));
  process.exit(0);
}
