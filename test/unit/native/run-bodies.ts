/** Runs a list of checks twice: on the main thread and in a worker thread, as tests of the same names. */
import { before, describe, test } from 'node:test';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';

export type Bodies = Record<string, () => void | Promise<void>>;

/** url: the file that calls this; it is what the worker thread loads. */
export function runInBoth(title: string, url: string, bodies: Bodies): void {
  if (!isMainThread) {
    parentPort!.on('message', async (name: string) => {
      let failed: string | null = null;
      try {
        await bodies[name]();
      } catch (error) {
        failed = error instanceof Error ? (error.stack ?? error.message) : String(error);
      }
      parentPort!.postMessage(failed);
    });
    return;
  }
  describe(`${title}, main thread`, () => {
    for (const [name, body] of Object.entries(bodies)) test(name, body);
  });
  describe(`${title}, worker thread`, () => {
    let worker: Worker;
    // Not before: a thread that starts meanwhile would disturb those who count file descriptors.
    before(() => {
      worker = new Worker(new URL(url));
    });
    for (const name of Object.keys(bodies)) {
      test(name, async () => {
        const failed = await new Promise<string | null>((resolve, reject) => {
          worker.ref();
          worker.once('message', resolve);
          worker.once('error', reject);
          worker.postMessage(name);
        });
        worker.removeAllListeners('message').removeAllListeners('error').unref();
        if (failed !== null) throw new Error(failed);
      });
    }
  });
}
