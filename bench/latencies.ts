/** Every latency of a run, kept as it is: percentiles are exact, by nearest rank, not read from a histogram. */
export class Latencies {
  private values: Float64Array;
  private count = 0;

  /** `expected`: how many there will probably be; more are kept as well. */
  constructor(expected: number) {
    this.values = new Float64Array(Math.max(16, expected));
  }

  get length(): number {
    return this.count;
  }

  add(milliseconds: number): void {
    if (this.count === this.values.length) {
      const larger = new Float64Array(this.count * 2);
      larger.set(this.values);
      this.values = larger;
    }
    this.values[this.count++] = milliseconds;
  }

  /** Sorted, smallest first; a copy. */
  sorted(): Float64Array {
    return this.values.slice(0, this.count).sort();
  }
}

/**
 * The smallest latency that at least `share` (0 to 1) of the requests did not exceed. Requests without a right answer
 * (`failed`) rank above all others, so that refusing the slow ones improves nothing: Infinity where the rank is among them.
 * NaN without any request.
 */
export function percentile(sorted: Float64Array, share: number, failed = 0): number {
  const total = sorted.length + failed;
  if (total === 0) return Number.NaN;
  const rank = Math.max(1, Math.ceil(share * total));
  return rank <= sorted.length ? sorted[rank - 1] : Number.POSITIVE_INFINITY;
}
