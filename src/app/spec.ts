/**
 * App specs, as typed on the command line: `MODULE`, `MODULE:EXPORT`, `MODULE:FACTORY(LITERALS)` or `MODULE:PORT`.
 *
 * MODULE is a file, a directory, a module name relative to the working directory, or a package. EXPORT is a dotted
 * path of names. FACTORY is such a path followed by a call whose arguments are literals, as in gunicorn's
 * `app:create('x', 1)`. PORT is that of the http.Server that is the app, where a program listens with several. The literals are read by the small parser below and never evaluated: a spec comes from
 * config files and environments, and is data.
 */
import { APP_LOAD_ERROR, TunicornError } from '../errors.js';

export interface AppSpec {
  /** The module part as given. */
  module: string;
  /** Dotted path of the wanted export; empty: whatever export is a handler. */
  path: string[];
  /** The port at which the program's own server listens that is the app; null: not said. */
  port: number | null;
  /** Arguments of the factory call; null: not a call. */
  args: Literal[] | null;
}

export type Literal = string | number | boolean | null;

const NAME = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u;
const PORT = /^\d{1,5}$/;
const NUMBER = /^[+-]?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)$/;
const ESCAPES: Record<string, string> = { n: '\n', r: '\r', t: '\t', b: '\b', f: '\f', v: '\v', '0': '\0' };

/** Splits a spec at its first colon. A file whose own name has a colon is the caller's to recognise, before. */
export function parseSpec(spec: string): AppSpec {
  const colon = spec.indexOf(':');
  const module = (colon === -1 ? spec : spec.slice(0, colon)).trim();
  if (module === '') throw specError(spec, 'it names no module');
  if (colon === -1) return { module, path: [], port: null, args: null };

  const expression = spec.slice(colon + 1).trim();
  if (expression === '') throw specError(spec, 'nothing follows the colon; write MODULE:EXPORT or MODULE alone');
  if (PORT.test(expression)) return { module, path: [], port: Number(expression), args: null };
  const paren = expression.indexOf('(');
  const path = (paren === -1 ? expression : expression.slice(0, paren)).split('.').map((name) => name.trim());
  for (const name of path) {
    if (!NAME.test(name)) throw specError(spec, `${JSON.stringify(name)} is not an export name`);
  }
  if (paren === -1) return { module, path, port: null, args: null };
  return { module, path, port: null, args: new ArgumentReader(spec, expression, paren + 1).read() };
}

/** Reads `literal, literal)` up to the end of the text. */
class ArgumentReader {
  private readonly spec: string;
  private readonly text: string;
  private at: number;

  constructor(spec: string, text: string, at: number) {
    this.spec = spec;
    this.text = text;
    this.at = at;
  }

  read(): Literal[] {
    const args: Literal[] = [];
    this.skipSpace();
    while (this.peek() !== ')') {
      args.push(this.literal());
      this.skipSpace();
      if (this.peek() === ',') {
        this.at++;
        this.skipSpace();
      } else if (this.peek() !== ')') {
        throw this.error('expected "," or ")"');
      }
    }
    this.at++;
    this.skipSpace();
    if (this.at !== this.text.length) throw this.error('text follows the call');
    return args;
  }

  private literal(): Literal {
    const first = this.peek();
    if (first === '"' || first === "'") return this.string(first);
    const rest = this.text.slice(this.at);
    const word = /^[+-]?[\p{ID_Continue}$.]+(?:(?<=[eE])[+-]\d+)?/u.exec(rest)?.[0];
    if (word === undefined) throw this.error(first === undefined ? 'the call is not closed' : `unexpected ${first}`);
    this.at += word.length;
    if (NUMBER.test(word)) return toNumber(word);
    if (word === 'true') return true;
    if (word === 'false') return false;
    if (word === 'null') return null;
    this.skipSpace();
    if (this.peek() === '=') {
      throw this.error(`JavaScript has no keyword arguments; pass the value of ${word} by position`);
    }
    throw this.error(`${word} is not a literal; strings, numbers, true, false and null are`);
  }

  private string(quote: string): string {
    let value = '';
    for (this.at++; ; this.at++) {
      const char = this.peek();
      if (char === undefined) throw this.error('a string is not closed');
      if (char === quote) break;
      if (char !== '\\') {
        value += char;
        continue;
      }
      this.at++;
      const escaped = this.peek();
      if (escaped === undefined) throw this.error('a string is not closed');
      if (escaped === 'u' || escaped === 'x') {
        const length = escaped === 'u' ? 4 : 2;
        const digits = this.text.slice(this.at + 1, this.at + 1 + length);
        if (!/^[0-9a-fA-F]+$/.test(digits) || digits.length !== length) throw this.error(`a bad \\${escaped} escape`);
        value += String.fromCharCode(Number.parseInt(digits, 16));
        this.at += length;
      } else {
        value += ESCAPES[escaped] ?? escaped;
      }
    }
    this.at++;
    return value;
  }

  private peek(): string | undefined {
    return this.text[this.at];
  }

  private skipSpace(): void {
    while (this.peek() === ' ' || this.peek() === '\t') this.at++;
  }

  private error(why: string): TunicornError {
    return specError(this.spec, `${why} (at character ${this.spec.length - this.text.length + this.at + 1})`);
  }
}

function toNumber(text: string): number {
  if (text[0] === '-') return -Number(text.slice(1));
  return Number(text[0] === '+' ? text.slice(1) : text);
}

function specError(spec: string, why: string): TunicornError {
  return new TunicornError('ERR_TUNICORN_APP_SPEC', `Bad app spec ${JSON.stringify(spec)}: ${why}.`, {
    exitCode: APP_LOAD_ERROR,
  });
}
