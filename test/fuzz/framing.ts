/**
 * A reading of RFC 9110 and 9112 that shares nothing with the server's parser: small, slow, on whole strings, section by
 * section. For the bytes that a client sends on one connection it says which requests they are, and what comes behind the
 * last one: nothing, an unfinished request, or something that has to be refused, with the statuses that may say so.
 *
 * Where the RFC leaves a choice to the server, CHOICES has ours.
 */
import { METHODS } from 'node:http';

export interface Message {
  method: string;
  target: string;
  minor: number;
  /** Field lines: name, value, name, value ... */
  fields: string[];
  /** One character for each byte. */
  body: string;
  trailers: string[];
  /** The connection ends behind it. */
  last: boolean;
}

export interface Reading {
  messages: Message[];
  /** clean: nothing follows. last: what follows is not read, for the connection ends. */
  end: 'clean' | 'last' | 'incomplete' | 'refused';
  /** Where it is refused: statuses that are right. */
  statuses: Set<number>;
  why: string;
  /** What is refused asks for no body. */
  head: boolean;
}

/** What RFC 9110 and 9112 let a server decide. */
export const CHOICES = {
  /** Empty lines before a request that are skipped (9112, 2.2: at least one). */
  emptyLines: 2,
  /** Bytes, as --limit-request-line and so on. */
  line: 4094,
  fields: 100,
  fieldSize: 8190,
  /** Bytes from one chunk's data to the next one's, and beyond 20 of each of them in all (9112, 7.1.1: to be limited). */
  chunkLine: 4096,
  chunkLines: 16 * 1024,
  // Besides: no tab behind a Content-Length or Transfer-Encoding, which llhttp refuses; a bare LF ends no line (2.2), folded lines are refused (5.2), no white space in chunk lines (7.1.1), equal
  // Content-Lengths are refused like different ones (6.3), codings other than chunked are not known (6.1).
};

const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const QUOTED = '"(?:[\\t \\x21\\x23-\\x5b\\x5d-\\x7e\\x80-\\xff]|\\\\[\\t \\x21-\\x7e\\x80-\\xff])*"';
const REQUEST_LINE = new RegExp(`^(${TOKEN}) ([!-~]+) HTTP/([0-9])\\.([0-9])$`);
const FIELD_LINE = new RegExp(`^(${TOKEN}):[ \\t]*([\\t\\x20-\\x7e\\x80-\\xff]*)$`);
const CHUNK_LINE = new RegExp(`^([0-9A-Fa-f]+)((?:;${TOKEN}(?:=(?:${TOKEN}|${QUOTED}))?)*)$`);
const REG_NAME = "(?:[A-Za-z0-9\\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})";
const IP_LITERAL = '\\[[0-9A-Fa-f:.]+\\]';
const HOST = new RegExp(`^(?:${IP_LITERAL}|${REG_NAME}*)(?::[0-9]*)?$`);
const ABSOLUTE = new RegExp(`^https?://(?:${IP_LITERAL}|${REG_NAME}+)(?::[0-9]*)?(?:[/?][!"$-~]*)?$`, 'i');
const LARGEST = 2n ** 64n - 1n;
const KNOWN = new Set([...METHODS, 'QUERY']);

/** Thrown where bytes must be refused, and where they end too early. */
class Refused extends Error {
  readonly statuses: number[];
  constructor(why: string, ...statuses: number[]) {
    super(why);
    this.statuses = statuses;
  }
}
class Incomplete extends Error {}

/** The bytes of one connection, read from the front. */
class Input {
  at = 0;
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }

  get done(): boolean {
    return this.at >= this.text.length;
  }

  /** 9112, 2.2: a line ends with CRLF, and neither CR nor LF stands anywhere else. */
  line(): string {
    const lf = this.text.indexOf('\n', this.at);
    const cr = this.text.indexOf('\r', this.at);
    if (cr >= 0 && cr + 1 < this.text.length && this.text[cr + 1] !== '\n' && (lf < 0 || cr < lf)) {
      throw new Refused('bare CR', 400);
    }
    if (lf < 0) throw new Incomplete();
    if (this.text[lf - 1] !== '\r' || lf === this.at) throw new Refused('bare LF', 400);
    const line = this.text.slice(this.at, lf - 1);
    this.at = lf + 1;
    return line;
  }

  take(length: bigint): string {
    if (BigInt(this.text.length - this.at) < length) throw new Incomplete();
    const taken = this.text.slice(this.at, this.at + Number(length));
    this.at += Number(length);
    return taken;
  }
}

/** Reads what a client sends on one connection. keepAlive: the server serves more than one request on it. */
export function readRequests(text: string, keepAlive = true): Reading {
  const input = new Input(text);
  const messages: Message[] = [];
  const stop = (end: Reading['end'], why = '', statuses: number[] = []) => ({
    messages,
    end,
    why,
    statuses: new Set(statuses),
    head: text.startsWith('HEAD ', begin),
  });
  let begin = 0;
  try {
    for (;;) {
      for (let i = 0; i < CHOICES.emptyLines && text.startsWith('\r\n', input.at); i++) input.at += 2;
      begin = input.at;
      if (input.done) return stop('clean');
      const message = readMessage(input);
      messages.push(message);
      if (message.last || !keepAlive) return stop('last');
    }
  } catch (error) {
    if (error instanceof Refused) return stop('refused', error.message, error.statuses);
    if (error instanceof Incomplete) return stop('incomplete');
    throw error;
  }
}

function readMessage(input: Input): Message {
  // What is wrong with a head; a server may name any of it.
  const faults: Array<[string, number]> = [];
  let line: string;
  const lines: string[] = [];
  try {
    while ((line = input.line()) !== '' || lines.length === 0) lines.push(line);
  } catch (error) {
    // Whatever is wrong with the lines before may be said first.
    if (error instanceof Refused) throw new Refused(error.message, 400, 414, 431, 501, 505);
    throw error;
  }
  const [method, target, major, minor] = requestLine(lines[0], faults);
  const fields = fieldLines(lines.slice(1), faults);
  const all = (name: string) => valuesOf(fields, name);
  const old = minor === 0;

  // 9112, 3.2.
  const hosts = all('host');
  if (hosts.length > 1) faults.push(['two Hosts', 400]);
  if (hosts.length === 0 && !old) faults.push(['no Host', 400]);
  if (hosts.some((host) => !HOST.test(host))) faults.push(['not a Host', 400]);
  if (!targetFits(method, target)) faults.push(['not a target of this method', 400]);

  // 9112, 3.2.2: an absolute target stands above it.
  const authority = /^https?:\/\/([^/?]*)/i.exec(target)?.[1];
  if (authority !== undefined) {
    for (let i = 0; i < fields.length; i += 2) if (fields[i].toLowerCase() === 'host') fields[i + 1] = authority;
  }

  // 9112, 6.1 to 6.3.
  const lengths = all('content-length');
  const codings = all('transfer-encoding');
  if (codings.length > 0) {
    const list = codings
      .join(',')
      .toLowerCase()
      .split(',')
      .map((s) => s.trim());
    if (old) faults.push(['Transfer-Encoding in HTTP/1.0', 400]);
    if (lengths.length > 0) faults.push(['Content-Length and Transfer-Encoding', 400]);
    if (list.length !== 1 || list[0] !== 'chunked') faults.push(['codings', 400], ['codings', 501]);
  }
  if (lengths.length > 1) faults.push(['two Content-Lengths', 400]);
  if (lengths.some((length) => !/^[0-9]+$/.test(length))) faults.push(['not a Content-Length', 400]);
  else if (lengths.some((length) => BigInt(length) > LARGEST)) faults.push(['Content-Length too large', 400]);
  if (faults.length > 0 || major !== 1) {
    if (major !== 1 || minor > 1) faults.push(['version', 505]);
    throw new Refused(faults.map(([why]) => why).join(', '), ...faults.map(([, status]) => status));
  }

  // Refused for other reasons than framing; what is wrong with its body may be said instead.
  if (method === 'CONNECT') throw new Refused('CONNECT', 405, 417, 400, 431);
  const expect = all('expect').filter((value) => value !== '' && value.toLowerCase() !== '100-continue');
  if (!old && expect.length > 0) throw new Refused('unknown Expect', 417, 400, 431);

  // 9112, 9.3.
  const options = all('connection')
    .join(',')
    .toLowerCase()
    .split(',')
    .map((s) => s.trim());
  const last = options.includes('close') || (old && !options.includes('keep-alive'));
  const message: Message = { method, target, minor, fields, body: '', trailers: [], last };
  if (codings.length > 0) readChunks(input, message);
  else if (lengths.length > 0) message.body = input.take(BigInt(lengths[0]));
  return message;
}

function requestLine(line: string, faults: Array<[string, number]>): [string, string, number, number] {
  if (line.length > CHOICES.line) faults.push(['request line too long', 414]);
  const parts = REQUEST_LINE.exec(line);
  const method = new RegExp(`^(${TOKEN}) `).exec(line)?.[1];
  // 9110, 9.1: not implemented. 9113, 11.6: PRI is nobody's method.
  if (method !== undefined && !KNOWN.has(method) && method !== 'PRI') faults.push(['unknown method', 501]);
  // 9112, 3: longer than any that is known.
  if (new RegExp(`^(?:${TOKEN.slice(0, -1)}){33}`).test(line)) faults.push(['method too long', 501]);
  if (method === 'PRI') faults.push(['preface of HTTP/2', 400]);
  if (parts === null) {
    faults.push(['not a request line', 400]);
    // A version of two digits that is none of ours, wherever it stands.
    if (/HTTP\/(?!1\.[01])[0-9]\.[0-9]/.test(line)) faults.push(['version', 505]);
    return ['', '', 1, 1];
  }
  if (parts[3] !== '1' || parts[4] > '1') faults.push(['version', 505]);
  return [parts[1], parts[2], Number(parts[3]), Number(parts[4])];
}

function fieldLines(lines: string[], faults: Array<[string, number]>): string[] {
  const fields: string[] = [];
  if (lines.length > CHOICES.fields) faults.push(['too many fields', 431]);
  for (const line of lines) {
    const field = FIELD_LINE.exec(line);
    if (field === null) faults.push(['not a field line', 400]);
    else fields.push(field[1], field[2].replace(/[ \t]+$/, ''));
    if (/^(?:content-length|transfer-encoding):.*\t[ \t]*$/i.test(line)) faults.push(['tab', 400]);
    if (line.length > CHOICES.fieldSize) faults.push(['field too long', 431]);
  }
  return fields;
}

function valuesOf(fields: string[], name: string): string[] {
  return fields.filter((_value, i) => i % 2 === 1 && fields[i - 1].toLowerCase() === name);
}

/** 9112, 3.2.1 to 3.2.4. */
function targetFits(method: string, target: string): boolean {
  if (method === 'CONNECT') return /^[^/?#@]+:[0-9]+$/.test(target) && HOST.test(target);
  if (target === '*') return method === 'OPTIONS';
  return /^\/[^#]*$/.test(target) || ABSOLUTE.test(target);
}

/** 9112, 7.1. */
function readChunks(input: Input, message: Message): void {
  let before = input.at;
  let lines = 0;
  for (;;) {
    let line: string;
    try {
      line = input.line();
    } catch (error) {
      if (error instanceof Incomplete && input.text.length - before > CHOICES.chunkLine) {
        throw new Refused('endless chunk line', 400);
      }
      throw error;
    }
    const chunk = CHUNK_LINE.exec(line);
    const bytes = input.at - before;
    lines += Math.max(0, bytes - 20);
    if (chunk === null) throw new Refused('not a chunk line', 400);
    if (bytes > CHOICES.chunkLine || lines > CHOICES.chunkLines) throw new Refused('chunk lines too long', 400);
    const size = BigInt(`0x${chunk[1]}`);
    if (size > LARGEST) throw new Refused('chunk too large', 400);
    if (size === 0n) break;
    message.body += input.take(size);
    before = input.at;
    if (input.take(BigInt(Math.min(2, input.text.length - input.at))) !== '\r\n') {
      if (input.done && '\r\n'.startsWith(input.text.slice(before))) throw new Incomplete();
      throw new Refused('chunk without its end', 400);
    }
  }
  const faults: Array<[string, number]> = [];
  const trailers: string[] = [];
  for (let line = input.line(); line !== ''; line = input.line()) trailers.push(line);
  message.trailers = fieldLines(trailers, faults);
  // 9110, 6.5.1: no trailer may say how the message is framed.
  for (const name of ['content-length', 'transfer-encoding']) {
    if (valuesOf(message.trailers, name).length > 0) faults.push([`${name} as a trailer`, 400]);
  }
  if (faults.length > 0) throw new Refused(`trailers: ${faults[0][0]}`, ...faults.map(([, status]) => status));
}
