/** Bytes that tell where in a body they belong: the byte at offset i is i % 251. */
const PERIOD = 251;
const ROUND = PERIOD * 4200;
const bytes = Buffer.alloc(
  ROUND + PERIOD,
  Uint8Array.from({ length: PERIOD }, (_, i) => i),
);

/** `length` bytes (up to 1 MiB) from that offset on: a view, not to be changed. */
export function patternAt(offset: number, length: number): Buffer {
  const from = offset % PERIOD;
  return bytes.subarray(from, from + Math.min(length, ROUND));
}
