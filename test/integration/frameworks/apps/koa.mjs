// Koa 3: bodies, streams, cookies, errors by throw and by event.
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { bodyParser } from '@koa/bodyparser';
import Koa from 'koa';
import { noter } from './notes.mjs';

export function build(folder) {
  const note = noter(folder);
  const app = new Koa({ keys: ['one', 'two'], proxy: true });
  app.on('error', (error, ctx) => note(`error ${ctx?.path} ${error.message}`));

  app.use(async (ctx, next) => {
    const begun = performance.now();
    await next();
    ctx.set('X-Response-Time', `${Math.ceil(performance.now() - begun)}ms`);
  });
  app.use(bodyParser({ jsonLimit: '1kb' }));

  const routes = {
    '/': (ctx) => (ctx.body = 'hello'),
    '/json': (ctx) => (ctx.body = { got: ctx.request.body, type: ctx.request.type }),
    '/file': (ctx) => {
      ctx.type = 'bin';
      ctx.body = createReadStream(join(folder, 'large.bin'));
    },
    '/buffer': (ctx) => (ctx.body = Buffer.from('bytes')),
    '/empty': (ctx) => (ctx.body = null),
    '/web': (ctx) => (ctx.body = new Response('from the web', { headers: { 'x-web': '1' } })),
    // What comes in goes out, piece by piece.
    '/echo': (ctx) => (ctx.body = ctx.req.pipe(new PassThrough())),
    '/broken': (ctx) => {
      let reads = 0;
      ctx.body = new Readable({
        read() {
          if (reads++ === 0) this.push('some');
          else setImmediate(() => this.destroy(new Error('broken stream')));
        },
      });
    },
    '/throw': (ctx) => ctx.throw(418, 'short and stout', { headers: { 'x-pot': 'tea' } }),
    '/bug': async () => {
      await null;
      throw new Error('a bug');
    },
    '/assert': (ctx) => ctx.assert(ctx.query.user, 401, 'who are you?'),
    '/cookies': (ctx) => {
      const before = { plain: ctx.cookies.get('plain'), signed: ctx.cookies.get('signed', { signed: true }) };
      ctx.cookies.set('plain', 'a', { signed: false, httpOnly: false });
      ctx.cookies.set('signed', 'b', { maxAge: 60_000 });
      ctx.body = before;
    },
    '/who': (ctx) =>
      (ctx.body = { ip: ctx.ip, ips: ctx.ips, protocol: ctx.protocol, host: ctx.host, fresh: ctx.fresh }),
    '/fresh': (ctx) => {
      ctx.status = 200;
      ctx.etag = 'tag';
      ctx.body = 'content';
      if (ctx.fresh) ctx.status = 304;
    },
    '/raw': (ctx) => {
      ctx.respond = false;
      ctx.res.writeHead(200, { 'content-type': 'text/plain' });
      ctx.res.end('raw');
    },
    '/redirect': (ctx) => ctx.redirect('/who'),
    '/hang': (ctx) => {
      const body = new PassThrough();
      body.on('close', () => note('stream closed'));
      ctx.res.on('close', () => note(`response closed, finished: ${ctx.res.writableFinished}`));
      body.write('some');
      ctx.body = body;
    },
  };
  app.use((ctx) => routes[ctx.path]?.(ctx));
  return app;
}
