// Handlers about ends: destroy in every state, clients that leave, timeouts, backpressure. Each has its client in lives.ts.
import { IncomingMessage } from 'node:http';
import { finished, pipeline, Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

const failure = () => Object.assign(new Error('mine'), { code: 'E_MINE' });
const objects = (req, res) => ({ req, res, socket: req.socket });

/** Handlers that destroy one of the three objects in one state of the response. */
function destroyers() {
  const table = {};
  const states = {
    before: (_res, then) => then(),
    soon: (_res, then) => void setImmediate(then),
    head: (res, then) => {
      res.writeHead(200, { 'X-A': '1' });
      res.flushHeaders();
      setTimeout(then, 5);
    },
    middle: (res, then) => {
      res.write('part');
      setTimeout(then, 5);
    },
    after: (res, then) => {
      res.end('whole');
      then();
    },
    finish: (res, then) => {
      res.on('finish', then);
      res.end('whole');
    },
    close: (res, then) => {
      res.on('close', then);
      res.end('whole');
    },
  };
  for (const [state, reach] of Object.entries(states)) {
    for (const what of ['req', 'res', 'socket']) {
      for (const error of [false, true]) {
        table[`destroy-${what}-${state}${error ? '-error' : ''}`] = (req, res, note) => {
          const target = objects(req, res)[what];
          reach(res, () => {
            note(`destroys itself ${target.destroy(error ? failure() : undefined) === target}`);
            note.state('destroyed');
          });
        };
      }
    }
  }
  return table;
}

/** Of req.signal, which not every Node has. */
const signals = {
  'signal-wait': (req, _res, note) => {
    req.signal.addEventListener('abort', () => note.state(`abort ${req.signal.reason.name}`));
    note('waits');
  },
  'signal-first-asked-late': (req, res, note) => {
    res.on('close', () => setTimeout(() => note.state(`aborted ${req.signal.aborted}`), 5));
    note('waits');
  },
  'signal-answered': (req, res, note) => {
    const listeners = () => req.socket.listenerCount('close');
    const before = listeners();
    req.signal.addEventListener('abort', () => note.state('abort'));
    note(`listens ${listeners() > before}`);
    res.on('close', () => {
      note.state(`aborted ${req.signal.aborted}, listens ${listeners() > before}`);
      setTimeout(() => note.state(`later ${req.signal.aborted}`), 100);
    });
    res.end('x');
  },
  'signal-asked-when-answered': (req, res, note) => {
    res.on('close', () => {
      note(`aborted ${req.signal.aborted}`);
      setTimeout(() => note(`later ${req.signal.aborted}`), 100);
    });
    res.end('x');
  },
  'signal-unwatched': (req, res, note) => {
    const { signal } = req;
    setTimeout(() => note(`later ${signal.aborted}`), 100);
    res.end('x');
  },
  ...Object.fromEntries(
    ['req', 'res', 'socket'].map((what) => [
      `signal-destroy-${what}`,
      (req, res, note) => {
        req.signal.addEventListener('abort', () => note.state('abort'));
        objects(req, res)[what].destroy();
        note(`aborted ${req.signal.aborted}`);
        setTimeout(() => note(`later ${req.signal.aborted}`), 5);
      },
    ]),
  ),
};

export const lives = {
  ...destroyers(),
  ...('signal' in IncomingMessage.prototype && signals),
  wait: (req, _res, note) => {
    req.socket.on('close', (hadError) => note(`socket close ${hadError}`));
  },
  'wait-quiet': () => {},
  'answer-in-a-while': (_req, res) => setTimeout(() => res.end('late'), 80),
  'wait-read': (req, _res, note) => {
    req.resume();
    req.on('end', () => note('read'));
  },
  'wait-body': (req, _res, note) => req.on('data', (chunk) => note(`data ${chunk.length}`)),
  'wait-iterate': async (req, _res, note) => {
    try {
      for await (const chunk of req) note(`data ${chunk.length}`);
    } catch (error) {
      note.state(`iteration failed ${error.code} ${error.message}`);
    }
  },
  'wait-finished': (req, res, note) => {
    finished(req, (error) => note.state(`req finished ${error?.code}`));
    finished(res, (error) => note.state(`res finished ${error?.code}`));
    note('waits');
  },
  'wait-pipeline': (req, res, note) => {
    pipeline(req, res, (error) => note.state(`pipeline ${error?.code}`));
    note('waits');
  },
  'wait-then-write': async (req, res, note) => {
    await new Promise((resolve) => res.on('close', resolve));
    await sleep(2);
    note.state(`write ${res.write('late', (error) => note(`callback ${error?.code}`))}`);
    res.end(() => note('end callback'));
    note.state(`ended, socket destroyed ${req.socket.destroyed}`);
  },
  'wait-then-end': async (_req, res, note) => {
    await new Promise((resolve) => res.on('close', resolve));
    res.end('late', (error) => note(`end callback ${error?.code}`));
    note.state('ended');
  },
  'wait-then-end-length': async (_req, res, note) => {
    await new Promise((resolve) => res.on('close', resolve));
    res.writeHead(200, { 'Content-Length': 4 });
    res.end('late', (error) => note(`end callback ${error?.code}`));
    note.state('ended');
  },
  'wait-then-end-part': async (_req, res, note) => {
    res.setHeader('Content-Length', 8);
    res.write('part');
    await new Promise((resolve) => res.on('close', resolve));
    res.write('rest');
    res.end((error) => note(`end callback ${error?.code}`));
    note.state('ended');
  },
  'write-and-wait': (_req, res) => res.write('part'),
  'stream-ticks': (_req, res, note) => {
    const timer = setInterval(() => res.write('tick'), 2);
    res.on('close', () => {
      clearInterval(timer);
      note('stopped');
    });
  },
  'stream-pipe': (_req, res, note) => {
    const source = Readable.from(
      (async function* () {
        for (let i = 0; ; i++) {
          yield `line ${i}\n`;
          await sleep(2);
        }
      })(),
    );
    pipeline(source, res, (error) => note.state(`pipeline ${error?.code}`));
  },
  'blocked-end': (_req, res, note) => {
    res.end(Buffer.alloc(12 << 20, 'a'), (error) => note(`end callback ${error?.code}`));
    note.state(`ended, need drain ${res.writableNeedDrain}`);
  },
  'blocked-write': (_req, res, note) => {
    res.setHeader('Content-Length', (12 << 20) + 1);
    note(`write ${res.write(Buffer.alloc(12 << 20, 'a'), () => note('write callback'))}`);
    note(`need drain ${res.writableNeedDrain}, length ${res.writableLength >= 1 << 20}`);
    res.on('drain', () => {
      note(`need drain ${res.writableNeedDrain}, length ${res.writableLength}`);
      res.end('b');
    });
  },
  'drain-small': (_req, res, note) => {
    res.on('drain', () => res.end('b'));
    note(`write ${res.write('a'.repeat(100_000))}`);
  },
  'drain-loop': (_req, res, note) => {
    let rounds = 0;
    const go = () => {
      while (rounds < 40) {
        rounds++;
        if (!res.write(Buffer.alloc(20_000, 'a'))) return void res.once('drain', go);
      }
      note(`rounds ${rounds}`);
      res.end();
    };
    go();
  },
  'pipe-large': (_req, res, note) => {
    pipeline(Readable.from(Array.from({ length: 64 }, () => Buffer.alloc(65536, 'p'))), res, (error) =>
      note.state(`pipeline ${error?.code}`),
    );
  },
  'timeout-req': (req, res, note) => {
    note(`itself ${req.setTimeout(20, () => note('req callback')) === req}`);
    req.socket.on('timeout', () => setImmediate(() => !res.writableEnded && res.end('timed out')));
  },
  'timeout-res': (_req, res, note) => {
    const itself = res.setTimeout(20, () => {
      note('res callback');
      res.end('timed out');
    });
    note(`itself ${itself === res}`);
  },
  'timeout-socket': (req, res, note) => {
    req.socket.setTimeout(20, () => {
      note('socket callback');
      if (!res.writableEnded) res.end('timed out');
    });
    note(`timeout ${req.socket.timeout}`);
  },
  'timeout-nobody': (req, _res, note) => {
    req.socket.setTimeout(20);
    req.socket.on('close', (hadError) => note(`socket close ${hadError}`));
  },
  'timeout-cleared': (req, res, note) => {
    res.setTimeout(20, () => note('too late'));
    req.socket.setTimeout(0);
    setTimeout(() => res.end('x'), 40);
  },
  'timeout-not-reached': (_req, res, note) => {
    res.setTimeout(5000, () => note('too late'));
    res.end('x');
  },
  'socket-end': (req, _res, note) => {
    req.socket.on('close', (hadError) => note(`socket close ${hadError}`));
    req.socket.end('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nraw');
  },
  'socket-write': (req, _res, note) => {
    note(`write ${req.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nraw', () => note('callback'))}`);
    setTimeout(() => req.socket.destroy(), 10);
  },
  'socket-destroy-soon': (req, res) => {
    res.write('part');
    setTimeout(() => req.socket.destroySoon(), 5);
  },
  'socket-reset': (req, res) => {
    res.write('part');
    setTimeout(() => req.socket.resetAndDestroy(), 5);
  },
  'socket-events': (req, res, note) => {
    for (const name of ['end', 'finish', 'close', 'error'])
      req.socket.on(name, (value) => note(`socket ${name} ${value?.code ?? value}`));
    res.writeHead(200, { Connection: 'close' }).end('x');
  },
  'throw-listener-caught': (_req, res, note) => {
    res.on('finish', () => note('finish one'));
    res.on('finish', () => note('finish two'));
    res.end('x');
  },
  'captured-error': (req, res, note) => {
    req.on('error', (error) => note(`mine ${error.code}`));
    req.destroy(failure());
    note.state('destroyed');
    res.end('never');
  },
  'length-too-short': (_req, res, note) => {
    res.setHeader('Content-Length', 10);
    res.end('short', () => note('end callback'));
  },
  'length-too-long': (_req, res, note) => {
    res.setHeader('Content-Length', 2);
    res.end('much too long', () => note('end callback'));
  },
  ...Object.fromEntries(
    ['req', 'res', 'socket'].map((what) => [
      `length-destroyed-${what}`,
      (req, res, note) => {
        res.setHeader('Content-Length', 10);
        res.write('part');
        setTimeout(() => {
          objects(req, res)[what].destroy();
          res.end('x', () => note('end callback'));
          note.state('ended');
        }, 5);
      },
    ]),
  ),
  'dispose-req': async (req, _res, note) => {
    await req[Symbol.asyncDispose]?.().catch((error) => note(`dispose ${error.code}`));
    note.state('disposed');
  },
};
