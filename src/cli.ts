#!/usr/bin/env node
/**
 * The command `tunicorn`: reads the command line and the configuration file, then serves until told to stop, or only checks
 * and prints. `run` in index.ts serves in the same way.
 */
import { TunicornError } from './errors.js';
// First of all: it notes how this process was started.
import { origin } from './origin.js';

const OLDEST_NODE = 20;

async function main(argv: readonly string[]): Promise<number> {
  if (Number.parseInt(process.versions.node, 10) < OLDEST_NODE) {
    process.stderr.write(`tunicorn: error: Node.js ${OLDEST_NODE} or later is needed; this is ${process.version}.\n`);
    return 1;
  }
  // Only now, here and below: on an old Node the libraries fail to load, and the addon may be missing, which is told
  // like any other error.
  const { readCommand } = await import('./config/argv.js');
  const { loadConfig } = await import('./config/load.js');
  const { detach, isDetached } = await import('./daemon.js');
  const detached = isDetached();
  // A reload goes by what was there at the start.
  const surroundings = { env: { ...process.env }, cwd: origin.cwd };
  try {
    const command = readCommand(argv, surroundings.env);
    if ('text' in command) {
      process.stdout.write(command.text);
      return 0;
    }
    const read = () => loadConfig(command, surroundings);
    const loaded = await read();
    if (command.print) {
      const { formatConfig } = await import('./config/print.js');
      process.stdout.write(formatConfig(loaded));
    }
    if (command.check || command.print) {
      const { checkApp } = await import('./arbiter/app-check.js');
      const { readTls } = await import('./arbiter/tls.js');
      readTls(loaded.config);
      const problem = await checkApp(loaded.config);
      if (problem === null) process.stderr.write('tunicorn: the configuration is good and the app loads.\n');
      else process.stderr.write(`tunicorn: error: the app does not load: ${problem}\n`);
      return problem === null ? 0 : 1;
    }
    if (loaded.config.daemon && !detached) {
      await detach(loaded.config);
      return 0;
    }
    const { serve } = await import('./serve.js');
    return await serve(loaded, read);
  } catch (err) {
    if (!(err instanceof TunicornError)) throw err;
    process.stderr.write(`tunicorn: error: ${err.message}\n`);
    if (err.code === 'ERR_TUNICORN_CONFIG') process.stderr.write("Try 'tunicorn --help'.\n");
    return err.exitCode;
  }
}

// Not process.exitCode: nothing that is left in the event loop may keep a finished arbiter alive.
process.exit(await main(process.argv.slice(2)));
