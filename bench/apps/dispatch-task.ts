/** The smallest task: the round trip is all that is measured. */
export default function task(value: number): number {
  return value;
}
