/** Bun.serve in one process; run by bun, from the same compiled files as the others. */
import hello from './fetch-hello.js';
import { burn, echo, HELLO, heavy, LARGE } from './work.js';

interface BunServe {
  serve(options: { port: number; hostname: string; fetch(request: Request): Response | Promise<Response> }): unknown;
}
const { Bun } = globalThis as unknown as { Bun: BunServe };
const text = { headers: { 'content-type': 'text/plain' } };

async function routed(request: Request): Promise<Response> {
  // The origin is always http://127.0.0.1:PORT, so the path starts at the first slash after it.
  switch (request.url.slice(request.url.indexOf('/', 8))) {
    case '/':
      return new Response(HELLO, text);
    case '/64k':
      return new Response(LARGE, text);
    case '/cpu':
      return new Response(burn(), text);
    case '/heavy':
      return new Response(heavy(), text);
    case '/echo':
      return new Response(echo(await request.text()), { headers: { 'content-type': 'application/json' } });
    default:
      return new Response(null, { status: 404 });
  }
}

Bun.serve({
  port: Number(process.env.PORT),
  hostname: '127.0.0.1',
  fetch: process.env.BENCH_SCENARIO === 'fetch' ? hello.fetch : routed,
});
