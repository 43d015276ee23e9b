/** Answers with its own number in one of several ways, and goes on for a moment behind that. */
import type { IncomingMessage, ServerResponse } from 'node:http';

function busy(us: number): void {
  for (const end = performance.now() + us / 1000; performance.now() < end; );
}

export default function handler(req: IncomingMessage, res: ServerResponse): void {
  const [, id, way, us] = req.url!.split('/');
  const act = (): void => {
    if (way === 'chunks') {
      res.write(id.slice(0, 1));
      res.write(id.slice(1, 2));
      res.end(id.slice(2));
    } else if (way === 'length') {
      res.setHeader('Content-Length', id.length);
      res.write(id);
      res.end();
    } else res.end(id);
    busy(Number(us));
  };
  if (way === 'later') setImmediate(act);
  else if (way === 'body') {
    const parts: Buffer[] = [];
    req.on('data', (part) => parts.push(part));
    req.on('end', act);
  } else act();
}
