/**
 * The echo app of the stress tests as a (req, res) handler. The first part of the path says how to answer, see Mode in
 * support/load-client.ts. HANDLED in the environment names a file to which each request that reached the handler is noted.
 */
import { openSync, writeSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const handled = process.env.HANDLED ? openSync(process.env.HANDLED, 'a') : -1;

export function spin(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end; );
}

async function read(req: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of req) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}

async function inChunks(res: ServerResponse, body: Buffer): Promise<void> {
  for (let i = 0; i < body.length; ) {
    const n = 1 + Math.floor(Math.random() * 8000);
    if (!res.write(body.subarray(i, i + n))) await new Promise((resolve) => res.once('drain', resolve));
    else if (Math.random() < 0.1) await new Promise(setImmediate);
    i += n;
  }
  res.end();
}

export default function echo(req: IncomingMessage, res: ServerResponse): void | Promise<void> {
  const url = req.url!;
  const [, mode, argument] = url.split('/');
  const id = req.headers['x-id'] as string;
  if (handled >= 0) writeSync(handled, `${id}\n`);
  if (id !== undefined) res.setHeader('X-Id', id);
  res.setHeader('X-Url', url);
  switch (mode) {
    case 'sync':
      res.end(id);
      return;
    case 'brisk':
      spin(0.1);
      res.end(id);
      return;
    case 'spin':
      spin(3);
      res.end(id);
      return;
    case 'heavy':
      spin(Number(argument));
      res.end('heavy');
      return;
    case 'wait':
      setTimeout(() => res.end('waited'), Number(argument));
      return;
    case 'pid':
      res.end(`${process.pid}`);
      return;
    case 'exit':
      process.exit(1);
      return;
    case 'stream':
      req.pipe(res);
      return;
    default:
      return answer(req, res, mode);
  }
}

async function answer(req: IncomingMessage, res: ServerResponse, mode: string): Promise<void> {
  if (mode === 'timer') await sleep(Math.random() * 5);
  const body = await read(req);
  if (mode === 'timer') await sleep(Math.random() * 5);
  if (mode === 'late') {
    await sleep(2);
    spin(300);
  }
  if (mode === 'throw') throw new Error('as asked');
  if (mode === 'bomb') {
    await sleep(Math.random() * 20);
    process.exit(1);
  }
  if (mode === 'chunks') return inChunks(res, body);
  if (Math.random() < 0.5) res.setHeader('Content-Length', body.length);
  res.end(body);
}
