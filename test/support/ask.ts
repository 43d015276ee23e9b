/** One request with Node's own client, timed. */
import assert from 'node:assert/strict';
import { type Agent, get, type RequestOptions } from 'node:http';

export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: string;
  ms: number;
  /** Set where the connection ended instead. */
  error?: string;
}

/** Never rejects; without `agent` the request has a connection of its own. */
export function ask(port: number, path: string, options: RequestOptions & { agent?: Agent } = {}): Promise<Answer> {
  const begun = performance.now();
  return new Promise((resolve) => {
    const answer: Answer = { status: 0, headers: {}, body: '', ms: 0 };
    const done = (error?: Error) => {
      answer.ms = performance.now() - begun;
      if (error) answer.error = `${(error as NodeJS.ErrnoException).code ?? ''} ${error.message}`;
      resolve(answer);
    };
    const req = get({ host: '127.0.0.1', port, path, agent: false, ...options }, (res) => {
      answer.status = res.statusCode!;
      answer.headers = res.headers;
      res.setEncoding('latin1').on('data', (piece) => (answer.body += piece));
      res.on('end', () => done());
      res.on('error', done);
    });
    req.on('error', done);
  });
}

/** The JSON that GET / is answered with. @throws where the status is not 200. */
export async function askJson(port: number) {
  const { status, body, error } = await ask(port, '/');
  assert.equal(status, 200, error);
  return JSON.parse(body);
}
