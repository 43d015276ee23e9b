/** What handle.ts asks of a request head besides parsing it. */

/** Incomplete heads up to this length are parsed again whenever a byte came. */
const SHORT_HEAD = 512;

/**
 * A head is parsed from its first byte each time. A short one always is, so that rubbish is answered at once; a longer one
 * when a line ended or its length passed a power of two: a client that sends single bytes stays cheap.
 */
export function worthParsing(memory: Buffer, at: number, old: number, length: number): boolean {
  if (length <= SHORT_HEAD || Math.clz32(old) !== Math.clz32(length)) return true;
  const newline = memory.indexOf(10, at + old);
  return newline >= 0 && newline < at + length;
}

/** The Expect fields in lower case, '' without one; saying the same twice is saying it once. */
export function expectOf(headers: string[]): string {
  let found = '';
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i].length !== 6 || headers[i + 1] === '' || headers[i].toLowerCase() !== 'expect') continue;
    const value = headers[i + 1].toLowerCase();
    found = found === '' || found === value ? value : `${found}, ${value}`;
  }
  return found;
}
