/** The echo app, each of whose requests leaves 64 KB behind for good. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import echo from './echo.js';

const left: Buffer[] = [];

export default function leak(req: IncomingMessage, res: ServerResponse): void | Promise<void> {
  left.push(Buffer.alloc(65_536, 1));
  return echo(req, res);
}
