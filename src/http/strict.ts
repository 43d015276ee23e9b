/**
 * What llhttp lets through and RFC 9110/9112 do not: the forms of a request target, the Host, transfer codings, empty lines
 * before a request, and how much of a chunked body may be framing. Each check says what is wrong in words of our own, for
 * they go into answers and logs: never a byte of the client's.
 *
 * The usual request costs one look at each byte of its target and its Host.
 */

/** A character of a reg-name: RFC 3986, 3.2.2. */
const NAME = "(?:[\\w\\-.~!$&'()*+,;=]|%[0-9A-Fa-f]{2})";
const LITERAL = '\\[[0-9A-Fa-f:.]+\\]';
/** uri-host [ ":" port ]; the name may be empty (RFC 9112, 3.2: no authority). */
const HOST = new RegExp(`^(?:${LITERAL}|${NAME}*)(?::\\d*)?$`);
const AUTHORITY_FORM = new RegExp(`^(?:${LITERAL}|${NAME}+):\\d{1,5}$`);
/** No user information: RFC 9110, 4.2.4. */
const ABSOLUTE_FORM = new RegExp(`^https?://(?:${LITERAL}|${NAME}+)(?::\\d*)?(?:[/?][!"$-~]*)?$`, 'i');
const CODINGS = /^(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+[ \t]*,[ \t]*)+chunked$/i;

/** True for a Host field's value (without the white space around it) that names a host, or nothing. */
export function isHost(value: string): boolean {
  return HOST.test(value);
}

/**
 * A target in origin-form, of bytes, without a string: the usual request. "#" starts a fragment, which has no place in a request
 * (RFC 9112, 3.2). Controls, space, DEL and non-ASCII have none either.
 */
export function isOriginForm(memory: Buffer, at: number, end: number): boolean {
  if (memory[at] !== 47) return false;
  for (let i = at; i < end; i++) {
    const c = memory[i];
    if (c <= 32 || c >= 127 || c === 35) return false;
  }
  return true;
}

/** A target in another form that may be used with its method: RFC 9112, 3.2. */
export function isOtherForm(method: string, target: string): boolean {
  if (method === 'CONNECT') return AUTHORITY_FORM.test(target);
  if (target === '*') return method === 'OPTIONS';
  return ABSOLUTE_FORM.test(target);
}

/** The authority of a target in absolute-form: what a Host would be. */
export function authorityOf(target: string): string {
  return /^https?:\/\/([^/?]*)/i.exec(target)?.[1] ?? '';
}

/**
 * Status that answers the Transfer-Encoding of a request (field lines joined by ", "), 0 = it is chunked. 501 for codings that
 * we do not undo, 400 where the message cannot be framed (RFC 9112, 6.1 and 6.3).
 */
export function codingStatus(value: string): number {
  if (value.length === 7 && value.toLowerCase() === 'chunked') return 0;
  return CODINGS.test(value) && !/\bchunked\b.*,/i.test(value) ? 501 : 400;
}

/** False where a trailer would say how the message is framed, too late: RFC 9110, 6.5.1. */
export function areTrailers(trailers: readonly string[]): boolean {
  for (let i = 0; i < trailers.length; i += 2) {
    if (/^(?:content-length|transfer-encoding)$/i.test(trailers[i])) return false;
  }
  return true;
}

/** What the Connection fields of a request (joined by ",") say: RFC 9112, 9.3. */
export function keepsAlive(connection: string, versionMinor: number): boolean {
  if (connection === 'keep-alive') return true;
  const options = connection.toLowerCase().split(/[ \t]*,[ \t]*/);
  return !options.includes('close') && (versionMinor === 1 || options.includes('keep-alive'));
}

/** Empty lines that may come before a request: RFC 9112, 2.2 asks for one. */
const MAX_EMPTY_LINES = 2;

/** Bytes of empty lines at the beginning, -1 = too many, or a CR or LF of its own. `length`: no more may have come yet. */
export function emptyLines(memory: Buffer, at: number, length: number): number {
  for (let i = 0; ; i += 2) {
    if (i >= length) return length;
    if (memory[at + i] !== 13 && memory[at + i] !== 10) return i;
    if (memory[at + i] === 10 || i === 2 * MAX_EMPTY_LINES) return -1;
    if (i + 1 === length) return length;
    if (memory[at + i + 1] !== 10) return -1;
  }
}

/**
 * Status that answers bytes which begin with no method llhttp knows: 501 for a token and a space (RFC 9110, 9.1), otherwise 400;
 * 0 = not to be told yet.
 */
export function methodStatus(memory: Buffer, at: number, length: number): number {
  const text = memory.latin1Slice(at, at + Math.min(length, 33));
  const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]*/.exec(text)![0].length;
  // Longer than any that is known: RFC 9112, 3.
  if (token === text.length) return token > 32 ? 501 : 0;
  return token > 0 && text[token] === ' ' ? 501 : 400;
}

/** Most bytes between the data of two chunks: CRLF, size, extensions, CRLF. */
const MAX_CHUNK_LINE = 4096;
/** Most bytes of a message's chunk lines beyond those that plain sizes need. */
const MAX_FRAMING = 16 * 1024;
/** CRLF, a size of 16 digits, CRLF. */
const PLAIN_CHUNK_LINE = 20;

const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const QUOTED = '"(?:[\\t \\x21\\x23-\\x5b\\x5d-\\x7e\\x80-\\xff]|\\\\[\\t\\x20-\\x7e\\x80-\\xff])*"';
/** What stands between the data of two chunks, or before the first, or behind the last. llhttp takes nameless extensions. */
const CHUNK_LINE = new RegExp(`^(?:\\r\\n)?[0-9A-Fa-f]+(?:;${TOKEN}(?:=(?:${TOKEN}|${QUOTED}))?)*\\r\\n(?:\\r\\n)?$`);

/** The usual line, told without a string: [CRLF] a few hexadecimal digits CRLF, from `at` to `end`. */
function isPlainChunkLine(memory: Buffer, at: number, end: number): boolean {
  if (end - at > 12 || end - at < 3 || memory[end - 2] !== 13 || memory[end - 1] !== 10) return false;
  let i = memory[at] === 13 && memory[at + 1] === 10 ? at + 2 : at;
  if (i >= end - 2) return false;
  for (; i < end - 2; i++) {
    const c = memory[i];
    // "0" to "9", "A" to "F" and "a" to "f".
    if (!((c >= 48 && c <= 57) || ((c | 32) >= 97 && (c | 32) <= 102))) return false;
  }
  return true;
}

/** Looks at what of a chunked body is not data. Where the message is split makes no difference. */
export class ChunkMeter {
  /** The bytes since the last data. */
  private line = '';
  private framing = 0;
  private over = false;

  reset(): void {
    this.line = '';
    this.framing = 0;
    this.over = false;
  }

  /**
   * Bytes from `at` to `end` of memory were parsed; data: at, length, at, length ... trailerAt: where the first trailer begins,
   * 0 = not met; done: the message ends there. Returns what is wrong, '' = nothing.
   */
  look(memory: Buffer, at: number, end: number, data: readonly number[], trailerAt: number, done: boolean): string {
    if (this.over) return '';
    let cursor = at;
    for (let i = 0; i < data.length; i += 2) {
      if (this.line === '' && isPlainChunkLine(memory, cursor, data[i])) {
        cursor = data[i] + data[i + 1];
        continue;
      }
      if (data[i] > cursor) this.line += memory.latin1Slice(cursor, data[i]);
      cursor = data[i] + data[i + 1];
      // Empty: the data of a chunk go on from the last call.
      if (this.line === '') continue;
      const wrong = this.wrong(true);
      if (wrong !== '') return wrong;
      this.line = '';
    }
    this.over = trailerAt > 0 || done;
    const last = trailerAt > 0 ? trailerAt : end;
    if (last > cursor) this.line += memory.latin1Slice(cursor, last);
    return this.wrong(this.over);
  }

  private wrong(whole: boolean): string {
    if (whole) this.framing += Math.max(0, this.line.length - PLAIN_CHUNK_LINE);
    if (this.line.length > MAX_CHUNK_LINE || this.framing > MAX_FRAMING) return 'Chunk extensions too long';
    // Behind the end of its line no data need to have come to know that it is wrong.
    const ended = whole || (this.line.length > 2 && this.line.endsWith('\r\n'));
    return ended && !CHUNK_LINE.test(this.line) ? 'Invalid chunk line' : '';
  }
}
