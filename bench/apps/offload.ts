/** node:http with the heavy route moved into piscina by hand: what one does today for the sake of the light ones. */
import { createServer } from 'node:http';
import { Piscina } from 'piscina';
import handler, { send } from './handler.js';

const threads = Number(process.env.BENCH_THREADS ?? 2);
const pool = new Piscina<undefined, string>({
  filename: new URL('./heavy-task.js', import.meta.url).href,
  minThreads: threads,
  maxThreads: threads,
});

createServer((req, res) => {
  if (req.url !== '/heavy') return handler(req, res);
  pool.run(undefined).then(
    (digest) => send(res, 'text/plain', digest),
    (error) => {
      console.error(error);
      res.writeHead(500).end();
    },
  );
}).listen(Number(process.env.PORT), '127.0.0.1', 511);
