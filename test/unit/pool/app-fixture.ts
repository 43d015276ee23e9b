/**
 * The app of the pool's tests: its URL says what the handler does to its thread. What a thread knows of itself, when it was
 * loaded, stands behind /loaded; /go/FILE ends its responses, /die/FILE its thread, when there is such a file.
 */
import { existsSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';

const loaded = process.hrtime.bigint();

function when(file: string, fn: () => void): void {
  const timer = setInterval(() => {
    if (!existsSync(file)) return;
    clearInterval(timer);
    fn();
  }, 5);
}

export default function handler(req: IncomingMessage, res: ServerResponse): void {
  if (req.url === '/exit') process.exit(7);
  if (req.url === '/spin') {
    res.flushHeaders();
    while (true);
  }
  if (req.url === '/spin-silently') while (true);
  if (req.url === '/loaded') return void res.end(`loaded ${loaded}.`);
  const [, act, file] = /^\/(go|die)(\/.*)$/.exec(req.url!) ?? [];
  if (act === 'go') return when(file, () => res.end('gone'));
  if (act === 'die') return when(file, () => process.exit(7));
  if (req.url === '/slow') setTimeout(() => res.end('slow'), 200);
  else if (req.url === '/never') return;
  else res.end(`hello ${req.url}`);
}
