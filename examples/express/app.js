// A small Express 5 app. Nothing in it knows about tunicorn: the last line exports the app instead of listening.
import { randomUUID } from 'node:crypto';
import express from 'express';

const app = express();
app.disable('x-powered-by');

// Every response says which request it answers.
app.use((req, res, next) => {
  req.id = req.get('x-request-id') ?? randomUUID();
  res.set('X-Request-Id', req.id);
  next();
});

app.get('/', (_req, res) => {
  res.type('text/plain').send('Hello, World!\n');
});

// Echoes JSON, up to 1 MB of it.
app.post('/json', express.json({ limit: '1mb' }), (req, res) => {
  res.json(req.body);
});

// Burns a CPU for ?ms= milliseconds, at most ten seconds: what would freeze a single-threaded server.
app.get('/cpu', (req, res) => {
  const ms = Number(req.query.ms ?? 50);
  if (!(ms >= 0 && ms <= 10_000)) {
    res.status(400).json({ error: 'ms must be a number from 0 to 10000' });
    return;
  }
  const end = performance.now() + ms;
  let rounds = 0;
  while (performance.now() < end) rounds++;
  res.json({ ms, rounds });
});

// Express 5 passes on what an async handler throws.
app.get('/error', async () => {
  throw new Error('This route always fails');
});

app.use((_req, res) => {
  res.status(404).json({ error: 'Not found' });
});

app.use((err, req, res, next) => {
  if (res.headersSent) {
    next(err);
    return;
  }
  const status = err.status ?? 500;
  if (status >= 500) console.error(`${req.method} ${req.originalUrl} (${req.id}):`, err);
  res.status(status).json({ error: status < 500 ? err.message : 'Internal error', requestId: req.id });
});

export default app;
