/**
 * A parser of HTTP/1.1 responses that trusts nothing: what is not framed exactly as RFC 9112 says is an error, and so is
 * a byte that belongs to no response. One for each connection.
 */

export interface Response {
  status: number;
  /** Names in lower case; a field that comes twice is an error. */
  headers: Map<string, string>;
  body: Buffer;
  /** The server closes after this one. */
  close: boolean;
}

const STATUS_LINE = /^HTTP\/1\.1 ([1-5]\d\d) [\t\x20-\x7e]*$/;
const FIELD = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*$/;
const MAX_HEAD = 16 * 1024;

export class ResponseParser {
  private data: Buffer = Buffer.alloc(0);
  private current: Response | null = null;
  private left = 0;
  private framing: 'none' | 'length' | 'chunked' | 'eof' = 'none';
  private inChunk = false;
  private parts: Buffer[] = [];
  private readonly bodyless: () => boolean;
  private readonly expected: () => boolean;

  /**
   * bodyless: whether the response that comes next answers HEAD.
   * expected: whether a response may come at all.
   */
  constructor(expected: () => boolean, bodyless: () => boolean = () => false) {
    this.expected = expected;
    this.bodyless = bodyless;
  }

  /** Bytes of an unfinished response have come. */
  get partial(): boolean {
    return this.current !== null || this.data.length > 0;
  }

  /** Takes bytes; calls back for each response that is whole. @throws {Error} on anything that is not right. */
  push(chunk: Buffer, done: (response: Response) => void): void {
    this.data = this.data.length === 0 ? chunk : Buffer.concat([this.data, chunk]);
    for (;;) {
      if (this.current === null && !this.head()) return;
      const response = this.body();
      if (response === null) return;
      done(response);
    }
  }

  /** The server has closed its side. Returns the response that this ends, if one was to end so. */
  eof(): Response | null {
    if (this.framing !== 'eof' || this.current === null) return null;
    return this.finish();
  }

  private head(): boolean {
    if (this.data.length === 0) return false;
    if (!this.expected()) throw new Error(`bytes that answer no request: ${show(this.data)}`);
    const end = this.data.indexOf('\r\n\r\n');
    if (end < 0) {
      if (this.data.length > MAX_HEAD)
        throw new Error(`no end of the head in ${this.data.length} bytes: ${show(this.data)}`);
      if (!'HTTP/1.1 '.startsWith(this.data.toString('latin1', 0, Math.min(9, this.data.length)))) {
        throw new Error(`no status line: ${show(this.data)}`);
      }
      return false;
    }
    const lines = this.data.toString('latin1', 0, end).split('\r\n');
    this.data = this.data.subarray(end + 4);
    const status = STATUS_LINE.exec(lines[0]);
    if (!status) throw new Error(`no status line: ${show(Buffer.from(lines[0], 'latin1'))}`);
    const headers = new Map<string, string>();
    for (const line of lines.slice(1)) {
      const field = FIELD.exec(line);
      if (!field) throw new Error(`no header field: ${show(Buffer.from(line, 'latin1'))}`);
      const name = field[1].toLowerCase();
      if (headers.has(name) && name !== 'set-cookie') throw new Error(`header ${name} twice`);
      headers.set(name, field[2]);
    }
    const code = Number(status[1]);
    this.current = { status: code, headers, body: Buffer.alloc(0), close: headers.get('connection') === 'close' };
    this.parts = [];
    this.frame(code, headers);
    return true;
  }

  private frame(code: number, headers: Map<string, string>): void {
    const length = headers.get('content-length');
    const coding = headers.get('transfer-encoding');
    if (length !== undefined && coding !== undefined) throw new Error('Content-Length and Transfer-Encoding');
    if (code < 200 || code === 204 || code === 304 || this.bodyless()) this.framing = 'none';
    else if (coding !== undefined) {
      if (coding !== 'chunked') throw new Error(`Transfer-Encoding: ${coding}`);
      this.framing = 'chunked';
      this.left = 0;
      this.inChunk = false;
    } else if (length !== undefined) {
      if (!/^\d+$/.test(length)) throw new Error(`Content-Length: ${length}`);
      this.framing = 'length';
      this.left = Number(length);
    } else if (this.current!.close) this.framing = 'eof';
    else throw new Error('a response without framing on a connection that is kept');
  }

  private body(): Response | null {
    switch (this.framing) {
      case 'none':
        return this.finish();
      case 'length':
        this.take();
        return this.left === 0 ? this.finish() : null;
      case 'eof':
        if (this.data.length > 0) this.parts.push(this.data);
        this.data = Buffer.alloc(0);
        return null;
      case 'chunked':
        return this.chunks();
    }
  }

  private take(): void {
    const n = Math.min(this.left, this.data.length);
    if (n > 0) this.parts.push(this.data.subarray(0, n));
    this.data = this.data.subarray(n);
    this.left -= n;
  }

  private chunks(): Response | null {
    for (;;) {
      if (this.inChunk) {
        this.take();
        if (this.left > 0 || this.data.length < 2) return null;
        if (this.data[0] !== 13 || this.data[1] !== 10) throw new Error(`no CRLF after a chunk: ${show(this.data)}`);
        this.data = this.data.subarray(2);
        this.inChunk = false;
      }
      const end = this.data.indexOf('\r\n');
      if (end < 0) {
        if (this.data.length > 20) throw new Error(`no chunk size: ${show(this.data)}`);
        return null;
      }
      const size = this.data.toString('latin1', 0, end);
      if (!/^[0-9a-fA-F]{1,8}$/.test(size)) throw new Error(`no chunk size: ${show(this.data)}`);
      if (Number.parseInt(size, 16) === 0) {
        if (this.data.length < end + 4) return null;
        if (this.data[end + 2] !== 13 || this.data[end + 3] !== 10)
          throw new Error('trailers where none were announced');
        this.data = this.data.subarray(end + 4);
        return this.finish();
      }
      this.left = Number.parseInt(size, 16);
      this.data = this.data.subarray(end + 2);
      this.inChunk = true;
    }
  }

  private finish(): Response {
    const response = this.current!;
    this.current = null;
    this.framing = 'none';
    response.body = this.parts.length === 1 ? this.parts[0] : Buffer.concat(this.parts);
    this.parts = [];
    return response;
  }
}

/** The beginning of some bytes, for messages. */
export function show(data: Buffer): string {
  return JSON.stringify(data.toString('latin1', 0, 120)) + (data.length > 120 ? `... (${data.length} bytes)` : '');
}
