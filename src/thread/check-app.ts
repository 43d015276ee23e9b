/**
 * A process that loads the app once and tells its parent over IPC whether that went well; what goes wrong is on standard error.
 * Arguments: the app, the worker class. Started by arbiter/app-check.ts in the app's folder. It outlives no parent, also not with an app
 * that never lets go of the CPU.
 */
import { constants } from 'node:os';
import { Adoption } from '../app/adopt.js';
import { loadApp } from '../app/load.js';
import { TunicornError } from '../errors.js';
import { createLogger, describeError } from '../log.js';
import { native } from '../native/binding.js';
import { guardProcess } from './process-wide.js';

native.setParentDeathSignal(constants.signals.SIGKILL);
// It may have gone before.
if (!process.connected) process.exit(1);

try {
  // A program that listens itself shall not really do so.
  const log = createLogger({ level: 'error', errorlog: '-' });
  const adoption = new Adoption({ address: 'http://127.0.0.1:8000', log, quiet: true });
  adoption.install();
  guardProcess(process.argv[3] !== 'sync');
  await loadApp(process.argv[2], { cwd: process.cwd(), adoption });
  // What the app has opened may keep this process alive: its task is done.
  process.send?.({ loaded: true }, () => process.exit(0));
} catch (err) {
  const known = err instanceof TunicornError;
  const text = known ? err.message : describeError(err);
  const cause = known && err.cause !== undefined ? `\n${describeError(err.cause)}` : '';
  process.stderr.write(`${text}${cause}\n`, () => process.exit(1));
}
