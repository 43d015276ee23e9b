/** The app of the hunting tests: reads the whole request and answers with a digest of what it saw. */
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';

/** Of all that a server can get wrong about a request. Strings have a character for each byte. */
export function digest(method: string, target: string, fields: string[], body: string, trailers: string[]): string {
  return createHash('sha1')
    .update(JSON.stringify([method, target, fields, body, trailers]))
    .digest('hex');
}

export default async function app(req: IncomingMessage, res: ServerResponse): Promise<void> {
  const pieces: Buffer[] = [];
  try {
    for await (const piece of req) pieces.push(piece as Buffer);
  } catch {
    // The request was refused in its middle, or its client left.
    return;
  }
  const body = Buffer.concat(pieces).toString('latin1');
  res.setHeader('X-Digest', digest(req.method!, req.url!, req.rawHeaders, body, req.rawTrailers));
  const front = req.headers['x-front'];
  if (typeof front === 'string') res.setHeader('X-Seen-Front', front);
  const text = `${req.method} ${body.length}\n`;
  // Node ends an HTTP/1.0 connection whose response does not say it.
  res.setHeader('Content-Length', text.length);
  res.end(text);
}
