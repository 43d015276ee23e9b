/** Cases about ends: destroy in every state, clients that leave, timeouts, backpressure, pipelines, what is refused. */
import { type Case, handlerNames, request, type Step } from './corpus.js';

const handlers = await handlerNames('lives');
const destroyers = handlers.filter((name) => name.startsWith('destroy-'));
const HANDLER = { note: 'handler' };

/** Each handler waits; the client leaves in each way. */
const LEFT: Record<string, Step[]> = {
  wait: [request('GET', 'wait'), HANDLER],
  'wait, nobody listens': [request('GET', 'wait-quiet', 'X-Watch: none\r\n'), HANDLER],
  'wait, res watched': [request('GET', 'wait-quiet', 'X-Watch: res\r\n'), HANDLER],
  'wait, body read': [request('POST', 'wait-read', 'Content-Length: 2\r\n', 'hi'), { note: 'read' }],
  'wait in a body': [request('POST', 'wait-body', 'Content-Length: 9\r\n', 'hi'), { note: 'data' }],
  'wait in a body, by iteration': [request('POST', 'wait-iterate', 'Content-Length: 9\r\n', 'hi'), { note: 'data' }],
  'wait in a body, unread': [request('POST', 'wait', 'Content-Length: 9\r\n', 'hi'), HANDLER],
  'finished()': [request('GET', 'wait-finished'), { note: 'waits' }],
  'finished() in a body': [request('POST', 'wait-finished', 'Content-Length: 9\r\n', 'hi'), { note: 'waits' }],
  'pipeline() in a body': [
    request('POST', 'wait-pipeline', 'Content-Length: 9\r\n', 'hi'),
    { note: 'waits' },
    { bytes: 10 },
  ],
  'write afterwards': [request('GET', 'wait-then-write'), HANDLER],
  'end afterwards': [request('GET', 'wait-then-end'), HANDLER],
  'end afterwards, with a length': [request('GET', 'wait-then-end-length'), HANDLER],
  'a part was written': [request('GET', 'write-and-wait'), { bytes: 20 }],
  'in a stream': [request('GET', 'stream-ticks'), { bytes: 300 }],
  'in a piped stream': [request('GET', 'stream-pipe'), { bytes: 300 }],
  'while end() waits': ['PAUSE', request('GET', 'blocked-end'), { note: 'ended' }],
  'while write() waits': ['PAUSE', request('GET', 'blocked-write'), { note: 'need drain' }],
};

function one(name: string, ...steps: Step[]): Case {
  return { name, steps };
}

/** None where Node has no req.signal. */
function signalCases(): Case[] {
  if (!handlers.includes('signal-wait')) return [];
  const half = (handler: string) => request('POST', handler, 'Content-Length: 9\r\n', 'half');
  const waiting = ['signal-wait', 'signal-first-asked-late'].flatMap((handler) =>
    (['RESET', 'DESTROY'] as const).flatMap((how) => [
      one(`${handler}: ${how}`, request('GET', handler), { note: 'waits' }, how),
      one(`${handler}: ${how}, half a body`, half(handler), { note: 'waits' }, how),
    ]),
  );
  const answered = ['signal-answered', 'signal-asked-when-answered', 'signal-unwatched'].flatMap((handler) => {
    const quiet = handler === 'signal-unwatched' ? 'X-Watch: none\r\n' : '';
    return [
      one(`${handler}: the client stays`, request('GET', handler, quiet), { bytes: 20 }),
      one(`${handler}: the client leaves`, request('GET', handler, quiet), { bytes: 20 }, 'DESTROY'),
      one(`${handler}: twice`, request('GET', handler, quiet), { note: 'later' }, request('GET', handler, quiet)),
    ];
  });
  const destroyed = handlers
    .filter((name) => name.startsWith('signal-destroy-'))
    .flatMap((name) => [one(name, request('GET', name)), one(`${name}: POST, half a body`, half(name))]);
  return [...waiting, ...answered, ...destroyed];
}

export const lifeCases: Case[] = [
  ...destroyers.map((name) => one(name, request('GET', name))),
  ...destroyers
    .filter((name) => !name.endsWith('-error'))
    .map((name) => one(`${name}, unwatched`, request('GET', name, 'X-Watch: res\r\n'))),
  ...destroyers.map((name) =>
    one(`${name}: POST, half a body`, request('POST', name, 'Content-Length: 9\r\n', 'half')),
  ),
  ...Object.entries(LEFT).flatMap(([name, steps]) =>
    (['RESET', 'DESTROY'] as const).map((how) => one(`the client leaves by ${how}: ${name}`, ...steps, how)),
  ),
  one('the client leaves in a body with a length', request('GET', 'wait-then-end-part'), { bytes: 20 }, 'RESET'),
  ...['drain-small', 'drain-loop', 'pipe-large', 'blocked-end', 'blocked-write'].map((name) =>
    one(name, request('GET', name)),
  ),
  ...['blocked-end', 'blocked-write', 'pipe-large'].map((name) =>
    one(`${name}: the client reads later`, 'PAUSE', request('GET', name), HANDLER, 'RESUME'),
  ),
  ...handlers
    .filter((name) => /^(timeout|socket|captured|length|dispose|throw)-/.test(name))
    .flatMap((name) => [
      { ...one(name, request('GET', name)), anyEnd: true },
      { ...one(`${name}: POST, half a body`, request('POST', name, 'Content-Length: 9\r\n', 'half')), anyEnd: true },
    ]),
  one(
    'pipelined: two',
    request('GET', 'end-string', 'X-Watch: none\r\n') + request('GET', 'end-buffer', 'X-Watch: none\r\n'),
  ),
  one(
    'pipelined: three, watched',
    request('GET', 'end-string') + request('GET', 'end-late') + request('GET', 'end-buffer'),
  ),
  one(
    'pipelined: POST and GET',
    request('POST', 'body-data', 'Content-Length: 5\r\n', 'hello') + request('GET', 'end-string'),
  ),
  one(
    'pipelined: unread POST and GET',
    request('POST', 'body-unread', 'Content-Length: 5\r\n', 'hello') + request('GET', 'end-string'),
  ),
  one('pipelined: the first closes', request('GET', 'connection-close') + request('GET', 'end-string')),
  one('pipelined: the second is bad', `${request('GET', 'end-string')}BAD\r\n\r\n`),
  one('half-closed after the request', request('GET', 'answer-in-a-while'), 'END'),
  one('half-closed in mid-head', 'GET /x HT', 'END'),
  one('half-closed in mid-body', request('POST', 'wait-body', 'Content-Length: 9\r\n', 'hi'), { note: 'data' }, 'END'),
  one('half-closed without a request', 'END'),
  one('a line before the request', `\r\n${request('GET', 'end-string')}`),
  one('rubbish', 'rubbish\r\n\r\n'),
  one('a bad body', request('POST', 'body-data', 'Transfer-Encoding: chunked\r\n', 'zz\r\n')),
  one('a bad body, later', request('POST', 'body-data', 'Transfer-Encoding: chunked\r\n'), HANDLER, 'zz\r\n'),
  one('a bad body, unread', request('POST', 'wait', 'Transfer-Encoding: chunked\r\n'), HANDLER, 'zz\r\n'),
  one('no Host', 'GET {end-string} HTTP/1.1\r\n\r\n'),
  one('Expect: something', request('POST', 'end-string', 'Expect: something\r\nContent-Length: 2\r\n')),
  one('Expect: 100-continue without a body', request('GET', 'end-string', 'Expect: 100-continue\r\n')),
  one(
    'Expect: 100-continue, the body at once',
    request('POST', 'body-data', 'Expect: 100-continue\r\nContent-Length: 2\r\n', 'hi'),
  ),
  one(
    'Expect: 100-Continue, in another case',
    request('POST', 'body-data', 'Expect: 100-Continue\r\nContent-Length: 2\r\n', 'hi'),
  ),
  one('CONNECT', 'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n'),
  one('HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  ...signalCases(),
];
