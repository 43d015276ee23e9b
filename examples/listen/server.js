// A program as it is started with `node server.js`: it calls listen() itself. `tunicorn server.js` takes its listener over.
import { createServer } from 'node:http';
import express from 'express';

const app = express();
app.disable('x-powered-by');

app.get('/', (_req, res) => {
  res.type('text/plain').send('Hello, World!\n');
});

const server = createServer(app);

server.listen(3000, () => {
  console.log('listening');
});
