/** The hunt in its short form: 15 s on each worker class. FUZZ_SECONDS and FUZZ_SEED as for run.ts. */
import { test } from 'node:test';
import { seedOf } from '../support/random.js';
import { CLASSES, huntOn } from './servers.js';

const { FUZZ_SECONDS = '30', FUZZ_SEED } = process.env;

for (const kind of CLASSES) {
  test(`mutated requests frame as the RFC reads: ${kind.name}`, async (t) => {
    const seed = seedOf({ SEED: FUZZ_SEED });
    t.diagnostic(`FUZZ_SEED=${seed}`);
    const counts = await huntOn(kind, seed, (Number(FUZZ_SECONDS) * 1000) / CLASSES.length, 4);
    t.diagnostic(JSON.stringify(counts));
  });
}
