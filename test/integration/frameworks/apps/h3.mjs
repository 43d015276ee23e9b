// h3, by its fetch and as a (req, res) listener.
import {
  createEventStream,
  deleteCookie,
  getCookie,
  getQuery,
  getRequestIP,
  H3,
  HTTPError,
  onError,
  onResponse,
  readBody,
  readFormDataBody,
  readValidatedBody,
  redirect,
  setCookie,
  toNodeHandler,
} from 'h3';
import { noter, opened } from './notes.mjs';

export const direct = (folder) => make(folder);
export const listener = (folder) => toNodeHandler(make(folder));

function make(folder) {
  const note = noter(folder);
  const app = new H3({ silent: true });
  app.use(onError((error, event) => note(`error ${event.url.pathname} ${error.message}`)));
  app.use(
    '/timed/**',
    onResponse((response, event) => {
      note(`response ${event.url.pathname} ${response.status}`);
    }),
  );
  app.use(async (event, next) => {
    event.res.headers.set('x-middleware', 'was here');
    return next();
  });

  app.get('/', () => 'hello');
  app.get('/users/:id', (event) => ({ id: event.context.params.id, query: getQuery(event) }));
  app.get('/timed/thing', (event) => {
    event.res.status = 203;
    return { timed: true };
  });
  app.get('/ip', (event) => ({ ip: getRequestIP(event) ?? null }));
  app.get('/null', () => null);
  app.get('/bytes', () => new Uint8Array([1, 2, 3]));
  app.get('/response', () => new Response('made', { status: 201, headers: { 'x-made': 'yes' } }));
  app.get('/redirect', () => redirect('/users/1'));

  app.post('/json', async (event) => ({ got: await readBody(event) }));
  app.post('/valid', async (event) => readValidatedBody(event, (body) => Number.isInteger(body?.n)));
  app.post('/form', async (event) => {
    const form = await readFormDataBody(event);
    const file = form.get('file');
    return { title: form.get('title'), name: file.name, text: await file.text() };
  });
  app.post('/size', async (event) => ({ size: (await event.req.arrayBuffer()).byteLength }));
  app.post('/echo', (event) => event.req.body);

  app.get('/cookies', (event) => {
    setCookie(event, 'a', '1', { httpOnly: true });
    setCookie(event, 'b', '2');
    deleteCookie(event, 'old');
    return { a: getCookie(event, 'a') ?? null };
  });

  app.get('/stream', () => {
    const pieces = ['one ', 'two ', 'three'];
    return new ReadableStream({
      async pull(controller) {
        const piece = pieces.shift();
        if (piece === undefined) return controller.close();
        await opened(folder, piece.trim());
        controller.enqueue(new TextEncoder().encode(piece));
      },
    });
  });
  app.get('/hang', () => {
    return new ReadableStream({
      start: (controller) => controller.enqueue(new TextEncoder().encode('some')),
      cancel: () => note('stream cancelled'),
    });
  });
  app.get('/sse', (event) => {
    const events = createEventStream(event);
    events.push('first').then(async () => {
      await events.push({ id: '2', event: 'tick', data: 'second' });
      await events.close();
    });
    return events.send();
  });

  app.get('/teapot', () => {
    throw new HTTPError({ status: 418, message: 'short', data: { stout: true } });
  });
  app.get('/bug', async () => {
    await null;
    throw new Error('a bug');
  });
  return app;
}
