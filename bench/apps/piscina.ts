/** node:http with one piscina task for every request: threads as one adds them by hand today. */
import { createServer } from 'node:http';
import { Piscina } from 'piscina';
import type { Answer, Job } from './piscina-task.js';

const threads = Number(process.env.BENCH_THREADS ?? 2);
const pool = new Piscina<Job, Answer>({
  filename: new URL('./piscina-task.js', import.meta.url).href,
  minThreads: threads,
  maxThreads: threads,
});

createServer(async (req, res) => {
  try {
    const job: Job = { url: req.url ?? '/' };
    if (req.method === 'POST') {
      const chunks: Buffer[] = [];
      for await (const chunk of req) chunks.push(chunk as Buffer);
      job.body = Buffer.concat(chunks).toString();
    }
    const answer = await pool.run(job);
    res.writeHead(answer.status, { 'content-type': answer.type, 'content-length': Buffer.byteLength(answer.body) });
    res.end(answer.body);
  } catch (error) {
    console.error(error);
    res.writeHead(500).end();
  }
}).listen(Number(process.env.PORT), '127.0.0.1', 511);
