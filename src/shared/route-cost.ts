/**
 * What a route is expected to cost, learned from single requests, all in one 32-bit word, so that any thread may replace
 * it by compare-and-swap and die at any time:
 *
 *     31     30..28  27..24    23......0
 *     heavy  run     samples   CPU microseconds of a request, decayed mean (at most 16.7 s)
 *
 * The word 0 means unknown. A sample weighs 1/n up to the eighth, then 1/8. What the mean alone does badly is left to
 * `run`, which counts samples that contradict what is believed:
 *
 * - A light route that is known (4 samples) has a heavy sample cut to 20 ms: one does not make it heavy. It adds 2 to
 *   `run`, a light one takes 1 away: at 4 (two heavy ones in a row, or three among as many light) the route is heavy.
 * - A heavy route counts light samples in a row: when they are at least 3 and half of all it remembers (7 of 14), it is light.
 *   Its mean would take 40 requests to come down from a second.
 */

/** A request above this is heavy, CPU microseconds; and a route whose mean is. */
export const HEAVY_US = 10_000;
/** A heavy route stays so until its mean is below this. */
export const LIGHT_US = 5_000;

const COST_MASK = 0xffffff;
const SAMPLES_SHIFT = 24;
const RUN_SHIFT = 28;
const HEAVY_BIT = 1 << 31;
const MAX_SAMPLES = 14;
const MAX_RUN = 7;
/** So many samples, and no contradiction: measured only now and then. */
const CERTAIN = 8;
/** So many samples: not changed by a single one. */
const KNOWN = 4;
const SLOWEST_WEIGHT = 8;
/** What a heavy sample of a known light route counts as. */
const CUT_US = 2 * HEAVY_US;
const TURNS_HEAVY = 4;
const TURNS_LIGHT = 3;
/** Each such time without a sample halves the number of samples: what comes then weighs more. */
export const FADE_MS = 60_000;

function pack(cost: number, samples: number, run: number, heavy: boolean): number {
  return cost | (samples << SAMPLES_SHIFT) | (run << RUN_SHIFT) | (heavy ? HEAVY_BIT : 0);
}

/** Expected CPU microseconds of a request; 0 = unknown. */
export const costOf = (word: number): number => word & COST_MASK;
export const isHeavy = (word: number): boolean => word < 0;
const samplesOf = (word: number): number => (word >>> SAMPLES_SHIFT) & 15;
const runOf = (word: number): number => (word >>> RUN_SHIFT) & 7;

/** Light, and nothing speaks against it: samples from 8, run 0, not heavy, by one comparison of the word's upper bits. */
export function isCertain(word: number): boolean {
  const state = word >> SAMPLES_SHIFT;
  return state >= CERTAIN && state < 16;
}

/** The word after a request that took `cpuUs`; `idleMs`: since the sample before it. */
export function learn(word: number, cpuUs: number, idleMs: number): number {
  const sample = Math.min(Math.max(1, Math.round(cpuUs)), COST_MASK);
  let samples = samplesOf(word);
  if (samples === 0) return pack(sample, 1, 0, sample > HEAVY_US);
  if (idleMs >= FADE_MS) samples = Math.max(1, samples >> Math.min(8, Math.floor(idleMs / FADE_MS)));
  const count = Math.min(samples + 1, MAX_SAMPLES);
  return isHeavy(word) ? ofHeavy(word, sample, count) : ofLight(word, sample, count);
}

function mean(word: number, sample: number, count: number): number {
  const old = costOf(word);
  return old + Math.round((sample - old) / Math.min(count, SLOWEST_WEIGHT));
}

function ofLight(word: number, sample: number, count: number): number {
  if (sample <= HEAVY_US || count <= KNOWN) {
    const cost = mean(word, sample, count);
    const heavy = cost > HEAVY_US;
    return pack(cost, count, heavy ? 0 : Math.max(0, runOf(word) - 1), heavy);
  }
  const run = runOf(word) + 2;
  if (run >= TURNS_HEAVY) return pack(sample, 2, 0, true);
  const cost = mean(word, Math.min(sample, CUT_US), count);
  const heavy = cost > HEAVY_US;
  return pack(cost, count, heavy ? 0 : run, heavy);
}

function ofHeavy(word: number, sample: number, count: number): number {
  let run = runOf(word);
  if (sample < LIGHT_US) run = Math.min(run + 1, MAX_RUN);
  else if (sample > HEAVY_US) run = 0;
  if (run >= TURNS_LIGHT && run * 2 >= count) return pack(sample, run, 0, false);
  const cost = mean(word, sample, count);
  const heavy = cost >= LIGHT_US;
  return pack(cost, count, heavy ? run : 0, heavy);
}

/** The word of a light route that seems to have changed: the next requests are measured, and weigh more. */
export function doubt(word: number): number {
  if (isHeavy(word) || samplesOf(word) <= KNOWN) return word;
  return pack(costOf(word), KNOWN, runOf(word), false);
}
