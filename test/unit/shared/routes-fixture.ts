/** A worker thread of routes-threads.test.ts: finds routes in step with others, or makes them until it is ended. */
import { parentPort, workerData } from 'node:worker_threads';
import { OTHER_ROUTE, Routes } from '../../../src/shared/routes.js';

export interface Race {
  role: 'race';
  index: number;
  threads: number;
  /** One table for each round. */
  memories: SharedArrayBuffer[];
  /** What to find; each thread in another order in every second round. */
  urls: string[];
  /** How many threads have come to each round. */
  arrived: Int32Array;
  /** Routes found: by round, thread and URL. */
  found: Int32Array;
}

export interface Churn {
  role: 'churn';
  index: number;
  memory: SharedArrayBuffer;
  /** URLs found so far. */
  progress: Int32Array;
}

function race({ index, threads, memories, urls, arrived, found }: Race): void {
  memories.forEach((memory, round) => {
    const routes = new Routes(memory);
    const step = round % 2 === 0 ? 1 : [7, 11, 13, 17][index % 4];
    Atomics.add(arrived, round, 1);
    while (Atomics.load(arrived, round) < threads);
    for (let i = 0; i < urls.length; i++) {
      const which = (i * step) % urls.length;
      found[(round * threads + index) * urls.length + which] = routes.find('GET', urls[which]);
      routes.record(OTHER_ROUTE, 20, 0);
      routes.count(OTHER_ROUTE, 1, 3_000_000_000, 0);
    }
  });
  parentPort!.postMessage('done');
}

/** How many URLs a churning thread finds, again and again. */
export const CHURN_URLS = 36;
export const churnUrl = (index: number, i: number): string => `/churn${index}-x/${i.toString(36)}g/y`;

function churn({ index, memory, progress }: Churn): void {
  for (let i = 0; ; i = (i + 1) % CHURN_URLS) {
    const routes = new Routes(memory);
    const route = routes.find('GET', churnUrl(index, i));
    routes.record(route, 20, 0);
    routes.suspect(route);
    routes.count(route, 1, 1, 1);
    Atomics.add(progress, 0, 1);
  }
}

const data = workerData as Race | Churn | null;
if (data?.role === 'race') race(data);
else if (data?.role === 'churn') churn(data);
