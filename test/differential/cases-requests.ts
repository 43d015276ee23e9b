/** Cases about what a handler sees of a request: heads in all forms, trailers, the socket. */
import { type Case, request, type Step } from './corpus.js';

const HEADS: Record<string, string> = {
  'no fields': '',
  'one field': 'X-A: 1\r\n',
  'names in any case': 'x-A: 1\r\nACCEPT: */*\r\n',
  'a field twice': 'X-A: 1\r\nX-A: 2\r\n',
  'a field twice, in two cases': 'X-A: 1\r\nx-a: 2\r\n',
  'a field three times': 'Accept: a\r\nAccept: b\r\nAccept: c\r\n',
  cookies: 'Cookie: a=1\r\nCookie: b=2\r\n',
  'set-cookie once': 'Set-Cookie: a=1\r\n',
  'set-cookie': 'Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n',
  ...Object.fromEntries(
    [
      ...[
        'Age',
        'Authorization',
        'Content-Type',
        'ETag',
        'Expires',
        'From',
        'If-Modified-Since',
        'If-Unmodified-Since',
      ],
      ...[
        'Last-Modified',
        'Location',
        'Max-Forwards',
        'Proxy-Authorization',
        'Referer',
        'Retry-After',
        'Server',
        'User-Agent',
      ],
      ...[
        'Date',
        'Cache-Control',
        'Via',
        'X-Forwarded-For',
        'If-None-Match',
        'Origin',
        'Access-Control-Request-Method',
      ],
      ...[
        'Accept-Encoding',
        'Accept-Language',
        'Forwarded',
        'DNT',
        'Range',
        'TE',
        'Sec-WebSocket-Protocol',
        'Pragma',
        'Link',
      ],
    ].map((name) => [`${name} twice`, `${name}: one\r\n${name}: two\r\n`]),
  ),
  'empty value': 'X-A:\r\nX-B: \r\n',
  'empty value twice': 'X-A:\r\nX-A:\r\n',
  'white space around': 'X-A:   a b\t \r\nX-B:c\r\n',
  'latin1 value': 'X-A: gr\xfc\xdfe\r\n',
  'utf8 value': 'X-A: \xe2\x82\xac\r\n',
  'tab inside': 'X-A: a\tb\r\n',
  'comma inside': 'X-A: a, b\r\nX-A: c\r\n',
  'long value': `X-A: ${'a'.repeat(7000)}\r\n`,
  'long name': `X-${'a'.repeat(1000)}: 1\r\n`,
  'many fields': Array.from({ length: 80 }, (_, i) => `X-${i}: ${i}\r\n`).join(''),
  'odd names': "!#$%&'*+-.^_`|~: 1\r\n0: 2\r\n",
  'names of objects': '__proto__: 1\r\nconstructor: 2\r\ntoString: 3\r\nhasOwnProperty: 4\r\n',
  'Connection: close': 'Connection: close\r\n',
  'Connection: keep-alive': 'Connection: keep-alive\r\n',
  'Connection: Close': 'Connection: Close\r\n',
  'Connection, a list': 'Connection: x-a, close\r\n',
  'Connection twice': 'Connection: x-a\r\nConnection: close\r\n',
  'Connection: something': 'Connection: x-a\r\n',
  'Keep-Alive': 'Keep-Alive: timeout=5\r\n',
  'Content-Length: 0': 'Content-Length: 0\r\n',
  'Upgrade, unknown': 'Connection: Upgrade\r\nUpgrade: other\r\n',
  'Upgrade alone': 'Upgrade: websocket\r\n',
};

const TARGETS: Record<string, string> = {
  'a query': 'GET {see-head}&a=1&b=2',
  'an absolute target': 'GET http://other/x',
  'latin1 in a target': 'GET {see-head}&\xfc',
  'percent in a target': 'GET {see-head}&%41%zz',
};

const METHODS =
  'GET HEAD POST PUT PATCH DELETE OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PURGE MKCALENDAR LINK UNLINK SOURCE'.split(
    ' ',
  );

const TRAILERS: Record<string, string> = {
  'no trailer': '',
  'one trailer': 'X-T: 1\r\n',
  'a trailer twice': 'X-T: 1\r\nx-t: 2\r\n',
  'an empty trailer': 'X-T:\r\n',
  'many trailers': Array.from({ length: 20 }, (_, i) => `X-${i}: ${i}\r\n`).join(''),
  'a trailer with white space': 'X-T:  a b \r\n',
  'a trailer in latin1': 'X-T: \xfc\r\n',
  'set-cookie in a trailer': 'Set-Cookie: a\r\nSet-Cookie: b\r\n',
};

function one(name: string, ...steps: Step[]): Case {
  return { name, steps };
}

export const requestCases: Case[] = [
  ...Object.entries(HEADS).map(([name, fields]) => one(`head: ${name}`, request('GET', 'see-head', fields))),
  ...[
    'no fields',
    'a field twice',
    'Connection: keep-alive',
    'Connection: close',
    'TE twice',
    'Connection, a list',
  ].map((name) => one(`head, HTTP/1.0: ${name}`, request('GET', 'see-head', HEADS[name], '', '1.0'))),
  one('head, HTTP/1.0: without Host', 'GET {see-head} HTTP/1.0\r\n\r\n'),
  one('head, HTTP/1.0: TE chunked', request('GET', 'write-many', 'TE: chunked\r\n', '', '1.0')),
  ...Object.entries(TARGETS)
    .filter(([, start]) => start.includes('{'))
    .map(([name, start]) => one(`head: ${name}`, `${start} HTTP/1.1\r\nHost: x\r\n\r\n`)),
  ...METHODS.map((method) => one(`method ${method}`, request(method, 'see-head', 'Content-Length: 0\r\n'))),
  one('method QUERY', request('QUERY', 'see-head', 'Content-Length: 0\r\n')),
  ...Object.entries(TRAILERS).map(([name, fields]) =>
    one(
      `trailers: ${name}`,
      request('POST', 'see-trailers', 'Transfer-Encoding: chunked\r\n', `2\r\nhi\r\n0\r\n${fields}\r\n`),
    ),
  ),
  ...Object.entries(TRAILERS).map(([name, fields]) =>
    one(
      `trailers in a packet of their own: ${name}`,
      request('POST', 'see-trailers', 'Transfer-Encoding: chunked\r\n', '2\r\nhi\r\n'),
      { note: 'handler' },
      `0\r\n${fields}\r\n`,
    ),
  ),
  one('socket', request('GET', 'see-socket', 'X-Client: {client}\r\nX-Server: {server}\r\n')),
  one('complete: GET', request('GET', 'see-complete')),
  one('complete: Content-Length 0', request('POST', 'see-complete', 'Content-Length: 0\r\n')),
  one('complete: a whole body', request('POST', 'see-complete', 'Content-Length: 2\r\n', 'hi')),
  one('complete: GET, nobody listens', request('GET', 'see-complete', 'X-Watch: none\r\n')),
  one('bytes of the socket: GET', request('GET', 'see-bytes')),
  one('bytes of the socket: POST', request('POST', 'see-bytes', 'Content-Length: 5\r\n', 'hello')),
  one('context: GET', request('GET', 'see-context')),
  one('context: POST', request('POST', 'see-context', 'Content-Length: 5\r\n', 'hello')),
  one(
    'context: POST, body later',
    request('POST', 'see-context', 'Content-Length: 5\r\n'),
    { note: 'immediate' },
    'hello',
  ),
  // Several of each: where one thread serves them all, one could see what another has left behind.
  ...[1, 2, 3].flatMap((n) => [
    one(`context, entered: GET ${n}`, request('GET', 'see-context-entered')),
    one(`context, entered: POST ${n}`, request('POST', 'see-context-entered', 'Content-Length: 5\r\n', 'hello')),
    one(
      `context, entered: POST, body later ${n}`,
      request('POST', 'see-context-entered', 'Content-Length: 5\r\n'),
      { note: 'before' },
      'hello',
    ),
  ]),
  ...['close', 'close-late', 'close-written', 'close-outside', 'close-after', 'close-request'].flatMap((name) => [
    one(`context, ${name}: GET`, request('GET', `see-context-${name}`, 'X-Watch: none\r\n')),
    one(
      `context, ${name}: POST`,
      request('POST', `see-context-${name}`, 'X-Watch: none\r\nContent-Length: 5\r\n', 'hello'),
    ),
  ]),
  one('context, timeout: GET', request('GET', 'see-context-timeout', 'X-Watch: none\r\n')),
  ...(['DESTROY', 'RESET'] as const).flatMap((end) => [
    one(
      `context, the client leaves: ${end}`,
      request('GET', 'see-context-leave', 'X-Watch: none\r\n'),
      { note: 'handler' },
      end,
    ),
    one(
      `context, the client leaves: ${end}, half a response`,
      request('GET', 'see-context-leave', 'X-Watch: none\r\nX-Half: 1\r\n'),
      { note: 'handler' },
      end,
    ),
    one(
      `context, the client leaves: ${end}, POST`,
      request('POST', 'see-context-leave', 'X-Watch: none\r\nContent-Length: 5\r\n'),
      { note: 'handler' },
      end,
    ),
  ]),
  one('context, destroy: GET', request('GET', 'see-context-destroy', 'X-Watch: none\r\n')),
  one('context, big: GET', request('GET', 'see-context-big', 'X-Watch: none\r\n')),
  one('context, big: GET, finish', request('GET', 'see-context-big', 'X-Watch: none\r\nX-Finish: 1\r\n')),
  one('context, big: GET, callback', request('GET', 'see-context-big', 'X-Watch: none\r\nX-Callback: 1\r\n')),
  one('context, drain: GET', request('GET', 'see-context-drain', 'X-Watch: none\r\n')),
  ...[1, 2, 3].map((n) =>
    one(
      `context, close enters: ${n}`,
      request('GET', 'see-context-close-enters', 'X-Watch: none\r\n'),
      { note: 'res close' },
      request('GET', 'see-context-close', 'X-Watch: none\r\n'),
    ),
  ),
  one('context: await', request('POST', 'see-context-await', 'Content-Length: 5\r\n', 'hello')),
  one(
    'context: await, body later',
    request('POST', 'see-context-await', 'Content-Length: 5\r\n'),
    { note: 'handler' },
    'hello',
  ),
  one('a handler changes the request', request('GET', 'see-headers-changed')),
  one(
    'keep-alive: three requests',
    ...[1, 2, 3].flatMap(() => [request('GET', 'see-head', 'X-Watch: none\r\n'), { note: 'handler' }]),
  ),
];
