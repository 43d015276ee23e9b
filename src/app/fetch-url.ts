/**
 * The URL of a request from its target and Host, as WHATWG URL would serialize it. Almost every target is already in
 * that form: three scans show it, and the parser is asked only about the others. Hosts are remembered.
 */

/** Path characters that the URL parser leaves alone, and those of a query. */
const PLAIN_TARGET = /^\/[\w\-.~!$&()*+,;=:@%/]*(?:\?[\w\-.~!$&()*+,;=:@%/?]*)?$/;
/** Everything that would move the parser from the host to another part of the URL. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: controls and space are among them
const NOT_IN_HOST = /[\x00-\x20/?#@\\]/;
const MAX_HOSTS = 128;
const plain = new Map<string, string | null>();
const secure = new Map<string, string | null>();

/** What is known of a request without its headers. */
export interface UrlSource {
  readonly scheme: string;
  readonly target: string;
  /** Read only where the Host does not serve: it may cost a system call. */
  readonly localAuthority: string;
}

/**
 * host: the Host header, if any. One that is no host, or is missing (HTTP/1.0), is replaced by the address that the
 * client connected to. An absolute-form target overrides the Host (RFC 9112, 3.2.2).
 */
export function requestUrl(source: UrlSource, host: string | null): string {
  const { scheme, target } = source;
  const first = target.charCodeAt(0);
  if (first !== 0x2f /* / */ && target !== '*') {
    const absolute = absoluteUrl(target);
    if (absolute !== null) return absolute;
  }
  const origin =
    (host === null ? null : originOf(scheme, host)) ??
    originOf(scheme, source.localAuthority) ??
    `${scheme}://localhost`;
  // `*` and the authority of CONNECT: a target URI without path (RFC 9110, 7.1).
  if (first !== 0x2f) return `${origin}/`;
  if (PLAIN_TARGET.test(target) && !target.includes('/.') && !target.includes('/%2')) return origin + target;
  try {
    return new URL(origin + target).href;
  } catch {
    return `${origin}/`;
  }
}

/** `scheme://host[:port]` in the parser's spelling; null if host is not one. */
function originOf(scheme: string, host: string): string | null {
  const origins = scheme === 'https' ? secure : plain;
  let origin = origins.get(host);
  if (origin === undefined) {
    origin = null;
    if (host !== '' && !NOT_IN_HOST.test(host)) {
      try {
        origin = `${scheme}://${new URL(`${scheme}://${host}/`).host}`;
      } catch {
        // Not a host: null.
      }
    }
    // The names are the clients': an attacker could invent them for ever.
    if (origins.size >= MAX_HOSTS) origins.clear();
    origins.set(host, origin);
  }
  return origin;
}

function absoluteUrl(target: string): string | null {
  if (!/^https?:\/\//i.test(target)) return null;
  try {
    const url = new URL(target);
    // The Request constructor refuses credentials.
    url.username = '';
    url.password = '';
    return url.href;
  } catch {
    return null;
  }
}
