/** The echo app, and one big response whose bytes all requests share. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import echo from './echo.js';

const BIG = Buffer.alloc(64 * 1024 * 1024, 'b');

export default function slow(req: IncomingMessage, res: ServerResponse): void | Promise<void> {
  if (req.url === '/big') return void res.end(BIG);
  return echo(req, res);
}
