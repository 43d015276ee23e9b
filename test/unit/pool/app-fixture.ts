/** The app of the pool's tests: its URL says what the handler does to its thread. */
import type { IncomingMessage, ServerResponse } from 'node:http';

export default function handler(req: IncomingMessage, res: ServerResponse): void {
  if (req.url === '/exit') process.exit(7);
  if (req.url === '/spin') {
    res.flushHeaders();
    while (true);
  }
  if (req.url === '/spin-silently') while (true);
  if (req.url === '/slow') setTimeout(() => res.end('slow'), 200);
  else if (req.url === '/never') return;
  else res.end(`hello ${req.url}`);
}
