/**
 * From a request's URL to the segments of its route: query and fragment cut, what looks like an id seen as such, at most
 * MAX_SEGMENTS of them. Works on the characters in place and keeps its findings in arrays that the next split() reuses:
 * URLs with ids in them are new all the time, so this must not make garbage.
 *
 * A segment is an id if it is a decimal number, 8 or more hex digits, longer than 40 characters, or 16 or more characters
 * of a token (letters, digits, - _ ~ + = %) in which letters and digits alternate or a quarter are digits: UUIDs,
 * base64, percent-encoded text, dated slugs, but not `oauth2-authorization-callback`.
 */

export const MAX_SEGMENTS = 8;
const LONGEST = 40;
const HEX_ID = 8;
const TOKEN_ID = 16;

export const LITERAL = 0;
export const ID = 1;
/** Any segment, or all that follow. */
export const WILD = 2;

const SLASH = 0x2f;

const OTHER_CHAR = 0;
const DIGIT = 1;
const HEX_LETTER = 2;
const LETTER = 3;
const TOKEN_CHAR = 4;
const CLASS = Uint8Array.from({ length: 256 }, (_, code) => {
  const c = String.fromCharCode(code);
  if (/[0-9]/.test(c)) return DIGIT;
  if (/[a-f]/i.test(c)) return HEX_LETTER;
  if (/[a-z]/i.test(c)) return LETTER;
  return /[-_~+=%]/.test(c) ? TOKEN_CHAR : OTHER_CHAR;
});

/** Spreads the bits of a 32-bit number over all of it; never 0. */
export function mix(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16) || 1;
}

export class PathSegments {
  /** Segments found. */
  count = 0;
  /** What each looks like: LITERAL, ID, or WILD for all beyond the last. */
  readonly kind = new Uint8Array(MAX_SEGMENTS + 1);
  /** What the tree took it for. */
  readonly taken = new Uint8Array(MAX_SEGMENTS + 1);
  /** Two hashes of the characters of each segment; for a LITERAL only. */
  readonly a = new Int32Array(MAX_SEGMENTS + 1);
  readonly b = new Int32Array(MAX_SEGMENTS + 1);
  private readonly start = new Int32Array(MAX_SEGMENTS + 1);
  private readonly end = new Int32Array(MAX_SEGMENTS + 1);
  private readonly seedA: number;
  private readonly seedB: number;

  /** Seeds: secret numbers, so that nobody outside can make two segments look the same. */
  constructor(seedA: number, seedB: number) {
    this.seedA = seedA;
    this.seedB = seedB;
  }

  /** Finds the segments of a URL in origin or absolute form; false for anything else (`*`, host:port, nothing). */
  split(url: string): boolean {
    let at = 0;
    if (url.charCodeAt(0) !== SLASH) {
      const origin = /^https?:\/\/[^/?#]*/i.exec(url);
      if (origin === null) return false;
      at = origin[0].length;
    }
    let end = url.indexOf('?', at);
    if (end < 0) end = url.length;
    const fragment = url.indexOf('#', at);
    if (fragment >= 0 && fragment < end) end = fragment;
    this.count = 0;
    do {
      if (this.count === MAX_SEGMENTS) {
        this.kind[this.count++] = WILD;
        return true;
      }
      at = this.segment(url, at + 1, end);
    } while (at < end);
    return true;
  }

  /** Takes the segment that begins at `start`; returns where it ends. */
  private segment(url: string, start: number, end: number): number {
    let a = this.seedA;
    let b = this.seedB;
    let digits = 0;
    let hexLetters = 0;
    let others = 0;
    let turns = 0;
    let last = OTHER_CHAR;
    let i = start;
    for (; i < end && i - start <= LONGEST; i++) {
      const code = url.charCodeAt(i);
      if (code === SLASH) break;
      a = Math.imul(a ^ code, 0x9e3779b1);
      b = Math.imul(b ^ code, 0x85ebca77);
      const kind = code < 256 ? CLASS[code] : OTHER_CHAR;
      if (kind === DIGIT) {
        digits++;
        if (last === LETTER) turns++;
        last = DIGIT;
      } else if (kind === HEX_LETTER || kind === LETTER) {
        if (kind === HEX_LETTER) hexLetters++;
        if (last === DIGIT) turns++;
        last = LETTER;
      } else {
        if (kind === OTHER_CHAR) others++;
        last = OTHER_CHAR;
      }
    }
    const length = i - start;
    const id =
      length > LONGEST ||
      (length > 0 && digits === length) ||
      (length >= HEX_ID && digits + hexLetters === length) ||
      (length >= TOKEN_ID && others === 0 && digits > 0 && (turns > 1 || digits * 4 >= length));
    if (length > LONGEST) {
      i = url.indexOf('/', i);
      if (i < 0 || i > end) i = end;
    }
    const n = this.count++;
    this.kind[n] = id ? ID : LITERAL;
    this.a[n] = a;
    this.b[n] = b;
    this.start[n] = start;
    this.end[n] = i;
    return i;
  }

  /** The pattern by `taken`, for the URL that was split: `/users/:id/*`. Printable ASCII, whatever the URL holds. */
  text(url: string): string {
    let text = '';
    for (let i = 0; i < this.count; i++) {
      if (this.taken[i] === LITERAL) text += `/${url.slice(this.start[i], this.end[i]).replace(/[^\x21-\x7e]/g, '?')}`;
      else text += this.taken[i] === ID ? '/:id' : '/*';
    }
    return text;
  }
}
