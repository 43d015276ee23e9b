// A Hono app is an object with fetch(Request): tunicorn calls it directly, without Node's req and res between.
import { Hono } from 'hono';
import { streamSSE } from 'hono/streaming';
import { validator } from 'hono/validator';

const app = new Hono();

const named = validator('json', (value, c) =>
  typeof value?.name === 'string' ? { name: value.name } : c.json({ error: 'name is missing' }, 400),
);

app.get('/', (c) => c.text('Hello, World!\n'));

app.post('/json', named, (c) => c.json(c.req.valid('json')));

// Three server-sent events, each of which leaves as it is written.
app.get('/events', (c) =>
  streamSSE(c, async (stream) => {
    for (let id = 1; id <= 3 && !stream.aborted; id++) {
      await stream.writeSSE({ id: String(id), event: 'tick', data: new Date().toISOString() });
      await stream.sleep(200);
    }
  }),
);

app.onError((error, c) => {
  console.error(error);
  return c.json({ error: 'Internal error' }, 500);
});

export default app;
