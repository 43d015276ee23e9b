// Handlers that read a request's body in every way, or do not. Each gets bodies in several forms: see bodies.ts. What is noted
// must not depend on how the bytes were cut.
import { finished, PassThrough, pipeline, Transform, Writable } from 'node:stream';
import { pipeline as pipelineAsync } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';

const upper = () =>
  new Transform({ transform: (chunk, _encoding, done) => done(null, chunk.toString('latin1').toUpperCase()) });

export const bodies = {
  'body-data': (req, res, note) => {
    let length = 0;
    req.on('data', (chunk) => (length += chunk.length));
    req.on('end', () => {
      note.state('reading ended');
      res.end(String(length));
    });
  },
  'body-string': (req, res) => {
    let text = '';
    req.setEncoding('utf8');
    req.on('data', (chunk) => (text += chunk));
    req.on('end', () => res.end(`${typeof text} ${text.length}`));
  },
  'body-readable': (req, res, note) => {
    let length = 0;
    req.on('readable', () => {
      for (let chunk = req.read(); chunk !== null; chunk = req.read()) length += chunk.length;
    });
    req.on('end', () => {
      note.state('reading ended');
      res.end(String(length));
    });
  },
  'body-iterate': async (req, res, note) => {
    let length = 0;
    for await (const chunk of req) length += chunk.length;
    note.state('reading ended');
    res.end(String(length));
  },
  'body-iterate-late': async (req, res, note) => {
    await sleep(5);
    let length = 0;
    for await (const chunk of req) length += chunk.length;
    note.state('reading ended');
    res.end(String(length));
  },
  'body-async-break': async (req, res, note) => {
    for await (const chunk of req.iterator({ destroyOnReturn: false })) {
      note(`first ${chunk.length > 0}`);
      break;
    }
    res.end('enough');
  },
  'body-pipe': (req, res) => req.pipe(res),
  'body-pipe-through': (req, res) => req.pipe(new PassThrough()).pipe(res),
  'body-pipe-length': (req, res) => {
    if (req.headers['content-length']) res.setHeader('Content-Length', req.headers['content-length']);
    req.pipe(res);
  },
  'body-pipeline': (req, res, note) => {
    pipeline(req, upper(), res, (error) => note.state(`pipeline ${error?.code}`));
  },
  'body-pipeline-await': async (req, res, note) => {
    let length = 0;
    await pipelineAsync(
      req,
      new Writable({
        write(chunk, _encoding, done) {
          length += chunk.length;
          done();
        },
      }),
    );
    note.state('pipeline done');
    res.end(String(length));
  },
  'body-finished': (req, res, note) => {
    finished(req, (error) => note.state(`req finished ${error?.code}`));
    finished(res, (error) => note.state(`res finished ${error?.code}`));
    req.resume();
    req.on('end', () => res.end('x'));
  },
  'body-unread': (_req, res) => res.end('unread'),
  'body-unread-late': async (_req, res) => {
    await sleep(60);
    res.end('unread');
  },
  'body-unread-close': (_req, res) => res.writeHead(200, { Connection: 'close' }).end('unread'),
  'body-resume': (req, res) => {
    req.resume();
    res.end('resumed');
  },
  'body-resume-then-end': (req, res, note) => {
    req.resume();
    req.on('end', () => {
      note.state('reading ended');
      res.end('x');
    });
  },
  'body-answer-first': (req, res, note) => {
    let length = 0;
    res.end('first');
    req.on('data', (chunk) => (length += chunk.length));
    req.on('end', () => note.state(`read ${length}`));
  },
  'body-pause': (req, res, note) => {
    let length = 0;
    let paused = false;
    req.on('data', (chunk) => {
      length += chunk.length;
      if (paused) return;
      paused = true;
      req.pause();
      note(`paused ${req.isPaused()}`);
      setTimeout(() => req.resume(), 5);
    });
    req.on('end', () => res.end(String(length)));
  },
  'body-read-later': (req, res) => {
    setTimeout(() => {
      let length = 0;
      req.on('data', (chunk) => (length += chunk.length));
      req.on('end', () => res.end(String(length)));
    }, 5);
  },
  'body-fields': (req, res, note) => {
    req.resume();
    req.on('end', () => {
      note(JSON.stringify([req.trailers, req.rawTrailers, req.trailersDistinct, req.complete]));
      res.end('x');
    });
  },
  'body-early-write': (req, res) => {
    res.write('got it. ');
    let length = 0;
    req.on('data', (chunk) => (length += chunk.length));
    req.on('end', () => res.end(String(length)));
  },
  'body-reduce': async (req, res) => {
    const chunks = await req.toArray();
    res.end(String(Buffer.concat(chunks).length));
  },
  'body-unpipe': (req, res) => {
    const sink = new PassThrough();
    sink.resume();
    req.pipe(sink);
    setTimeout(() => {
      req.unpipe(sink);
      req.resume();
      res.end('unpiped');
      // Later than a client sends the body that it is asked for.
    }, 60);
  },
};
