// Express 5's hello world, as it comes: etag and x-powered-by are on.
import express from 'express';

const app = express();
app.get('/', (_req, res) => {
  res.send('Hello, world!');
});

export default app;
