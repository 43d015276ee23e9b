/**
 * Whom we believe, and what: AllowList holds addresses and networks of proxies; Forwarded looks at the fields of a request for
 * those by which a proxy says that its client came by https, and for names with underscores (gunicorn's
 * forwarded_allow_ips, secure_scheme_headers, forwarder_headers and header_map).
 *
 * A usual request costs nothing here: its parser knows from the lengths of names, and from whether there is an underscore in the
 * head at all, that there is nothing to look at (`watch`). What an untrusted peer sends changes nothing: its fields stay
 * what they are, and mean nothing.
 */
import { BlockList, isIPv4, isIPv6 } from 'node:net';

/** Addresses, networks (10.0.0.0/8), and * for all. What is none of these is refused when settings are read. */
export class AllowList {
  /** Apart: one list would take ::/0 for all of IPv4 as well. */
  private readonly four = new BlockList();
  private readonly six = new BlockList();
  private readonly everybody: boolean;

  constructor(entries: readonly string[]) {
    this.everybody = entries.includes('*');
    for (const entry of entries) {
      if (entry === '*') continue;
      const [address, bits] = entry.split('/');
      const [list, family] = isIPv4(address) ? ([this.four, 'ipv4'] as const) : ([this.six, 'ipv6'] as const);
      if (bits === undefined) list.addAddress(address, family);
      else list.addSubnet(address, Number(bits), family);
    }
  }

  /** The peer of a connection, as getpeername() names it; null: not known. Unix sockets are always trusted, as in gunicorn. */
  has(peer: { readonly family: string; readonly address: string } | null): boolean {
    if (this.everybody) return true;
    if (peer === null) return false;
    if (peer.family === 'unix') return true;
    // An IPv4 client of a socket that listens for both.
    const address = peer.address.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '');
    if (isIPv4(address)) return this.four.check(address, 'ipv4');
    return isIPv6(address) && this.six.check(address, 'ipv6');
  }
}

/** What becomes of field names with underscores. */
export type HeaderMap = 'drop' | 'refuse' | 'dangerous';

export interface ForwardedSettings {
  /** Name in capitals -> the value that says https. */
  readonly secureSchemeHeaders: Readonly<Record<string, string>>;
  /** Names with underscores, in capitals, that a trusted peer may send; * for all. */
  readonly forwarderHeaders: readonly string[];
  readonly headerMap: HeaderMap;
}

/** By what a parser knows that a request has to be looked at. */
export interface Watch {
  /** Lengths of names. */
  readonly lengths: readonly number[];
  /** Names that have an underscore. */
  readonly underscores: boolean;
}

export class Forwarded {
  readonly watch: Watch;
  /** Of the request that was looked at last: it came by https; its fields without those that were dropped. */
  secure = false;
  fields: string[] = [];
  dropped = false;
  private readonly schemes: ReadonlyMap<string, string>;
  private readonly forwarders: ReadonlySet<string>;
  private readonly map: HeaderMap;

  constructor(settings: ForwardedSettings) {
    this.schemes = new Map(Object.entries(settings.secureSchemeHeaders));
    this.forwarders = new Set(settings.forwarderHeaders);
    this.map = settings.headerMap;
    const lengths = [...new Set([...this.schemes.keys()].map((name) => name.length))];
    this.watch = { lengths, underscores: this.map !== 'dangerous' };
  }

  /**
   * Looks at fields (name, value, name, value ...). who.trusted is asked only if it matters. Returns why the request is refused
   * (400), '' = it is not.
   */
  look(fields: string[], who: { readonly trusted: boolean }): string {
    this.secure = this.dropped = false;
    this.fields = fields;
    const { lengths } = this.watch;
    let said = '';
    let kept: string[] | null = null;
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i];
      const underscore = this.map !== 'dangerous' && name.includes('_');
      if (underscore || lengths.includes(name.length)) {
        const capitals = name.toUpperCase();
        const secure = this.schemes.get(capitals);
        if (secure !== undefined && who.trusted) {
          const scheme = fields[i + 1] === secure ? 'https' : 'http';
          if (said !== '' && said !== scheme) return 'Contradictory scheme headers';
          said = scheme;
        }
        if (underscore && !(this.forwards(capitals) && who.trusted)) {
          if (this.map === 'refuse') return 'Header name with an underscore';
          kept ??= fields.slice(0, i);
          continue;
        }
      }
      kept?.push(name, fields[i + 1]);
    }
    this.secure = said === 'https';
    if (kept !== null) {
      this.fields = kept;
      this.dropped = true;
    }
    return '';
  }

  private forwards(capitals: string): boolean {
    return this.forwarders.has(capitals) || this.forwarders.has('*');
  }
}
