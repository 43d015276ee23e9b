#!/usr/bin/env node
/** The command `tunicorn`: reads the command line, then serves until told to stop. `run` in index.ts does the same. */
import { parseArgv } from './config/argv.js';
import { TunicornError } from './errors.js';

async function main(argv: readonly string[]): Promise<number> {
  try {
    const wanted = parseArgv(argv);
    if ('print' in wanted) {
      process.stdout.write(wanted.print);
      return 0;
    }
    // Only now: the addon may be missing, which is told like any other error.
    const { run } = await import('./index.js');
    process.title = `tunicorn: master [${wanted.run.app}]`;
    return await run(wanted.run);
  } catch (err) {
    if (!(err instanceof TunicornError)) throw err;
    const more = err.code === 'ERR_TUNICORN_CONFIG' ? "Try 'tunicorn --help'.\n" : '';
    process.stderr.write(`tunicorn: error: ${err.message}\n${more}`);
    return err.exitCode;
  }
}

// Not process.exitCode: nothing that is left in the event loop may keep a finished arbiter alive.
process.exit(await main(process.argv.slice(2)));
