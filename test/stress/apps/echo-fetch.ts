/** The echo app of the stress tests as a fetch handler. */
import { openSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { spin } from './echo.js';

const handled = process.env.HANDLED_FETCH ? openSync(process.env.HANDLED_FETCH, 'a') : -1;

function inChunks(body: Uint8Array): ReadableStream<Uint8Array> {
  let i = 0;
  return new ReadableStream({
    async pull(controller) {
      if (Math.random() < 0.1) await new Promise(setImmediate);
      const n = 1 + Math.floor(Math.random() * 8000);
      if (i < body.length) controller.enqueue(body.slice(i, i + n));
      i += n;
      if (i >= body.length) controller.close();
    },
  });
}

export default {
  fetch(request: Request): Response | Promise<Response> {
    const { pathname } = new URL(request.url);
    const [, mode] = pathname.split('/');
    const id = request.headers.get('x-id') ?? '';
    if (handled >= 0) writeSync(handled, `${id}\n`);
    const headers = { 'X-Id': id, 'X-Url': pathname };
    if (mode === 'sync') return new Response(id, { headers });
    if (mode === 'spin' || mode === 'brisk') {
      spin(mode === 'spin' ? 3 : 0.1);
      return new Response(id, { headers });
    }
    if (mode === 'exit') process.exit(1);
    if (mode === 'stream') return new Response(request.body, { headers });
    return answer(request, mode, headers);
  },
};

async function answer(request: Request, mode: string, headers: Record<string, string>): Promise<Response> {
  if (mode === 'timer') await sleep(Math.random() * 5);
  const body = new Uint8Array(await request.arrayBuffer());
  if (mode === 'timer') await sleep(Math.random() * 5);
  if (mode === 'throw') throw new Error('as asked');
  if (mode === 'bomb') {
    await sleep(Math.random() * 20);
    process.exit(1);
  }
  if (mode === 'chunks') return new Response(inChunks(body), { headers });
  return new Response(body, { headers });
}
