// Handlers about the head and the framing of a response. Each is asked in several forms: see responses.ts.
import { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

/** Calls that should throw: notes what came of each. */
function attempt(note, calls) {
  for (const [name, call] of Object.entries(calls)) {
    try {
      const value = call();
      note(`${name}: ${typeof value === 'object' ? 'object' : value}`);
    } catch (error) {
      note(`${name}: ${error.name} ${error.code} ${error.message}`);
    }
  }
}

export const responses = {
  'end-empty': (_req, res) => res.end(),
  'end-string': (_req, res) => res.end('hello'),
  'end-buffer': (_req, res) => res.end(Buffer.from('hello')),
  'end-array': (_req, res) => res.end(new Uint8Array([104, 105])),
  'end-utf8': (_req, res) => res.end('grüße €'),
  'end-latin1': (_req, res) => res.end('grüße', 'latin1'),
  'end-hex': (_req, res) => res.end('68656c6c6f', 'hex'),
  'end-base64': (_req, res) => res.end('aGVsbG8=', 'base64'),
  'end-utf16': (_req, res) => res.end('hi', 'utf16le'),
  'end-callback': (_req, res, note) => res.end('x', () => note.state('end callback')),
  'end-encoding-callback': (_req, res, note) => res.end('x', 'latin1', () => note.state('end callback')),
  'end-only-callback': (_req, res, note) => res.end(() => note.state('end callback')),
  'end-null': (_req, res) => res.end(null),
  'end-twice': (_req, res, note) => {
    res.end('one');
    res.end();
    note.state('twice');
  },
  'end-twice-callback': (_req, res, note) => {
    res.end('one');
    res.end((error) => note.state(`second ${error?.code}`));
  },
  'end-chunk-twice': (_req, res, note) => {
    res.end('one');
    res.end('two', (error) => note(`second ${error?.code}`));
  },
  'write-after-end': (_req, res, note) => {
    res.end('one');
    note(`write ${res.write('two', (error) => note(`callback ${error?.code}`))}`);
  },
  'write-after-end-late': (_req, res, note) => {
    res.end('one');
    setImmediate(() => note(`write ${res.write('two', (error) => note(`callback ${error?.code}`))}`));
  },
  'callbacks-among-ticks': (_req, res, note) => {
    process.nextTick(() => note('tick before'));
    queueMicrotask(() => note('microtask'));
    res.write('one', () => note.state('write callback'));
    process.nextTick(() => {
      note.state('tick behind');
      res.end('two');
      process.nextTick(() => note.state('tick behind the end'));
    });
  },
  'ticks-around-the-end': (_req, res, note) => {
    process.nextTick(() => note.state('tick before'));
    res.end('one');
    note.state('returns');
    process.nextTick(() => note.state('tick behind'));
    queueMicrotask(() => note.state('microtask'));
    setImmediate(() => note.state('immediate'));
  },
  'end-late': async (_req, res) => {
    await sleep(3);
    res.end('late');
  },
  'end-in-tick': (_req, res) => process.nextTick(() => res.end('tick')),
  'end-in-immediate': (_req, res) => setImmediate(() => res.end('immediate')),
  'end-in-promise': (_req, res) => Promise.resolve().then(() => res.end('promise')),
  'write-end': (_req, res, note) => {
    note(`write ${res.write('one', () => note.state('write callback'))}`);
    res.end('two');
  },
  'write-end-empty': (_req, res) => {
    res.write('one');
    res.end();
  },
  'write-empty': (_req, res, note) => {
    note(`write ${res.write('')}`);
    res.end('x');
  },
  'write-many': (_req, res) => {
    for (let i = 0; i < 20; i++) res.write(`part ${i} `);
    res.end('end');
  },
  'write-later': async (_req, res, note) => {
    res.write('one', () => note('first callback'));
    await sleep(3);
    res.write(Buffer.from('two'), () => note('second callback'));
    await sleep(3);
    res.end('three', () => note('end callback'));
  },
  'write-encodings': (_req, res) => {
    res.write('é');
    res.write('é', 'latin1');
    res.write('e9', 'hex');
    res.end('é', 'utf8');
  },
  'write-length': (_req, res) => {
    res.setHeader('Content-Length', 6);
    res.write('one');
    res.end('two');
  },
  'write-length-late': async (_req, res) => {
    res.writeHead(200, { 'Content-Length': '6' });
    res.write('one');
    await sleep(3);
    res.end('two');
  },
  'cork-writes': (_req, res, note) => {
    res.cork();
    note(`corked ${res.writableCorked}`);
    res.write('a');
    res.write('b');
    process.nextTick(() => {
      res.uncork();
      note(`corked ${res.writableCorked}`);
      res.end('c');
    });
  },
  'cork-end': (_req, res) => {
    res.cork();
    res.cork();
    res.write('a');
    res.end('b');
  },
  'cork-late-end': (_req, res) => {
    res.write('a');
    setImmediate(() => {
      res.cork();
      res.write('b');
      res.end('c');
    });
  },
  'cork-drain': (_req, res, note) => {
    res.write('head');
    res.on('drain', () => {
      note.state('drain');
      if (!res.writableEnded) res.end('end');
    });
    setImmediate(() => {
      res.cork();
      note(`room ${res.write('x'.repeat(100_000))}`);
      note(`room ${res.write('y'.repeat(10))}`);
      process.nextTick(() => {
        res.uncork();
        note.state('uncorked');
      });
    });
  },
  'flush-headers': async (_req, res, note) => {
    res.setHeader('X-A', '1');
    res.flushHeaders();
    note.state('flushed');
    await sleep(3);
    res.end('body');
  },
  'flush-headers-end': (_req, res) => {
    res.flushHeaders();
    res.end();
  },
  'flush-headers-twice': (_req, res) => {
    res.flushHeaders();
    res.flushHeaders();
    res.end('x');
  },
  'status-404': (_req, res) => {
    res.statusCode = 404;
    res.end('no');
  },
  'status-message': (_req, res) => {
    res.statusMessage = 'Quite Fine';
    res.end('x');
  },
  'status-unknown': (_req, res) => {
    res.statusCode = 299;
    res.end('x');
  },
  'status-204': (_req, res) => res.writeHead(204).end(),
  'status-204-body': (_req, res, note) => {
    res.statusCode = 204;
    note(`write ${res.write('x', () => note('callback'))}`);
    res.end('y');
  },
  'status-204-chunked': (_req, res) => res.writeHead(204, { 'Transfer-Encoding': 'chunked' }).end(),
  'status-304': (_req, res) => res.writeHead(304, { ETag: '"a"' }).end(),
  'status-304-body': (_req, res) => res.writeHead(304).end('body'),
  'status-205': (_req, res) => res.writeHead(205).end(),
  'status-500': (_req, res) => res.writeHead(500).end('failed'),
  'head-object': (_req, res, note) => {
    const same = res.writeHead(201, { 'X-A': 1, 'x-b': ['2', '3'] }) === res;
    note.state(`returns itself ${same}`);
    res.end('x');
  },
  'head-message': (_req, res) => res.writeHead(200, 'Very Well', { 'X-A': '1' }).end('x'),
  'head-array': (_req, res) => res.writeHead(200, ['X-A', '1', 'X-A', '2', 'Content-Length', '1']).end('x'),
  'head-pairs': (_req, res) =>
    res
      .writeHead(200, [
        ['X-A', '1'],
        ['X-B', '2'],
      ])
      .end('x'),
  'head-set-and-object': (_req, res) => {
    res.setHeader('X-A', 'set');
    res.setHeader('X-B', 'set');
    res.writeHead(200, { 'x-a': 'head', 'X-C': 'head' }).end('x');
  },
  'head-set-and-array': (_req, res) => {
    res.setHeader('X-A', 'set');
    res.writeHead(200, ['X-A', 'one', 'X-A', 'two']).end('x');
  },
  'head-twice': (_req, res, note) => {
    res.writeHead(200);
    attempt(note, { again: () => res.writeHead(200) });
    res.end('x');
  },
  'head-bad-status': (_req, res, note) => {
    attempt(note, {
      99: () => res.writeHead(99),
      1000: () => res.writeHead(1000),
      text: () => res.writeHead('abc'),
      message: () => res.writeHead(200, 'a\r\nb'),
      odd: () => res.writeHead(200, ['X-A']),
    });
    res.statusCode = 200;
    res.statusMessage = undefined;
    res.end('x');
  },
  'bad-headers': (_req, res, note) => {
    attempt(note, {
      name: () => res.setHeader('a b', 'x'),
      empty: () => res.setHeader('', 'x'),
      undefined: () => res.setHeader('x', undefined),
      newline: () => res.setHeader('x', 'a\r\nb'),
      wide: () => res.setHeader('x', '€'),
      append: () => res.appendHeader('x', 'a\nb'),
      get: () => res.getHeader(1),
      remove: () => res.removeHeader(),
      set: () => res.setHeaders({ a: 'b' }),
    });
    res.end('x');
  },
  'headers-after-head': (_req, res, note) => {
    res.writeHead(200, { 'X-A': '1' });
    attempt(note, {
      set: () => res.setHeader('X-B', '1'),
      append: () => res.appendHeader('X-B', '1'),
      remove: () => res.removeHeader('X-A'),
      get: () => res.getHeader('X-A'),
      has: () => res.hasHeader('X-A'),
      setHeaders: () => res.setHeaders(new Headers({ a: 'b' })),
      hints: () => res.flushHeaders(),
    });
    res.end('x');
  },
  'header-calls': (_req, res, note) => {
    res.setHeader('X-A', '1');
    res.setHeader('Set-Cookie', ['a=1', 'b=2']);
    res.appendHeader('X-A', '2');
    res.appendHeader('X-New', ['3', '4']);
    res.setHeaders(new Map([['X-Map', 'm']]));
    res.setHeaders(new Headers({ 'X-Fetch': 'f' }));
    res.setHeader('X-Gone', 'g');
    res.removeHeader('x-gone');
    note(JSON.stringify([res.getHeaders(), res.getHeaderNames(), res.getRawHeaderNames(), res.hasHeader('x-map')]));
    note(`${res.getHeader('x-a')} ${res.getHeader('nothing')}`);
    res.end('x');
  },
  'header-numbers': (_req, res) => res.writeHead(200, { 'X-N': 1, 'X-T': true }).end('x'),
  'header-latin1': (_req, res) => res.writeHead(200, { 'X-L': 'grüße' }).end('x'),
  'header-empty': (_req, res) => res.writeHead(200, { 'X-E': '' }).end('x'),
  'header-long': (_req, res) => res.writeHead(200, { 'X-Long': 'a'.repeat(9000) }).end('x'),
  'header-disposition': (_req, res) =>
    res.writeHead(200, { 'Content-Length': 1, 'Content-Disposition': 'attachment; filename="grüße"' }).end('x'),
  'cookies-joined': (_req, res) => res.writeHead(200, { Cookie: ['a=1', 'b=2'] }).end('x'),
  'date-off': (_req, res) => {
    res.sendDate = false;
    res.end('x');
  },
  'date-own': (_req, res) => res.writeHead(200, { Date: 'Thu, 01 Jan 1970 00:00:00 GMT', 'X-A': '1' }).end('x'),
  'chunked-off': (_req, res) => {
    res.useChunkedEncodingByDefault = false;
    res.write('a');
    res.end('b');
  },
  'chunked-explicit': (_req, res) => res.writeHead(200, { 'Transfer-Encoding': 'chunked' }).end('x'),
  'removed-length': (_req, res) => {
    res.removeHeader('Content-Length');
    res.end('x');
  },
  'removed-both': (_req, res) => {
    res.removeHeader('Content-Length');
    res.removeHeader('Transfer-Encoding');
    res.end('x');
  },
  'removed-connection': (_req, res) => {
    res.removeHeader('Connection');
    res.end('x');
  },
  'removed-date': (_req, res) => {
    res.removeHeader('Date');
    res.end('x');
  },
  'keep-alive-off': (_req, res) => {
    res.shouldKeepAlive = false;
    res.end('x');
  },
  'keep-alive-own': (_req, res) => res.writeHead(200, { 'Keep-Alive': 'timeout=99' }).end('x'),
  'connection-close': (_req, res) => res.writeHead(200, { Connection: 'close' }).end('x'),
  'connection-close-later': async (_req, res) => {
    res.setHeader('Connection', 'close');
    res.write('a');
    await sleep(3);
    res.end('b');
  },
  'connection-keep': (_req, res) => res.writeHead(200, { Connection: 'keep-alive' }).end('x'),
  'connection-other': (_req, res) => res.writeHead(200, { Connection: 'X-Hop' }).end('x'),
  trailers: (_req, res) => {
    res.writeHead(200, { Trailer: 'X-T' });
    res.write('a');
    res.addTrailers({ 'X-T': '1', 'X-U': ['2', '3'] });
    res.end('b');
  },
  'trailers-pairs': (_req, res) => {
    res.setHeader('Trailer', 'X-T');
    res.write('a');
    res.addTrailers([
      ['X-T', '1'],
      ['X-T', '2'],
    ]);
    res.end();
  },
  'trailers-bad': (_req, res, note) => {
    res.write('a');
    attempt(note, { name: () => res.addTrailers({ 'a b': '1' }), value: () => res.addTrailers({ a: 'b\r\n' }) });
    res.end();
  },
  'trailers-length': (_req, res, note) => {
    attempt(note, { head: () => res.writeHead(200, { Trailer: 'X', 'Content-Length': 1 }) });
    res.end('x');
  },
  'write-continue': (_req, res, note) => {
    res.writeContinue(() => note('continue callback'));
    res.end('x');
  },
  'write-processing': (_req, res, note) => {
    res.writeProcessing(() => note('processing callback'));
    setImmediate(() => res.end('x'));
  },
  'early-hints': (_req, res, note) => {
    res.writeEarlyHints({ link: '</a.css>; rel=preload; as=style', 'X-H': '1' }, () => note('hints callback'));
    res.end('x');
  },
  'early-hints-many': (_req, res) => {
    res.writeEarlyHints({ link: ['</a.css>; rel=preload; as=style', '</b.js>; rel=preload; as=script'] });
    setImmediate(() => res.end('x'));
  },
  'early-hints-bad': (_req, res, note) => {
    attempt(note, {
      text: () => res.writeEarlyHints('x'),
      link: () => res.writeEarlyHints({ link: 'no link' }),
      none: () => res.writeEarlyHints({}),
    });
    res.end('x');
  },
  // Not every Node has it.
  ...('writeInformation' in ServerResponse.prototype && {
    'write-information': (_req, res, note) => {
      note(`wrote ${res.writeInformation(199, { 'X-H': '1' }, () => note('information callback'))}`);
      setImmediate(() => res.end('x'));
    },
    'write-information-bad': (_req, res, note) => {
      attempt(note, {
        status: () => res.writeInformation(200),
        switching: () => res.writeInformation(101),
        value: () => res.writeInformation(103, { Link: 'a\r\nb' }),
      });
      res.end('x');
      attempt(note, { late: () => res.writeInformation(103) });
    },
  }),
  'bad-chunks': (_req, res, note) => {
    attempt(note, {
      null: () => res.write(null),
      number: () => res.write(1),
      object: () => res.end({}),
      undefined: () => res.write(undefined),
    });
    res.end('x');
  },
  'pipe-from': (_req, res, note) => {
    attempt(note, { pipe: () => res.pipe(process.stderr) });
    res.end('x');
  },
  'body-64k': (_req, res) => res.end(Buffer.alloc(65536, 'a')),
  'body-1m': (_req, res) => res.end('b'.repeat(1 << 20)),
  'body-1m-parts': (_req, res) => {
    for (let i = 0; i < 16; i++) res.write(Buffer.alloc(65536, 'a'));
    res.end();
  },
  properties: (req, res, note) => {
    note(
      JSON.stringify({
        writable: res.writable,
        objectMode: res.writableObjectMode,
        length: res.writableLength,
        mark: res.writableHighWaterMark,
        drain: res.writableNeedDrain,
        corked: res.writableCorked,
        finished: res.finished,
        sendDate: res.sendDate,
        chunked: res.chunkedEncoding,
        byDefault: res.useChunkedEncodingByDefault,
        keepAlive: res.shouldKeepAlive,
        hasBody: res._hasBody,
        sockets: [req.socket === res.socket, req.connection === req.socket, res.connection === res.socket],
        req: res.req === req,
        status: [res.statusCode, typeof res.statusMessage],
        instance: [res.constructor.name, req.constructor.name],
        dispose: [typeof req[Symbol.asyncDispose], typeof res[Symbol.asyncDispose]],
      }),
    );
    res.end('x');
    note.state('ended');
  },
};
