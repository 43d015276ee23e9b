/**
 * The access log's format, in gunicorn's syntax: `%(h)s`, `%({referer}i)s`, `%%`. It is compiled once, to literals and functions
 * that take turns; a line then costs what its atoms cost, and the request's headers are looked through once for all of
 * them. Whoever finishes a request writes lines: threads, and a worker's main thread for those of a thread that it ended.
 */
import { type AccessFacts, type Atom, atomOf, COST_ATOMS, TIME_ATOMS } from './access-atoms.js';

export { type AccessFacts, fieldOf } from './access-atoms.js';

/** gunicorn's default: the Combined Log Format. */
export const DEFAULT_ACCESS_FORMAT = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"';

export interface AccessFormat {
  /** One line, without its end. Never throws. */
  line(facts: AccessFacts): string;
  /** Some atom shows how long the request took. */
  readonly needsTime: boolean;
  /** Some atom shows what the request cost: queueMs, cpuUs or loopUs. */
  readonly needsCost: boolean;
}

/** The names of a format's atoms, as between the parentheses. For a format that compiles. */
export function atomNames(format: string): string[] {
  const found = format.matchAll(new RegExp(PART.source, 'g'));
  return [...found].flatMap(([, name]) => (name === undefined ? [] : [name]));
}

/** What follows a percent sign: another one, or an atom with flags, width, precision and conversion as in Python. */
const PART = /%(?:%|\(([^()]*)\)([-0]*)(\d{0,3})(?:\.(\d{0,4})(?=s))?([sdi]))/y;

/**
 * Compiles a format.
 * @throws {SyntaxError} naming the place: a percent sign that begins neither %% nor %(atom)s.
 */
export function compileAccessFormat(format: string): AccessFormat {
  const headers = new HeaderValues();
  const literals = [''];
  const atoms: Atom[] = [];
  let needed = '';
  for (let at = 0; at < format.length; ) {
    const percent = format.indexOf('%', at);
    literals[atoms.length] += format.slice(at, percent < 0 ? undefined : percent);
    if (percent < 0) break;
    PART.lastIndex = percent;
    const part = PART.exec(format);
    if (part === null) throw broken(format, percent);
    at = PART.lastIndex;
    const [, name, flags, width, most, conversion] = part;
    if (name === undefined) {
      literals[atoms.length] += '%';
      continue;
    }
    let atom = atomOf(name, headers);
    if (most !== undefined) atom = changed(atom, (text) => cut(text, Number(most)));
    if (width !== '') atom = changed(atom, padding(Number(width), flags, conversion));
    if (typeof atom === 'string') literals[atoms.length] += atom;
    else literals[atoms.push(atom)] = '';
    if (name.length === 1) needed += name;
  }
  const shows = (letters: string) => [...letters].some((letter) => needed.includes(letter));
  return {
    line(facts) {
      const values = headers.of(facts.rawHeaders);
      let text = literals[0];
      for (let i = 0; i < atoms.length; i++) text += atoms[i](facts, values) + literals[i + 1];
      return text;
    },
    needsTime: shows(TIME_ATOMS),
    needsCost: shows(COST_ATOMS),
  };
}

function broken(format: string, at: number): SyntaxError {
  const what = JSON.stringify(format.slice(at, at + 12));
  return new SyntaxError(
    `${what} at character ${at + 1} is no atom: atoms are written as %(h)s or %({referer}i)s, a percent sign as %%`,
  );
}

function changed(atom: Atom | string, change: (text: string) => string): Atom | string {
  return typeof atom === 'string' ? change(atom) : (facts, values) => change(atom(facts, values));
}

/** As Python pads: to the right with -, numbers with zeros where asked. */
function padding(width: number, flags: string, conversion: string): (text: string) => string {
  const fill = flags.includes('0') && conversion !== 's' ? '0' : ' ';
  return (text) => (flags.includes('-') ? text.padEnd(width) : text.padStart(width, fill));
}

/** One character, or what stands for one: an escape of escaped(), a pair of surrogates. */
const CHARACTER = /\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|.)|[\ud800-\udbff][\udc00-\udfff]|[\s\S]/g;

/** The beginning of a text, at most so long. No escape is halved: a backslash at the end would take the quote behind it along. */
function cut(text: string, most: number): string {
  if (text.length <= most) return text;
  let end = 0;
  for (const { 0: piece, index } of text.matchAll(CHARACTER)) {
    if (index + piece.length > most) break;
    end = index + piece.length;
  }
  return text.slice(0, end);
}

/** The values of the request headers that a format shows; where one comes several times, the last. */
export class HeaderValues {
  private readonly names: string[] = [];
  /** Indexes of names by their length: most headers are passed over without looking at them. */
  private readonly byLength: (number[] | undefined)[] = [];
  private readonly values: (string | undefined)[] = [];

  want(name: string): number {
    const known = this.names.indexOf(name);
    if (known >= 0) return known;
    const index = this.names.push(name) - 1;
    const same = this.byLength[name.length];
    if (same === undefined) this.byLength[name.length] = [index];
    else same.push(index);
    this.values.push(undefined);
    return index;
  }

  /** Valid until the next call. */
  of(rawHeaders: readonly string[]): readonly (string | undefined)[] {
    const { names, byLength, values } = this;
    if (names.length === 0) return values;
    values.fill(undefined);
    for (let i = 0; i < rawHeaders.length; i += 2) {
      const same = byLength[rawHeaders[i].length];
      if (same === undefined) continue;
      const name = rawHeaders[i].toLowerCase();
      for (const index of same) if (names[index] === name) values[index] = rawHeaders[i + 1];
    }
    return values;
  }
}
