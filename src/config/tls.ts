/** The part of the table of settings that is about TLS and HTTP/2 (front/entry.ts). */
import { setting } from './setting.js';
import { InvalidValue, integer, type Kind, optionalPath, optionalText, show } from './validate.js';

const SSL = 'SSL';
const HTTP2 = 'HTTP/2';

export const PROTOCOLS = ['h1', 'h2'] as const;
export type Protocol = (typeof PROTOCOLS)[number];

/** Names of protocols, the preferred one first: a list, or one string with commas. */
function protocols(): Kind<Protocol[]> {
  return {
    meta: 'NAMES',
    unit: '',
    range: 'h1, h2, or both with a comma between them',
    parse(value) {
      const list = (Array.isArray(value) ? value : String(value).split(',')).map((name) => String(name).trim());
      const known = list.every((name): name is Protocol => (PROTOCOLS as readonly string[]).includes(name));
      if (known && list.length > 0 && new Set(list).size === list.length) return list as Protocol[];
      throw new InvalidValue(`${show(value)} is not one of h1, h2, or both`);
    },
  };
}

export const TLS_SETTINGS = [
  setting({
    name: 'certfile',
    key: 'certfile',
    flags: ['--certfile'],
    section: SSL,
    kind: optionalPath(),
    default: () => null,
    defaultText: 'none: HTTP in the clear',
    description:
      'Certificate of the server, PEM, with those between it and the root behind it. With it every address of --bind speaks TLS (1.2 and 1.3). The arbiter reads it, before it gives up its rights, and again at HUP.',
  }),
  setting({
    name: 'keyfile',
    key: 'keyfile',
    flags: ['--keyfile'],
    section: SSL,
    kind: optionalPath(),
    default: () => null,
    defaultText: 'the key is in --certfile',
    description: "The certificate's private key, PEM.",
  }),
  setting({
    name: 'cert_reqs',
    key: 'certReqs',
    flags: ['--cert-reqs'],
    section: SSL,
    kind: integer(0, 2),
    default: () => 0,
    description:
      'Certificates of clients: 0 none is asked for, 1 one may be given and must be good then, 2 one has to be given.',
  }),
  setting({
    name: 'ca_certs',
    key: 'caCerts',
    flags: ['--ca-certs'],
    section: SSL,
    kind: optionalPath(),
    default: () => null,
    defaultText: "Node's own list",
    description: 'Certificates, PEM, by which those of clients are checked.',
  }),
  setting({
    name: 'ciphers',
    key: 'ciphers',
    flags: ['--ciphers'],
    section: SSL,
    kind: optionalText('an OpenSSL cipher list'),
    default: () => null,
    defaultText: "Node's own list",
    description: 'Cipher suites, as OpenSSL writes them.',
  }),
  setting({
    name: 'http_protocols',
    key: 'httpProtocols',
    flags: ['--http-protocols'],
    section: HTTP2,
    kind: protocols(),
    default: () => ['h1'] as Protocol[],
    description:
      'Versions of HTTP that are spoken over TLS, the preferred one first: h1, h2. Without --certfile it is HTTP/1.1. A stream of HTTP/2 reaches the app as a request of HTTP/1.1.',
  }),
  setting({
    name: 'http2_max_concurrent_streams',
    key: 'http2MaxConcurrentStreams',
    flags: ['--http2-max-concurrent-streams'],
    section: HTTP2,
    kind: integer(1, 2 ** 31 - 1, 'streams'),
    default: () => 100,
    description: 'Streams that a client may have open at once in one connection.',
  }),
  setting({
    name: 'http2_initial_window_size',
    key: 'http2InitialWindowSize',
    flags: ['--http2-initial-window-size'],
    section: HTTP2,
    kind: integer(1, 2 ** 31 - 1, 'bytes'),
    default: () => 65_535,
    description: 'Bytes of a body that a client may send in one stream before it waits for us.',
  }),
  setting({
    name: 'http2_max_frame_size',
    key: 'http2MaxFrameSize',
    flags: ['--http2-max-frame-size'],
    section: HTTP2,
    kind: integer(16_384, 2 ** 24 - 1, 'bytes'),
    default: () => 16_384,
    description: 'Longest frame that we take.',
  }),
  setting({
    name: 'http2_max_header_list_size',
    key: 'http2MaxHeaderListSize',
    flags: ['--http2-max-header-list-size'],
    section: HTTP2,
    kind: integer(0, 2 ** 31 - 1, 'bytes'),
    default: () => 65_536,
    description:
      'Longest list of header fields, uncompressed, that we take; 0: as Node has it. --limit-request-fields and its like hold as well.',
  }),
];
