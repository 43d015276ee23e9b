/** A client of HTTP/2 that writes frames by hand: what Node's own would never send. Fields go without compression. */
import { connect, type TLSSocket } from 'node:tls';
import { until } from './poll.js';

export type Fields = ReadonlyArray<readonly [name: string, value: string]>;

export interface Frame {
  type: number;
  flags: number;
  stream: number;
  payload: Buffer;
}

export const DATA = 0;
export const HEADERS = 1;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PING = 6;
export const GOAWAY = 7;
export const WINDOW_UPDATE = 8;
export const CONTINUATION = 9;
export const END_STREAM = 1;
export const END_HEADERS = 4;
export const ACK = 1;

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
/** Of SETTINGS. Without a table every head that comes can be read by itself. */
const HEADER_TABLE_SIZE = 1;
const INITIAL_WINDOW_SIZE = 4;
/** Statuses of HPACK's static table (RFC 7541, A), by their index. */
const STATUSES: Record<number, number> = { 8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500 };
/** Digits in HPACK's Huffman code (RFC 7541, B). */
const DIGITS = ['00000', '00001', '00010', '011001', '011010', '011011', '011100', '011101', '011110', '011111'];

export function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** RFC 7541, 5.1, of 7 bits. */
function integer(n: number): Buffer {
  if (n < 127) return Buffer.from([n]);
  const bytes = [127];
  for (n -= 127; n >= 128; n >>>= 7) bytes.push((n & 127) | 128);
  return Buffer.from([...bytes, n]);
}

/** Literal fields that are not indexed: RFC 7541, 6.2.2. */
export function block(fields: Fields): Buffer {
  const text = (value: string) => [integer(value.length), Buffer.from(value, 'latin1')];
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), ...text(name), ...text(value)]));
}

export function headers(stream: number, fields: Fields, flags = END_STREAM | END_HEADERS): Buffer {
  return frame(HEADERS, flags, stream, block(fields));
}

/** A request's head: pseudo fields as given, or the usual ones. */
export function request(changed: Record<string, string | null> = {}, more: Fields = []): Fields {
  const pseudo = { ':method': 'GET', ':scheme': 'https', ':authority': 'x', ':path': '/', ...changed };
  return [...Object.entries(pseudo).filter((field): field is [string, string] => field[1] !== null), ...more];
}

export function reset(stream: number, code = 8): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(code);
  return frame(RST_STREAM, 0, stream, payload);
}

export class H2Client {
  readonly socket: TLSSocket;
  readonly frames: Frame[] = [];
  closed = false;
  private rest = Buffer.alloc(0);

  private constructor(socket: TLSSocket) {
    this.socket = socket;
    socket.on('error', () => {});
    socket.on('close', () => (this.closed = true));
    socket.on('data', (data) => this.take(data));
  }

  /** window: bytes that each stream may send to us. */
  static connect(port: number, window = 65_535): Promise<H2Client> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] });
      socket.once('error', reject);
      socket.once('secureConnect', () => {
        socket.off('error', reject);
        const client = new H2Client(socket);
        const settings = Buffer.alloc(12);
        settings.writeUInt16BE(HEADER_TABLE_SIZE);
        settings.writeUInt16BE(INITIAL_WINDOW_SIZE, 6);
        settings.writeUInt32BE(window, 8);
        client.write(Buffer.from(PREFACE), frame(SETTINGS, 0, 0, settings));
        resolve(client);
      });
    });
  }

  /** In one packet. */
  write(...parts: Buffer[]): void {
    this.socket.write(Buffer.concat(parts));
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** Frames of a stream. */
  of(stream: number): Frame[] {
    return this.frames.filter((frame) => frame.stream === stream);
  }

  /** Waits for the end of a stream: its last status, its body, and the code by which it was reset. */
  async answer(stream: number): Promise<{ status: number; body: string; reset: number | null }> {
    const ended = ({ type, flags }: Frame) => type === RST_STREAM || (type <= HEADERS && (flags & END_STREAM) !== 0);
    await until(() => this.of(stream).some(ended) || this.closed, { what: `the end of stream ${stream}`, everyMs: 2 });
    const frames = this.of(stream);
    const heads = frames.filter(({ type }) => type === HEADERS).map(({ payload }) => statusOf(payload));
    const data = frames.filter(({ type }) => type === DATA).map(({ payload }) => payload);
    const last = frames.find(({ type }) => type === RST_STREAM);
    return {
      status: heads.findLast((status) => status > 0) ?? 0,
      body: Buffer.concat(data).toString('latin1'),
      reset: last === undefined ? null : last.payload.readUInt32BE(),
    };
  }

  private take(data: Buffer): void {
    this.rest = Buffer.concat([this.rest, data]);
    for (;;) {
      const { rest } = this;
      const end = rest.length < 9 ? Number.POSITIVE_INFINITY : 9 + rest.readUIntBE(0, 3);
      if (rest.length < end) return;
      const frame_ = { type: rest[3], flags: rest[4], stream: rest.readUInt32BE(5), payload: rest.subarray(9, end) };
      this.rest = rest.subarray(end);
      this.frames.push(frame_);
      if (frame_.type === SETTINGS && (frame_.flags & ACK) === 0) this.write(frame(SETTINGS, ACK, 0));
    }
  }
}

/** The status of a response's head, which comes first in it; 0: there is none. */
function statusOf(payload: Buffer): number {
  let at = 0;
  // Updates of the table's size.
  while ((payload[at] & 0xe0) === 0x20) at++;
  const first = payload[at];
  if ((first & 0x80) !== 0) return STATUSES[first & 0x7f] ?? 0;
  // A value for the name in the table: with or without a place of its own in it.
  if (![0x48, 0x08, 0x18].includes(first)) return 0;
  const length = payload[at + 1] & 0x7f;
  const text = payload.subarray(at + 2, at + 2 + length);
  if ((payload[at + 1] & 0x80) === 0) return Number(text.toString());
  let bits = Array.from(text, (byte) => byte.toString(2).padStart(8, '0')).join('');
  let digits = '';
  while (digits.length < 3) {
    const digit = DIGITS.findIndex((code) => bits.startsWith(code));
    digits += digit;
    bits = bits.slice(DIGITS[digit].length);
  }
  return Number(digits);
}
