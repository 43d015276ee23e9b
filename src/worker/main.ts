/**
 * A worker process's first file: waits for the arbiter's boot message, becomes a worker of the class it names, and serves.
 * Exit status: 0 told to end, 3 could not boot, 4 the app could not be loaded (gunicorn's numbers).
 */
import { TunicornError, WORKER_BOOT_ERROR } from '../errors.js';
import type { BootMessage } from '../messages.js';
import { showTitle } from '../native/binding.js';
import { takeIdentity } from './identity.js';
import { ThreadWorker } from './thread-worker.js';

showTitle('tunicorn: worker');

const orphaned = () => process.exit(0);
process.once('disconnect', orphaned);
process.once('message', (message: BootMessage) => void main(message));

async function main(message: BootMessage): Promise<void> {
  const { procName, app } = message.config;
  showTitle(`tunicorn: worker [${procName ?? app}]`);
  const worker = new ThreadWorker(message);
  process.off('disconnect', orphaned);
  worker.initSignals();
  worker.startNotifying();
  try {
    await worker.hooks.begin();
    // Told to leave meanwhile.
    if (!worker.alive) return;
    takeIdentity(message.config);
    await worker.initProcess();
  } catch (error) {
    // Whatever breaks while it leaves is no failure to boot.
    if (!worker.alive) return;
    const known = error instanceof TunicornError;
    if (known) {
      worker.log.error(`${error.code}: ${error.message}`, error.cause);
    } else worker.log.error('Exception in worker process', error);
    worker.exit(known && error.exitCode > 0 ? error.exitCode : WORKER_BOOT_ERROR);
  }
}
