/** PROXY headers as proxies write them, for tests. Strings have a character for each byte. */
import { isIPv4 } from 'node:net';

export interface Told {
  address: string;
  port: number;
  proxyAddress: string;
  proxyPort: number;
}

/** Groups of an IPv6 address that is written in full. */
function bytesOf(address: string): string {
  const bytes = isIPv4(address)
    ? address.split('.').map(Number)
    : address.split(':').flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255]);
  return String.fromCharCode(...bytes);
}

export function two(n: number): string {
  return String.fromCharCode(n >> 8, n & 255);
}

/** Version 1. */
export function textHeader({ address, port, proxyAddress, proxyPort }: Told): string {
  return `PROXY ${isIPv4(address) ? 'TCP4' : 'TCP6'} ${address} ${proxyAddress} ${port} ${proxyPort}\r\n`;
}

/** Version 2 with any command, family and transport, and block. */
export function binaryHeader(command: number, kind: number, block: string, length = block.length): string {
  return `\r\n\r\n\0\r\nQUIT\n${String.fromCharCode(command, kind)}${two(length)}${block}`;
}

/** Version 2 for a client, IPv6 addresses in full; `more`: TLVs. */
export function binaryFor({ address, port, proxyAddress, proxyPort }: Told, more = ''): string {
  const block = bytesOf(address) + bytesOf(proxyAddress) + two(port) + two(proxyPort) + more;
  return binaryHeader(0x21, isIPv4(address) ? 0x11 : 0x21, block);
}

/** A TLV. */
export function tlv(type: number, value: string): string {
  return String.fromCharCode(type) + two(value.length) + value;
}
