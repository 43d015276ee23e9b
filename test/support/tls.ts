/** Certificates for tests (made once, by openssl, for 100 years), and a client of each protocol. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { type RequestOptions, request } from 'node:https';
import { fileURLToPath } from 'node:url';

/** Path of a file of test/certs. */
export const certPath = (name: string): string =>
  fileURLToPath(new URL(`../../../test/certs/${name}`, import.meta.url));
export const pem = (name: string): string => readFileSync(certPath(name), 'latin1');
export const CA = pem('ca.pem');
export const CERT_ARGS = ['--certfile', certPath('server.pem'), '--keyfile', certPath('server.key')];

export interface TlsAnswer {
  status: number;
  headers: Record<string, unknown>;
  body: string;
  /** Of the connection. */
  reused: boolean;
}

/** One request by https, with an end to waiting. */
export function askTls(
  port: number,
  path: string,
  options: RequestOptions & { body?: string } = {},
): Promise<TlsAnswer> {
  return new Promise((resolve, reject) => {
    const { body, ...rest } = options;
    const req = request({ host: 'localhost', port, path, ca: CA, timeout: 15_000, family: 4, ...rest }, async (res) => {
      let text = '';
      try {
        for await (const chunk of res) text += chunk;
        resolve({ status: res.statusCode ?? 0, headers: res.headers, body: text, reused: req.reusedSocket });
      } catch (error) {
        reject(error);
      }
    });
    req.on('timeout', () => req.destroy(new Error(`no answer to ${path}`)));
    req.on('error', reject);
    req.end(body);
  });
}

export interface StreamAnswer {
  headers: Record<string, unknown>;
  /** Interim responses. */
  interim: Array<Record<string, unknown>>;
  trailers: Record<string, unknown> | null;
  body: Buffer;
}

/** A session that is ready. */
export async function openSession(port: number): Promise<ClientHttp2Session> {
  const session = connectHttp2(`https://localhost:${port}`, { ca: CA, family: 4 } as object);
  session.on('error', () => {});
  await once(session, 'remoteSettings');
  return session;
}

/** The answer to a stream. Rejects where it is reset. */
export async function answerOf(stream: ClientHttp2Stream): Promise<StreamAnswer> {
  const answer: StreamAnswer = { headers: {}, interim: [], trailers: null, body: Buffer.alloc(0) };
  stream.setTimeout(15_000, () => stream.destroy(new Error('no answer')));
  stream.on('headers', (headers) => answer.interim.push(headers));
  stream.on('trailers', (headers) => (answer.trailers = headers));
  stream.on('response', (headers) => (answer.headers = headers));
  const parts: Buffer[] = [];
  for await (const chunk of stream) parts.push(chunk);
  answer.body = Buffer.concat(parts);
  if (stream.rstCode !== 0) throw new Error(`reset with ${stream.rstCode}`);
  return answer;
}

/** One request of HTTP/2 in a session. */
export function askStream(
  session: ClientHttp2Session,
  path: string,
  headers: OutgoingHttpHeaders = {},
  body?: Buffer,
): Promise<StreamAnswer> {
  const stream = session.request({ ':path': path, ...headers }, { endStream: body === undefined });
  const answer = answerOf(stream);
  if (body !== undefined) stream.end(body);
  return answer;
}
