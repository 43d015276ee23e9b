// Handlers that say what they see of a request's head, its socket, and its trailers.
import { AsyncLocalStorage, executionAsyncId } from 'node:async_hooks';

const storage = new AsyncLocalStorage();
const entered = new AsyncLocalStorage();

/** In a context: listens for 'close', and does something. */
function closes(res, note, end) {
  storage.run('mine', () => {
    res.on('close', () => note(`res close: ${storage.getStore()}`));
    end();
  });
}

function head(req) {
  const { method, url, httpVersion, httpVersionMajor, httpVersionMinor, headers, rawHeaders, headersDistinct } = req;
  const { trailers, rawTrailers, trailersDistinct, upgrade, joinDuplicateHeaders, statusCode, statusMessage } = req;
  return JSON.stringify({
    ...{ method, url: url.split('?')[0], httpVersion, httpVersionMajor, httpVersionMinor, headers, rawHeaders },
    ...{ headersDistinct, trailers, rawTrailers, trailersDistinct, upgrade, joinDuplicateHeaders },
    ...{ statusCode, statusMessage },
  });
}

export const requests = {
  /** Node hands out more than one string for the same header only here, so the rest is asked once. */
  'see-head': (req, res, note) => {
    note(head(req));
    res.end(req.method);
  },
  'see-trailers': (req, res, note) => {
    req.resume();
    req.on('end', () => {
      note(head(req));
      res.end(String(req.complete));
    });
  },
  'see-complete': (_req, res, note) => {
    note.state('at once');
    process.nextTick(() => note.state('in a tick'));
    setImmediate(() => {
      note.state('in an immediate');
      res.end('x');
    });
  },
  'see-socket': (req, res, note) => {
    const { socket } = req;
    const h = req.headers;
    const facts = {
      remote: [socket.remoteAddress, socket.remotePort === Number(h['x-client']), socket.remoteFamily],
      local: [socket.localAddress, socket.localPort === Number(h['x-server']), socket.localFamily],
      address: { ...socket.address(), port: socket.address().port === Number(h['x-server']) },
      flags: [socket.encrypted, socket.connecting, socket.pending, socket.destroyed, socket.readyState, socket.closed],
      stream: [socket.readable, socket.writable, socket.readableEnded, socket.writableEnded, socket.allowHalfOpen],
      marks: [socket.writableHighWaterMark, socket.writableLength, socket.writableNeedDrain, socket.writableCorked],
      methods: ['setNoDelay', 'setKeepAlive', 'ref', 'unref', 'destroySoon', 'resetAndDestroy', 'cork'].map(
        (name) => typeof socket[name],
      ),
      returns: [
        socket.setNoDelay(true) === socket,
        socket.setKeepAlive(true, 1000) === socket,
        socket.ref() === socket,
      ],
      timeout: socket.timeout,
      message: socket._httpMessage === res,
      server: typeof socket.server,
    };
    note(JSON.stringify(facts));
    res.end('x');
  },
  'see-bytes': (req, res, note) => {
    const { socket } = req;
    note(`read ${socket.bytesRead} written ${socket.bytesWritten}`);
    req.resume();
    req.on('end', () => {
      note(`read ${socket.bytesRead} written ${socket.bytesWritten}`);
      res.sendDate = false;
      res.write('0123456789');
      setImmediate(() => {
        note(`written ${socket.bytesWritten}`);
        res.end('x');
      });
    });
    res.on('finish', () => note(`finally ${socket.bytesWritten}`));
  },
  'see-context': (req, res, note) => {
    storage.run('mine', () => {
      const where = (name) => note(`${name}: ${storage.getStore()}`);
      req.on('data', () => where('data'));
      req.on('end', () => {
        where('end');
        res.write('a', () => where('write callback'));
        res.end('b', () => where('end callback'));
      });
      req.on('close', () => where('req close'));
      res.on('finish', () => where('finish'));
      res.on('close', () => where('res close'));
      process.nextTick(() => where('tick'));
      setImmediate(() => where('immediate'));
    });
    note(`outside: ${storage.getStore()}`);
  },
  // With no other listener than one for 'close', each way in which a response ends.
  'see-context-close': (_req, res, note) => closes(res, note, () => res.end('x')),
  'see-context-close-late': (_req, res, note) => closes(res, note, () => setImmediate(() => res.end('x'))),
  'see-context-close-written': (_req, res, note) => {
    closes(res, note, () => {
      res.write('x');
      res.end();
    });
  },
  'see-context-close-outside': (_req, res, note) => {
    closes(res, note, () => {});
    res.end('x');
  },
  'see-context-close-after': (_req, res, note) => {
    storage.run('mine', () => {
      res.end('x');
      res.on('close', () => note(`res close: ${storage.getStore()}`));
    });
  },
  // More than the kernel takes at once.
  'see-context-big': (req, res, note) => {
    storage.run('mine', () => {
      const where = (name) => note(`${name}: ${storage.getStore()}`);
      if (req.headers['x-finish'] !== undefined) res.on('finish', () => where('finish'));
      res.on('close', () => where('res close'));
      if (req.headers['x-callback'] === undefined) res.end(Buffer.alloc(12 << 20, 'x'));
      else res.end(Buffer.alloc(12 << 20, 'x'), () => where('end callback'));
    });
  },
  'see-context-drain': (_req, res, note) => {
    storage.run('mine', () => {
      const where = (name) => note(`${name}: ${storage.getStore()}`);
      res.write(Buffer.alloc(12 << 20, 'x'), () => where('write callback'));
      res.on('drain', () => {
        where('drain');
        storage.run('another', () => res.end('x'));
      });
      res.on('close', () => where('res close'));
    });
  },
  'see-context-timeout': (_req, res, note) => {
    storage.run('mine', () => {
      res.setTimeout(50, () => {
        note(`timeout: ${storage.getStore()}`);
        res.end('x');
      });
    });
  },
  'see-context-leave': (req, res, note) => {
    storage.run('mine', () => {
      const where = (name) => note(`${name}: ${storage.getStore()}`);
      req.on('close', () => where('req close'));
      req.on('error', () => where('req error'));
      res.on('close', () => where('res close'));
      if (req.headers['x-half'] !== undefined) res.write('x');
    });
  },
  'see-context-destroy': (_req, res, note) => closes(res, note, () => setImmediate(() => res.destroy())),
  'see-context-close-request': (req, res, note) => {
    storage.run('mine', () => {
      req.on('close', () => note(`req close: ${storage.getStore()}`));
      res.end('x');
    });
  },
  // What a listener leaves behind, others do not find.
  'see-context-close-enters': (_req, res, note) => {
    note(`before: ${entered.getStore()}`);
    res.on('close', () => {
      note(`res close: ${entered.getStore()}`);
      entered.enterWith('mine');
    });
    res.end('x');
  },
  'see-context-await': (req, res, note) =>
    storage.run('mine', async () => {
      for await (const _ of req) note(`chunk: ${storage.getStore()}`);
      await new Promise((resolve) => setImmediate(resolve));
      note(`after: ${storage.getStore()}`);
      res.end('x');
    }),
  // Without a scope of its own: what other clients have put there must not be seen.
  'see-context-entered': (req, res, note) => {
    const where = (name) => note(`${name}: ${entered.getStore()}`);
    where('before');
    note(`in a context: ${executionAsyncId() > 0}`);
    entered.enterWith('mine');
    req.on('data', () => where('data'));
    req.on('end', () => {
      where('end');
      res.end('x', () => where('end callback'));
    });
    res.on('finish', () => where('finish'));
    res.on('close', () => where('res close'));
    setImmediate(() => where('immediate'));
  },
  'see-headers-changed': (req, res, note) => {
    req.headers['x-added'] = 'a';
    req.headers.host = 'changed';
    req.url = '/changed';
    req.method = 'CHANGED';
    note(JSON.stringify([req.headers['x-added'], req.headers.host, req.url, req.method, req.rawHeaders.length]));
    req.headers = { only: 'this' };
    note(JSON.stringify(req.headers));
    res.end('x');
  },
};
