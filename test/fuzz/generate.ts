/**
 * The generator: from a seed, what one client sends on one connection. Requests are built as lines with their ends and a body,
 * and mutated as such (lines doubled, dropped, altered, replaced by known bad ones; line ends, white space, controls, chunk
 * sizes), then now and then as bytes. About a third stays valid, so that every refusal stands beside requests that work.
 */
import type { Random } from '../support/random.js';

export interface Case {
  /** One character for each byte. */
  text: string;
  /** Where it is cut into writes. */
  cuts: number[];
}

interface Draft {
  lines: Array<{ text: string; end: string }>;
  body: string;
}

const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n';

const REQUEST_LINES = [
  'GET  / HTTP/1.1',
  'GET /  HTTP/1.1',
  'GET / HTTP/1.1 ',
  ' GET / HTTP/1.1',
  'GET\t/ HTTP/1.1',
  'GET /',
  'GET',
  'GET / HTTP/2.0',
  'GET / HTTP/1.2',
  'GET / HTTP/0.9',
  'GET / HTTP/1.10',
  'GET / HTTP/01.1',
  'GET / http/1.1',
  'GET / HTTP/1',
  'GET / HTTP',
  'GET / HTTPS/1.1',
  'GET / ICE/1.0',
  'OPTIONS / RTSP/1.0',
  'get / HTTP/1.1',
  'GETX / HTTP/1.1',
  'FOO / HTTP/1.1',
  'PRI * HTTP/2.0',
  'PRI / HTTP/1.1',
  'G\x00T / HTTP/1.1',
  'GET /a b HTTP/1.1',
  'GET /a\x00b HTTP/1.1',
  'GET /a\x7fb HTTP/1.1',
  'GET /a\xe9b HTTP/1.1',
  'GET /a\tb HTTP/1.1',
  'GET /a#b HTTP/1.1',
  'GET # HTTP/1.1',
  'GET * HTTP/1.1',
  'OPTIONS * HTTP/1.1',
  'OPTIONS *x HTTP/1.1',
  'GET x HTTP/1.1',
  'GET x:80 HTTP/1.1',
  'CONNECT x:80 HTTP/1.1',
  'CONNECT / HTTP/1.1',
  'CONNECT x HTTP/1.1',
  'CONNECT http://x/ HTTP/1.1',
  'GET http://x/ HTTP/1.1',
  'GET http://x HTTP/1.1',
  'GET HTTP://X?y HTTP/1.1',
  'GET https://[::1]:443/a?b HTTP/1.1',
  'GET http:///a HTTP/1.1',
  'GET http://u:p@x/ HTTP/1.1',
  'GET http://x/#y HTTP/1.1',
  'GET ftp://x/ HTTP/1.1',
  'GET //x/y HTTP/1.1',
  'GET ?x HTTP/1.1',
];

const LINES = [
  'Content-Length: 5',
  'Content-Length: 0',
  'Content-Length: 36',
  'Content-Length: +5',
  'Content-Length: -5',
  'Content-Length: 0x5',
  'Content-Length: 5, 5',
  'Content-Length: 5,',
  'Content-Length: 5 5',
  'Content-Length: ',
  'Content-Length: 5.0',
  'Content-Length: 1e1',
  'Content-Length:\t5\t',
  'Content-Length: 0005',
  'Content-Length: 18446744073709551615',
  'Content-Length: 18446744073709551616',
  'Content-Length: 99999999999999999999999',
  'content-length: 5',
  'Content-Length : 5',
  'Content_Length: 5',
  'Content-Length\x00: 5',
  'Content-Length: \x005',
  'Content-Length: 5\x0b',
  'Transfer-Encoding: chunked',
  'transfer-encoding: CHUNKED',
  'Transfer-Encoding: chunked, chunked',
  'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding: chunked, gzip',
  'Transfer-Encoding: identity',
  'Transfer-Encoding: xchunked',
  'Transfer-Encoding: chunkedx',
  'Transfer-Encoding: chunked;q=1',
  'Transfer-Encoding: "chunked"',
  'Transfer-Encoding: chunked,',
  'Transfer-Encoding: ,chunked',
  'Transfer-Encoding: \x0bchunked',
  'Transfer-Encoding:\tchunked ',
  'Transfer-Encoding: chun ked',
  'Transfer-Encoding:',
  'Transfer-Encoding : chunked',
  'Transfer-Encoding\t: chunked',
  ' Transfer-Encoding: chunked',
  'Transfer-Encoding',
  'Transfer\xadEncoding: chunked',
  'TE: trailers',
  'Trailer: X-T',
  'Connection: close',
  'Connection: keep-alive',
  'Connection: keep-alive, close',
  'Connection: close, keep-alive',
  'Connection: closed',
  'Connection: x-close',
  'Connection: ,close,',
  'Connection: upgrade',
  'Connection: \x01close',
  'Proxy-Connection: keep-alive',
  'Upgrade: x',
  'Expect: 100-continue',
  'Expect: 100-Continue',
  'Expect: 100-continue, x',
  'Expect: x',
  'Expect:',
  'Host: x',
  'Host: y:80',
  'Host:',
  'Host: x y',
  'Host: x/y',
  'Host: u@x',
  'Host: x:y',
  'Host: [::1]:80',
  'Host: [::1',
  'Host: x,y',
  'Host: a\x00b',
  'Host: \xe9',
  'host:x',
  'X: a\x00b',
  'X: a\x01b',
  'X: a\x7fb',
  'X: a\x80\xff',
  'X: a\rb',
  'X: a\nb',
  'X:\r\n y',
  'X: y\r\n z',
  'X: y\r\n\tz',
  'X:',
  ':x',
  ': x',
  'X y: z',
  'X(: z',
  'X',
  '',
  '\x16\x03\x01',
];

const SIZES = [
  '5',
  '05',
  '0000000000000000000000000005',
  '5 ',
  ' 5',
  '+5',
  '-5',
  '0x5',
  '5;',
  '5;a',
  '5;a=b',
  '5;a="b;\\"c"',
  '5 ;a',
  '5; a',
  '5;a =b',
  '5;a="b',
  '5;a=\x00',
  '5;a=\x80',
  '5;\x00',
  '5;;a',
  '5;a=b;c;d="e"',
  '5;a\n',
  '5\n',
  '5\r',
  '5\r\r',
  '5,5',
  'g',
  '',
  '4',
  '6',
  'ffffffffffffffff',
  '10000000000000000',
  'fffffffffffffffff',
  '0',
  '00',
];

const CHARS = ['\x00', '\x01', '\t', '\n', '\x0b', '\r', '\x1b', ' ', '"', '#', ',', ':', ';', '\x7f', '\x80', '\xff'];
const ENDS = ['\n', '\r', '\r\r\n', '\n\r', '', ' \r\n', '\r\n\r\n', '\r\n '];
const BODIES = ['', 'hello', SMUGGLED, '0\r\n\r\n', 'x'.repeat(300), '\r\n\r\n', '\x00\xff', `0\r\n\r\n${SMUGGLED}`];

/** What one client sends. */
export function generate(random: Random): Case {
  let text = '';
  const count = random.chance(0.5) ? 1 : random.int(2, 4);
  for (let i = 0; i < count; i++) text += written(request(random, i));
  if (random.chance(0.06)) text = bytes(random, text);
  if (random.chance(0.04)) text = text.slice(0, random.int(0, text.length));
  if (random.chance(0.04))
    text += random.pick([SMUGGLED, '\r\n', '\r\n\r\n', '\x16\x03\x01\x02\x00', 'x', '0\r\n\r\n', '\n']);
  const cuts = random.chance(0.6)
    ? []
    : Array.from({ length: random.int(1, 4) }, () => random.int(0, text.length)).sort((a, b) => a - b);
  return { text, cuts };
}

function written(draft: Draft): string {
  return draft.lines.map(({ text, end }) => text + end).join('') + draft.body;
}

function request(random: Random, index: number): Draft {
  const draft = valid(random, index);
  if (random.chance(0.4)) return draft;
  for (let n = random.pick([1, 1, 1, 2, 3]); n > 0; n--) mutate(random, draft);
  return draft;
}

function valid(random: Random, index: number): Draft {
  const method = random.pick(['GET', 'GET', 'POST', 'POST', 'PUT', 'HEAD', 'OPTIONS', 'DELETE', 'PATCH']);
  const minor = random.chance(0.12) ? 0 : 1;
  const texts = [`${method} /r${index}?a=${random.int(0, 99)} HTTP/1.${minor}`, 'Host: localhost'];
  if (minor === 0 && random.chance(0.5)) texts.push('Connection: keep-alive');
  for (let n = random.int(0, 3); n > 0; n--)
    texts.push(`X-${random.int(0, 9)}: ${random.pick(['', 'v', 'a b', 'é', '"q"'])}`);
  let body = '';
  if (method !== 'GET' && method !== 'HEAD' && method !== 'OPTIONS') {
    const content = random.pick(BODIES);
    if (minor === 1 && random.chance(0.5)) {
      texts.push('Transfer-Encoding: chunked');
      body = chunked(random, content);
    } else {
      texts.push(`Content-Length: ${content.length}`);
      body = content;
    }
    if (random.chance(0.1)) texts.push('Expect: 100-continue');
  }
  const [first, ...rest] = texts;
  for (let i = rest.length - 1; i > 0; i--) {
    const j = random.int(0, i);
    [rest[i], rest[j]] = [rest[j], rest[i]];
  }
  return { lines: [first, ...rest, ''].map((text) => ({ text, end: '\r\n' })), body };
}

function chunked(random: Random, content: string): string {
  let text = '';
  let at = 0;
  while (at < content.length) {
    const size = random.int(1, content.length - at);
    const extension = random.chance(0.2) ? random.pick([';a', ';a=b', ';a="b c"', `;a=${'b'.repeat(50)}`]) : '';
    text += `${random.chance(0.2) ? '0' : ''}${size.toString(16)}${extension}\r\n${content.slice(at, at + size)}\r\n`;
    at += size;
  }
  const trailers = random.chance(0.25) ? random.pick(['X-T: t\r\n', 'X-T:\r\n', 'X-T: a\r\nY-T: b\r\n']) : '';
  return `${text}0\r\n${trailers}\r\n`;
}

/** Alters one thing of a request. */
function mutate(random: Random, draft: Draft): void {
  const { lines } = draft;
  const at = random.int(0, lines.length - 1);
  const line = lines[at];
  switch (random.int(0, 14)) {
    case 0:
      lines[0].text = random.pick(REQUEST_LINES);
      break;
    case 1:
    case 2:
    case 3:
      lines.splice(random.int(1, lines.length - 1), 0, { text: random.pick(LINES), end: '\r\n' });
      break;
    case 4:
      lines.splice(at, 0, { ...line });
      break;
    case 5:
      lines.splice(at, 1);
      if (lines.length === 0) lines.push({ text: '', end: '\r\n' });
      break;
    case 6:
      line.end = random.pick(ENDS);
      break;
    case 7:
      line.text = insert(random, line.text, random.pick(CHARS));
      break;
    case 8:
      line.text = line.text.replace(':', random.pick([' :', '\t:', ':\t', ':  ', '']));
      break;
    case 9:
      line.text = random.chance(0.5)
        ? line.text.replace(/[a-z]/g, (c) => c.toUpperCase())
        : line.text.replace(/[A-Z]/g, (c) => c.toLowerCase());
      break;
    case 10:
      line.text = line.text.replace(/(?<=: ).*$/, () => random.pick(LINES).replace(/^[^:]*: ?/, ''));
      break;
    case 11:
      if (/^[0-9a-f]+(?=[;\r])/m.test(draft.body)) {
        draft.body = draft.body.replace(/(?<=^|\r\n)[0-9a-f]+[^\r]*(?=\r\n)/, () => random.pick(SIZES));
      } else draft.body = random.pick(BODIES);
      break;
    case 12:
      draft.body = bytes(random, draft.body);
      break;
    case 13:
      draft.lines.unshift({ text: random.pick(['', '', '', ' ', '\t', '\n', '\r', '\x00']), end: '\r\n' });
      break;
    default:
      oversize(random, draft, line);
  }
}

function oversize(random: Random, draft: Draft, line: { text: string }): void {
  switch (random.int(0, 3)) {
    case 0:
      line.text += 'o'.repeat(random.pick([100, 3900, 4200, 9000]));
      break;
    case 1:
      for (let n = random.pick([90, 120]); n > 0; n--) draft.lines.splice(1, 0, { text: 'X: y', end: '\r\n' });
      break;
    default: {
      const extension = `;${'e'.repeat(random.pick([10, 3000, 5000]))}`;
      draft.body = draft.body.replaceAll(/(?<=^|\r\n)([0-9a-f]+)(?=\r\n)/g, `$1${extension}`);
    }
  }
}

function insert(random: Random, text: string, what: string): string {
  const at = random.int(0, text.length);
  return text.slice(0, at) + what + text.slice(at);
}

/** Alters bytes wherever they stand. */
function bytes(random: Random, text: string): string {
  const at = random.int(0, Math.max(0, text.length - 1));
  switch (random.int(0, 4)) {
    case 0:
      return insert(random, text, random.pick(CHARS));
    case 1:
      return text.slice(0, at) + text.slice(at + 1);
    case 2:
      return text.slice(0, at) + String.fromCharCode(random.int(0, 255)) + text.slice(at + 1);
    case 3:
      return text.slice(0, at) + text.slice(random.int(at, text.length));
    default:
      return insert(random, text, text.slice(at, at + random.int(1, 40)));
  }
}
