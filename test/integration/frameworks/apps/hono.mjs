// Hono, by its fetch and by the (req, res) listener that @hono/node-server makes of it.
import { getRequestListener } from '@hono/node-server';
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { getCookie, getSignedCookie, setCookie, setSignedCookie } from 'hono/cookie';
import { cors } from 'hono/cors';
import { etag } from 'hono/etag';
import { HTTPException } from 'hono/http-exception';
import { stream, streamSSE, streamText } from 'hono/streaming';
import { validator } from 'hono/validator';
import { noter, opened } from './notes.mjs';

export const direct = (folder) => make(folder);
export const listener = (folder) => getRequestListener(make(folder).fetch);

function make(folder) {
  const note = noter(folder);
  const app = new Hono();

  app.get('/', (c) => c.text('hello'));
  app.get('/users/:id{[0-9]+}', (c) => c.json({ id: Number(c.req.param('id')), tags: c.req.queries('tag') ?? [] }));
  app.get('/html', (c) => c.html('<p>hi</p>', 201, { 'X-A': 'a' }));
  app.get('/empty', (c) => c.body(null, 204));
  app.get('/redirect', (c) => c.redirect('/html', 301));
  app.get('/headers', (c) => {
    c.header('X-Many', 'one');
    c.header('X-Many', 'two', { append: true });
    return c.json({ agent: c.req.header('user-agent'), url: c.req.url, method: c.req.method });
  });

  const api = new Hono().basePath('/api');
  api.use(cors({ origin: 'https://example.org' }), async (c, next) => {
    await next();
    c.res.headers.append('X-After', String(c.res.status));
  });
  api.get('/thing', etag(), (c) => c.text('thing'));
  app.route('/', api);

  app.post(
    '/validated',
    validator('json', (value, c) => (Number.isInteger(value.n) ? { n: value.n } : c.json({ error: 'n' }, 422))),
    (c) => c.json({ twice: c.req.valid('json').n * 2 }),
  );
  app.post('/form', async (c) => {
    const { file, ...fields } = await c.req.parseBody();
    return c.json({ fields, name: file.name, size: file.size, text: await file.text() });
  });
  app.post('/limited', bodyLimit({ maxSize: 1000 }), async (c) => c.text(String((await c.req.text()).length)));
  app.post('/bytes', async (c) => c.body(await c.req.arrayBuffer()));
  app.post('/echo', (c) => c.body(c.req.raw.body, { headers: { 'content-type': 'x/y' } }));

  app.get('/cookies', async (c) => {
    setCookie(c, 'a', '1', { httpOnly: true });
    setCookie(c, 'b', 'zwei', { maxAge: 60, path: '/' });
    await setSignedCookie(c, 's', 'value', 'secret');
    return c.json({ plain: getCookie(c), signed: (await getSignedCookie(c, 'secret', 's')) ?? null });
  });

  app.get('/sse', (c) =>
    streamSSE(c, async (sse) => {
      sse.onAbort(() => note('sse aborted'));
      for (let id = 1; id <= 3; id++) {
        await opened(folder, `event-${id}`, c.req.raw.signal);
        await sse.writeSSE({ id: String(id), event: 'tick', data: `line ${id}\nmore` });
      }
    }),
  );
  app.get('/text', (c) =>
    streamText(c, async (text) => {
      await text.writeln('one');
      await text.writeln('two');
    }),
  );
  app.get('/hang', (c) =>
    stream(c, async (out) => {
      out.onAbort(() => note('stream aborted'));
      await out.write('some');
      await new Promise(() => {});
    }),
  );
  app.get('/large', (c) => {
    let left = 64;
    const body = new ReadableStream({
      pull(controller) {
        if (left-- > 0) controller.enqueue(new Uint8Array(64 * 1024).fill(left));
        else controller.close();
      },
    });
    return c.body(body);
  });

  app.get('/refuse', () => {
    throw new HTTPException(401, {
      message: 'who?',
      res: new Response('who?', { status: 401, headers: { 'x-why': 'w' } }),
    });
  });
  app.get('/bug', async () => {
    await null;
    throw new Error('a bug');
  });
  app.onError((error, c) => {
    note(`error ${c.req.path} ${error.message}`);
    return error instanceof HTTPException ? error.getResponse() : c.json({ error: error.message }, 500);
  });
  app.notFound((c) => c.json({ none: c.req.path }, 404));
  return app;
}
