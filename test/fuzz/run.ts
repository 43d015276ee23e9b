/**
 * The hunt by hand: FUZZ_SECONDS=3600 FUZZ_SEED=1 npm run fuzz. FUZZ_SECONDS (default 600) are for both worker classes
 * together, half each, or all for the one that FUZZ_CLASS names; FUZZ_CLIENTS connections at a time (default 4). Prints the
 * seed and counts; exits 1 at the first finding.
 */
import { seedOf } from '../support/random.js';
import { CLASSES, huntOn } from './servers.js';

const { FUZZ_SECONDS = '600', FUZZ_CLIENTS = '4', FUZZ_SEED, FUZZ_CLASS } = process.env;
const classes = CLASSES.filter(({ name }) => FUZZ_CLASS === undefined || name === FUZZ_CLASS);
const seed = seedOf({ SEED: FUZZ_SEED });
const ms = (Number(FUZZ_SECONDS) * 1000) / classes.length;
console.log(`FUZZ_SEED=${seed} FUZZ_SECONDS=${FUZZ_SECONDS}`);
for (const kind of classes) {
  try {
    const counts = await huntOn(kind, seed, ms, Number(FUZZ_CLIENTS));
    console.log(`${kind.name}: ${JSON.stringify(counts)}`);
  } catch (error) {
    console.error(`${kind.name}: ${(error as Error).message}`);
    process.exitCode = 1;
  }
}
