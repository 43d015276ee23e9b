/**
 * The PROXY protocol, versions 1 (a line of text) and 2 (binary): by whom a connection was really made, told by a proxy in front
 * of its first byte. Read from the beginning in one piece, as request heads are: an incomplete header changes nothing, and
 * where it is split makes no difference. Whether its sender may be believed is not decided here (trust.ts).
 *
 * Stricter than gunicorn: version 1 has its 107 bytes at most, ports without leading zeros, addresses of its family. More
 * complete: UNKNOWN, LOCAL, unix sockets and TLVs are taken and say nothing; gunicorn refuses the first and the third.
 */
import { isIPv4, isIPv6, SocketAddress } from 'node:net';

/** Which versions are looked for. */
export type ProxyMode = 'off' | 'v1' | 'v2' | 'auto';

/** What a header tells: the client, and where the client had connected to. */
export interface ProxyAddresses {
  /** Numeric, as Node writes them. */
  readonly address: string;
  readonly port: number;
  readonly proxyAddress: string;
  readonly proxyPort: number;
}

/**
 * What stands at the beginning of a connection. none: no header. maybe: too little to know. more: a header, not whole yet. bad:
 * a header that is wrong. whole: `length` bytes of header; addresses null: it tells nothing, the connection's own hold.
 */
export type ProxyHeader =
  | { kind: 'none' }
  | { kind: 'maybe' }
  | { kind: 'more' }
  | { kind: 'bad'; reason: string }
  | { kind: 'whole'; length: number; addresses: ProxyAddresses | null };

const TEXT_START = Buffer.from('PROXY ');
/** Longest line of version 1, CRLF counted in. */
const TEXT_MOST = 107;
const TEXT_LINE = /^PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})$/;

const BINARY_START = Buffer.from('\r\n\r\n\0\r\nQUIT\n');
/** Signature, version and command, family and transport, length. */
const BINARY_HEAD = 16;
/** Longest header of version 2: its format has room for 64 KiB, what proxies send stays far below this. */
const BINARY_MOST = 8192;
const LOCAL = 0x20;
const PROXY = 0x21;

const NONE: ProxyHeader = { kind: 'none' };
const MAYBE: ProxyHeader = { kind: 'maybe' };
const MORE: ProxyHeader = { kind: 'more' };

/** Reads what `length` bytes at `at` begin with. Costs a comparison where that is a request. */
export function readProxyHeader(mode: ProxyMode, bytes: Buffer, at: number, length: number): ProxyHeader {
  if (mode === 'auto' || mode === 'v1') {
    const same = common(bytes, at, length, TEXT_START);
    if (same === TEXT_START.length) return readText(bytes, at, length);
    if (same === length) return MAYBE;
  }
  if (mode === 'auto' || mode === 'v2') {
    const same = common(bytes, at, length, BINARY_START);
    if (same === BINARY_START.length) return readBinary(bytes, at, length);
    if (same === length) return MAYBE;
  }
  return NONE;
}

/** How many of the first bytes are those of `start`. */
function common(bytes: Buffer, at: number, length: number, start: Buffer): number {
  const most = Math.min(length, start.length);
  let same = 0;
  while (same < most && bytes[at + same] === start[same]) same++;
  return same;
}

function bad(reason: string): ProxyHeader {
  return { kind: 'bad', reason: `Invalid PROXY header: ${reason}` };
}

function readText(bytes: Buffer, at: number, length: number): ProxyHeader {
  const text = bytes.latin1Slice(at, at + Math.min(length, TEXT_MOST));
  const end = text.indexOf('\r\n');
  if (end < 0) return text.length < TEXT_MOST ? MORE : bad('the line is too long');
  const line = text.slice(0, end);
  const whole = end + 2;
  // Whatever follows the word is to be ignored.
  if (/^PROXY UNKNOWN(?: |$)/.test(line)) return { kind: 'whole', length: whole, addresses: null };
  const [, family, source, destination, sourcePort, destinationPort] = TEXT_LINE.exec(line) ?? [];
  if (family === undefined) return bad('malformed line');
  const is = family === 'TCP4' ? isIPv4 : isIPv6;
  if (!is(source) || !is(destination)) return bad('no address of its family');
  const [port, proxyPort] = [Number(sourcePort), Number(destinationPort)];
  if (port > 65535 || proxyPort > 65535) return bad('no port');
  const addresses = { address: plain(source), port, proxyAddress: plain(destination), proxyPort };
  return { kind: 'whole', length: whole, addresses };
}

function readBinary(bytes: Buffer, at: number, length: number): ProxyHeader {
  if (length < BINARY_HEAD) return MORE;
  const command = bytes[at + 12];
  if (command >> 4 !== 2) return bad('unknown version');
  if (command !== LOCAL && command !== PROXY) return bad('unknown command');
  const rest = bytes.readUInt16BE(at + 14);
  const whole = BINARY_HEAD + rest;
  if (whole > BINARY_MOST) return bad('too long');
  const from = at + BINARY_HEAD;
  const nothing: ProxyHeader = { kind: 'whole', length: whole, addresses: null };
  // A health check of the proxy's own, say: whatever else it has is to be ignored.
  if (command === LOCAL) return length < whole ? MORE : nothing;
  const [family, transport] = [bytes[at + 13] >> 4, bytes[at + 13] & 15];
  if (family > 3 || transport > 1) return bad('no stream connection');
  const block = [0, 12, 36, 216][family];
  if (rest < block) return bad('its addresses are cut off');
  if (length < whole) return MORE;
  // Unspecified, or a unix socket, which has no address to speak of.
  if (transport === 0 || family === 0 || family === 3) return nothing;
  const [show, size] = family === 1 ? ([fourOf, 4] as const) : ([sixOf, 16] as const);
  const addresses = {
    address: show(bytes, from),
    port: bytes.readUInt16BE(from + 2 * size),
    proxyAddress: show(bytes, from + size),
    proxyPort: bytes.readUInt16BE(from + 2 * size + 2),
  };
  return { kind: 'whole', length: whole, addresses };
}

function fourOf(bytes: Buffer, at: number): string {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}

function sixOf(bytes: Buffer, at: number): string {
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(at + 2 * i).toString(16));
  return plain(groups.join(':'));
}

/** An address as the kernel would write it: shortest, in lower case. */
function plain(address: string): string {
  return isIPv4(address) ? address : new SocketAddress({ address, family: 'ipv6' }).address;
}
