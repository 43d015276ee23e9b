/**
 * The work that every benchmarked server does, one function per scenario, so that what differs is the server alone.
 * wsgi.py is the same in Python. Paths: `/` hello, `/echo` JSON in and out, `/64k` a large body, `/cpu` burns 5 ms of CPU,
 * `/heavy` 50 ms.
 */
import { pbkdf2Sync } from 'node:crypto';

export const HELLO = 'Hello, world!';
export const LARGE_SIZE = 64 * 1024;
export const LARGE = Buffer.alloc(LARGE_SIZE, 'x');

/** Iterations that take about 5 ms of CPU here; the harness calibrates once and gives all servers the same number. */
const CPU_ITERATIONS = Number(process.env.BENCH_CPU_ITERATIONS ?? 10_000);

/** A fixed amount of work, the same in every server; the digest proves that it was done. */
export function burn(iterations: number = CPU_ITERATIONS): string {
  return pbkdf2Sync('tunicorn', 'bench', iterations, 32, 'sha256').toString('hex');
}

/** `/heavy` is so many times `/cpu`. */
const HEAVY_FACTOR = 10;

/** About 50 ms of CPU in one synchronous stretch. */
export function heavy(iterations: number = CPU_ITERATIONS): string {
  return burn(HEAVY_FACTOR * iterations);
}

/** Parses and prints again: what an API handler does at the least. */
export function echo(body: string): string {
  return JSON.stringify(JSON.parse(body));
}
