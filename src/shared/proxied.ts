/**
 * Proxied: what PROXY headers have told of connections (--proxy-protocol), or what the front knows of them (--certfile: main
 * records it before any thread has the connection). A header is read once, before the first request, by
 * whichever thread meets it; the addresses are kept in shared memory by fd, because the next request may be another
 * thread's, and main shows them in its own access lines. That it was read is a fact of the connection (PREFACED).
 *
 * The words of an fd are written by the connection's owner before the fact is set, and read only where it is.
 */
import type { Config } from '../config/settings.js';
import { native } from '../native/binding.js';
import { type ProxyAddresses, type ProxyHeader, type ProxyMode, readProxyHeader } from '../proxy-protocol.js';
import { AllowList } from '../trust.js';
import { PROXIED_BYTES, type Shared } from './memory.js';
import { type ConnTable, HAS_HEAD, PREFACED, SERVED_ONE } from './tconn.js';

/** An entry: two lengths, two ports, two addresses as text. */
const LENGTHS = 0;
const PORTS = 2;
const FIRST = 6;
const SECOND = 6 + (PROXIED_BYTES - 6) / 2;

export class Proxied {
  private readonly mode: ProxyMode;
  private readonly allowed: AllowList;
  private readonly table: ConnTable;
  private readonly entries: Buffer;

  private constructor(mode: ProxyMode, allowed: AllowList, table: ConnTable, memory: SharedArrayBuffer) {
    this.mode = mode;
    this.allowed = allowed;
    this.table = table;
    this.entries = Buffer.from(memory);
  }

  /** Null where there is nothing to know. */
  static open(config: Config, shared: Shared, table: ConnTable): Proxied | null {
    const { proxied } = shared.memory;
    if (proxied === null) return null;
    return new Proxied(config.proxyProtocol, new AllowList(config.proxyAllowIps), table, proxied);
  }

  /** Nobody has looked yet whether the connection begins with a header. */
  isUnread(facts: number): boolean {
    return (facts & (PREFACED | SERVED_ONE)) === 0;
  }

  /** What a connection begins with: `length` bytes at `at`. */
  read(bytes: Buffer, at: number, length: number): ProxyHeader {
    return readProxyHeader(this.mode, bytes, at, length);
  }

  /** The connection's peer may send a header; null: it has left, and nobody knows any more who it was. */
  allows(fd: number): boolean | null {
    const peer = native.getPeerName(fd);
    return typeof peer === 'number' ? null : this.allowed.has(peer);
  }

  /** The beginning was looked at: what it told, null = nothing. Owner only. */
  record(fd: number, addresses: ProxyAddresses | null): void {
    const { entries } = this;
    const at = fd * PROXIED_BYTES;
    entries[at + LENGTHS] = 0;
    if (addresses !== null) {
      entries[at + LENGTHS] = entries.write(addresses.address, at + FIRST, 'latin1');
      entries[at + LENGTHS + 1] = entries.write(addresses.proxyAddress, at + SECOND, 'latin1');
      entries.writeUInt16LE(addresses.port, at + PORTS);
      entries.writeUInt16LE(addresses.proxyPort, at + PORTS + 2);
    }
    this.table.setFacts(fd, this.table.facts(fd) | PREFACED);
  }

  /** What was told of the connection; null: nothing, or nobody has looked yet. */
  of(fd: number): ProxyAddresses | null {
    const { entries } = this;
    const at = fd * PROXIED_BYTES;
    if ((this.table.facts(fd) & PREFACED) === 0 || entries[at + LENGTHS] === 0) return null;
    return {
      address: this.text(at + FIRST, entries[at + LENGTHS]),
      port: entries.readUInt16LE(at + PORTS),
      proxyAddress: this.text(at + SECOND, entries[at + LENGTHS + 1]),
      proxyPort: entries.readUInt16LE(at + PORTS + 2),
    };
  }

  private text(at: number, length: number): string {
    return this.entries.latin1Slice(at, at + length);
  }

  /**
   * For main, which looks at the first bytes of what waits and leaves them where they are: the bytes behind a header (none where
   * that is not whole, wrong or not allowed: a thread will say so), and whom it names.
   */
  peel(fd: number, head: Buffer): { rest: Buffer; addresses: ProxyAddresses | null } {
    const facts = this.table.facts(fd);
    if ((facts & HAS_HEAD) !== 0 || !this.isUnread(facts)) return { rest: head, addresses: this.of(fd) };
    const header = this.read(head, 0, head.length);
    if (header.kind === 'none') return { rest: head, addresses: null };
    if (header.kind !== 'whole' || !this.allows(fd)) return { rest: head.subarray(0, 0), addresses: null };
    return { rest: head.subarray(header.length), addresses: header.addresses };
  }
}
