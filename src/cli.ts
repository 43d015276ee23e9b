#!/usr/bin/env node
/** The command `tunicorn`: reads the command line, then serves until told to stop. `run` in index.ts does the same. */
import { TunicornError } from './errors.js';

const OLDEST_NODE = 20;

async function main(argv: readonly string[]): Promise<number> {
  if (Number.parseInt(process.versions.node, 10) < OLDEST_NODE) {
    process.stderr.write(`tunicorn: error: Node.js ${OLDEST_NODE} or later is needed; this is ${process.version}.\n`);
    return 1;
  }
  // Only now, here and below: on an old Node the libraries fail to load, and the addon may be missing, which is told
  // like any other error.
  const { parseArgv } = await import('./config/argv.js');
  try {
    const wanted = parseArgv(argv);
    if ('print' in wanted) {
      process.stdout.write(wanted.print);
      return 0;
    }
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
