/** (req, res): a file piped and a buffer ended, for readers that are slow, and something light beside. PATTERN_FILE names the file. */
import { createReadStream, readFileSync, statSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream';

const FILE = process.env.PATTERN_FILE!;
const whole = readFileSync(FILE);

export default function app(req: IncomingMessage, res: ServerResponse): void {
  if (req.url === '/pipe') {
    res.setHeader('Content-Length', statSync(FILE).size);
    // pipe() alone would leave the file open when a client leaves, here as in node:http.
    pipeline(createReadStream(FILE), res, () => {});
  } else if (req.url === '/buffer') res.end(whole);
  else res.end('light');
}
