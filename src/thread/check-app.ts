/**
 * A process that loads the app once and tells its parent over IPC whether that went well; what goes wrong is on standard error.
 * Arguments: the app. Started by arbiter/app-check.ts in the app's folder.
 */
import { loadApp } from '../app/load.js';
import { TunicornError } from '../errors.js';
import { describeError } from '../log.js';

try {
  await loadApp(process.argv[2], { cwd: process.cwd() });
  // What the app has opened may keep this process alive: its task is done.
  process.send?.({ loaded: true }, () => process.exit(0));
} catch (err) {
  const known = err instanceof TunicornError;
  const text = known ? err.message : describeError(err);
  const cause = known && err.cause !== undefined ? `\n${describeError(err.cause)}` : '';
  process.stderr.write(`${text}${cause}\n`, () => process.exit(1));
}
