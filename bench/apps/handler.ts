/** The (req, res) app of node:http, the cluster and tunicorn: the very same file in all three. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { burn, echo, HELLO, heavy, LARGE } from './work.js';

export function send(res: ServerResponse, type: string, body: string | Buffer): void {
  res.writeHead(200, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
  res.end(body);
}

export default function handler(req: IncomingMessage, res: ServerResponse): void {
  switch (req.url) {
    case '/':
      send(res, 'text/plain', HELLO);
      break;
    case '/64k':
      send(res, 'text/plain', LARGE);
      break;
    case '/cpu':
      send(res, 'text/plain', burn());
      break;
    case '/heavy':
      send(res, 'text/plain', heavy());
      break;
    case '/echo': {
      const chunks: Buffer[] = [];
      req.on('data', (chunk: Buffer) => chunks.push(chunk));
      req.on('end', () => send(res, 'application/json', echo(Buffer.concat(chunks).toString())));
      break;
    }
    default:
      res.writeHead(404).end();
  }
}
