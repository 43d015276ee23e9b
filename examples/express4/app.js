// Express 4, under the name express4 beside Express 5 (package.json: "express4": "npm:express@4").
import express from 'express4';

const app = express();
const notes = express.Router();

notes.use(express.urlencoded({ extended: false, limit: '10kb' }));

// Nothing is kept: every thread has an `app` of its own, so notes would belong into a database.
notes.post('/', (req, res, next) => {
  const text = String(req.body.text ?? '').trim();
  if (text === '') {
    next(Object.assign(new Error('A note needs a text'), { status: 422 }));
    return;
  }
  res
    .status(201)
    .location(`/notes/${encodeURIComponent(text)}`)
    .json({ text });
});

notes.get('/:text', (req, res) => {
  res.format({
    text: () => res.send(req.params.text),
    json: () => res.json({ text: req.params.text }),
  });
});

app.get('/', (_req, res) => {
  res.type('text/plain').send('Hello, World!\n');
});
app.use('/notes', notes);

app.use((err, _req, res, next) => {
  if (res.headersSent) next(err);
  else res.status(err.status ?? 500).json({ error: err.message });
});

export default app;
