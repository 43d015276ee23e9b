/**
 * The part of the table of settings that is about proxies in front: which ones are trusted, and what they may say. docs/trust.md
 * explains them together.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { setting } from './setting.js';
import { choice, InvalidValue, type Kind, show } from './validate.js';

const MECHANICS = 'Server mechanics';
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** The entries of a list, or of a string with commas, where empty ones are left out. */
function words(value: unknown): unknown[] {
  const list = (Array.isArray(value) ? value : [value]).flatMap((v) => (typeof v === 'string' ? v.split(',') : [v]));
  return list.filter((word) => word !== '');
}

/** Sixteen or four bytes of an address that is known to be one. */
function bytesOf(address: string): number[] {
  if (isIPv4(address)) return address.split('.').map(Number);
  const [left, right] = address.split('::').map((half) => (half === '' ? [] : half.split(':')));
  const zeros = right === undefined ? [] : Array<string>(8 - left.length - right.length).fill('0');
  return [...left, ...zeros, ...(right ?? [])].flatMap((group) => {
    const n = Number.parseInt(group, 16);
    return [n >> 8, n & 255];
  });
}

/** Addresses, networks and *, as a list or one string with commas. */
export function networks(): Kind<string[]> {
  const parse = (value: unknown): string => {
    const text = typeof value === 'string' ? value.trim() : '';
    if (text === '*') return text;
    const [, address, bits] = /^([0-9A-Fa-f:.]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
    if (address === undefined || !(isIPv4(address) || isIPv6(address))) {
      throw new InvalidValue(`${show(value)} is not an address, a network such as 10.0.0.0/8, or *`);
    }
    // Peers of a socket for both are compared as what they are.
    if (/:.*\./.test(address)) throw new InvalidValue(`${show(value)}: write IPv4 addresses as such`);
    if (bits === undefined) return text;
    const bytes = bytesOf(address);
    if (Number(bits) > bytes.length * 8) {
      throw new InvalidValue(`${show(value)}: a network of this family has 0 to ${bytes.length * 8} bits`);
    }
    // A slip more often than not, as in 192.168.1.1/24: gunicorn refuses it too.
    const host = bytes.some((byte, i) => (byte & (0xff >> Math.min(8, Math.max(0, Number(bits) - 8 * i)))) !== 0);
    if (host) throw new InvalidValue(`${show(value)}: the address has bits set behind the first ${bits}`);
    return text;
  };
  return {
    meta: 'STRING',
    unit: '',
    range: 'addresses and networks with commas between them, or *',
    parse: (value) => words(value).map(parse),
  };
}

/** Names of header fields, in capitals; * stands for all. */
function fieldNames(): Kind<string[]> {
  return {
    meta: 'STRING',
    unit: '',
    range: 'header names with commas between them, or *',
    parse: (value) =>
      words(value).map((word) => {
        const name = typeof word === 'string' ? word.trim() : '';
        if (TOKEN.test(name)) return name.toUpperCase();
        throw new InvalidValue(`${show(word)} is not a header name`);
      }),
  };
}

/** Header names, in capitals, and for each the value that says https. */
function schemeHeaders(): Kind<Record<string, string>> {
  return {
    meta: 'OBJECT',
    unit: '',
    range: 'an object of header names and values',
    parse(value) {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) {
        throw new InvalidValue(`${show(value)} is not an object such as { 'X-FORWARDED-PROTO': 'https' }`);
      }
      const found = Object.entries(value).map(([name, secure]) => {
        if (!TOKEN.test(name)) throw new InvalidValue(`${show(name)} is not a header name`);
        if (typeof secure === 'string' && secure !== '') return [name.toUpperCase(), secure] as const;
        throw new InvalidValue(`${show(secure)} is not a value of the header ${name}`);
      });
      return Object.fromEntries(found);
    },
  };
}

const MODES = ['off', 'v1', 'v2', 'auto'] as const;

function proxyMode(): Kind<(typeof MODES)[number]> {
  const kind = choice('PROXY protocol', MODES, true);
  // As gunicorn, where it was a flag once.
  const older = new Map([
    ['true', 'auto'],
    ['1', 'auto'],
    ['false', 'off'],
    ['0', 'off'],
    ['none', 'off'],
    ['null', 'off'],
  ]);
  const word = (value: unknown) => (typeof value === 'object' && value !== null ? '' : String(value).toLowerCase());
  return { ...kind, meta: 'MODE', parse: (value) => kind.parse(older.get(word(value)) ?? value) };
}

const LOCALHOST = ['127.0.0.1', '::1'];

export const TRUST_SETTINGS = [
  setting({
    name: 'forwarded_allow_ips',
    key: 'forwardedAllowIps',
    flags: ['--forwarded-allow-ips'],
    section: MECHANICS,
    kind: networks(),
    default: () => LOCALHOST,
    env: { variable: 'FORWARDED_ALLOW_IPS', value: (text) => text, empty: true },
    description:
      'Proxies that may say by the headers of secure_scheme_headers that their client came by https. *: everybody. Unix sockets are always trusted.',
  }),
  setting({
    name: 'secure_scheme_headers',
    key: 'secureSchemeHeaders',
    flags: [],
    section: MECHANICS,
    kind: schemeHeaders(),
    default: () => ({ 'X-FORWARDED-PROTOCOL': 'ssl', 'X-FORWARDED-PROTO': 'https', 'X-FORWARDED-SSL': 'on' }),
    description:
      'Headers, and for each the exact value, by which a proxy of --forwarded-allow-ips says https; another value says http, and contradictory ones get 400. Then req.socket.encrypted is true and the URL of a Request begins with https.',
  }),
  setting({
    name: 'forwarder_headers',
    key: 'forwarderHeaders',
    flags: ['--forwarder-headers'],
    section: MECHANICS,
    kind: fieldNames(),
    default: () => ['SCRIPT_NAME', 'PATH_INFO'],
    description:
      'Headers with an underscore that pass whatever --header-map says, if a proxy of --forwarded-allow-ips sends them. *: all.',
  }),
  setting({
    name: 'header_map',
    key: 'headerMap',
    flags: ['--header-map'],
    section: MECHANICS,
    kind: choice('header map', ['drop', 'refuse', 'dangerous'], true),
    default: () => 'drop' as const,
    description:
      'Headers with an underscore in their name, which others take for the same name with a hyphen (CGI, PHP, WSGI, many proxies): drop takes them out, refuse answers 400, dangerous lets them pass.',
  }),
  setting({
    name: 'proxy_protocol',
    key: 'proxyProtocol',
    flags: ['--proxy-protocol'],
    section: MECHANICS,
    kind: proxyMode(),
    bare: 'auto',
    default: () => 'off' as const,
    description:
      "Connections may begin with a header of HAProxy's PROXY protocol, of version 1, 2, or either (auto, also --proxy-protocol alone, where no word follows it), from proxies of --proxy-allow-from; others get 403. It names the client: req.socket.remoteAddress, the access log.",
  }),
  setting({
    name: 'proxy_allow_ips',
    key: 'proxyAllowIps',
    flags: ['--proxy-allow-from'],
    section: MECHANICS,
    kind: networks(),
    default: () => LOCALHOST,
    description: 'Proxies that may send PROXY headers. *: everybody. Unix sockets are always trusted.',
  }),
] as const;
