/**
 * Loads the app once, to see whether it can be: for --check-config and preload_app. It happens in a process of its own (thread/check-app.ts), so
 * that no code of the app runs in the arbiter, and whatever the app starts at its load ends with that process.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Config } from '../config/settings.js';
import { APP_LOAD_ERROR, TunicornError } from '../errors.js';
import type { Logger } from '../log.js';
import { envEntries } from './environment.js';
import { workerExecArgv } from './worker-handle.js';

const SCRIPT = fileURLToPath(new URL('../thread/check-app.js', import.meta.url));
/** The least time that an app has to load, ms; a longer --timeout counts. */
const LEAST_MS = 30_000;

/**
 * Loads the app in the folder `chdir`. Never rejects.
 * @param giveUp ends it early; the answer is then of no use.
 * @returns null if that went well, otherwise what went wrong, ready to be shown.
 */
export async function checkApp(config: Config, giveUp?: AbortSignal): Promise<string | null> {
  const limit = Math.max(LEAST_MS, config.timeout * 1000);
  const child = spawn(process.execPath, [...workerExecArgv(process.execArgv), SCRIPT, config.app, config.workerClass], {
    cwd: config.chdir,
    env: { ...process.env, ...Object.fromEntries(envEntries(config.rawEnv)) },
    stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    timeout: limit,
    killSignal: 'SIGKILL',
    signal: giveUp,
  });
  let loaded = false;
  let output = '';
  child.on('message', (message: { loaded?: true } | null) => (loaded ||= message?.loaded === true));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (output += text));
  return await new Promise((done) => {
    child.once('error', (err) => done(`cannot start ${process.execPath}: ${err.message}`));
    child.once('close', (code, signal) => {
      if (loaded) done(null);
      else if (output.trim() !== '') done(output.trimEnd());
      else if (signal === 'SIGKILL') done(`it has not loaded within ${limit / 1000} s`);
      else done(`its process ended while it loaded: ${signal ?? `exit status ${code}`}`);
    });
  });
}

/**
 * preload_app: loads the app once before anything is changed. Why it does not load goes into the log.
 * @returns true.
 * @throws {TunicornError} ERR_TUNICORN_PRELOAD, exit status 4: it does not load.
 */
export async function preload(config: Config, log: Logger, giveUp: AbortSignal): Promise<true> {
  const problem = await checkApp(config, giveUp);
  if (problem === null) return true;
  const [what, ...trace] = problem.split('\n');
  const cause = Object.assign(new Error(what), { stack: trace.join('\n') });
  if (!giveUp.aborted) log.error(`The app does not load: ${what}`, trace.length > 0 ? cause : undefined);
  throw new TunicornError('ERR_TUNICORN_PRELOAD', 'App failed to load.', { exitCode: APP_LOAD_ERROR });
}
