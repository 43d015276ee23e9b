/**
 * LightLoad: how many threads light requests are worth, from the CPU time that they took lately. One thread serves them best, without
 * waking another and with its caches warm, until they fill it; from then on each further one gets a CPU of its own. Only time on
 * a CPU counts: on a machine that has none to spare another thread would only wait beside the first.
 */

/** Light requests have one thread more for each so much of a CPU's time that they take. */
const FULL_SHARE = 0.85;
/** Over which time that is known, microseconds. */
const WINDOW_US = 20_000;

export class LightLoad {
  private readonly cpus: number;
  private share = 0;

  /** cpus: more threads than that are of no use. */
  constructor(cpus: number) {
    this.cpus = cpus;
  }

  /**
   * What threads that are not held up did since the last look. @param elapsedUs time since then. @param cpuUs CPU time of them all.
   * @returns how many threads such work is worth, at least 1.
   */
  threads(elapsedUs: number, cpuUs: number): number {
    if (elapsedUs > 0) this.share += (cpuUs / elapsedUs - this.share) * Math.min(1, elapsedUs / WINDOW_US);
    return Math.max(1, Math.min(this.cpus, 1 + Math.floor(this.share / FULL_SHARE)));
  }
}
