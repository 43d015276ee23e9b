/**
 * What is asked of the servers. A scenario is one request and the response that every server must give to it; it is
 * asserted before, during and after each timed run, on a kept-alive connection, as a fast wrong answer is worth nothing.
 * `dispatch` has no server (dispatch.ts); `mixed` has several clients at once (mixed.ts), and asks for two of them.
 */
import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { echo, HELLO, LARGE } from './apps/work.js';

export interface Scenario {
  name: string;
  title: string;
  method: 'GET' | 'POST';
  path: string;
  body?: string;
  /** The body that must come back. */
  expected: string;
  /** Times the usual warm-up; 1 when left out. A framework is much code, which every thread has to compile for itself. */
  warmup?: number;
}

/** The frameworks' hello worlds; `--scenario frameworks` is all of them. */
export const FRAMEWORKS = ['express', 'fastify', 'hono'] as const;
export const SCENARIO_NAMES = ['hello', 'fetch', ...FRAMEWORKS, 'echo', '64k', 'cpu', 'dispatch', 'mixed'] as const;
export type ScenarioName = (typeof SCENARIO_NAMES)[number];

/** About 10 KB of JSON as an API would send it: strings, numbers, nesting. */
function echoBody(): string {
  const items = [];
  for (let id = 0; id < 80; id++) {
    items.push({ id, name: `item ${id}`, price: id * 1.25, tags: ['a', 'bc', 'def'], note: 'é'.repeat(25), ok: true });
  }
  return JSON.stringify({ items });
}

/** The scenarios that load a server; `cpuDigest` is what the fixed amount of CPU work must give. */
export function loadScenarios(cpuDigest: string): Scenario[] {
  const body = echoBody();
  return [
    { name: 'hello', title: 'hello (req, res)', method: 'GET', path: '/', expected: HELLO },
    { name: 'fetch', title: 'hello (fetch)', method: 'GET', path: '/', expected: HELLO },
    { name: 'express', title: 'Express 5 hello', method: 'GET', path: '/', expected: HELLO, warmup: 4 },
    {
      name: 'fastify',
      title: 'Fastify 5 hello, JSON by a schema',
      method: 'GET',
      path: '/',
      expected: '{"hello":"world"}',
      warmup: 4,
    },
    {
      name: 'hono',
      title: 'Hono hello; node:http by @hono/node-server',
      method: 'GET',
      path: '/',
      expected: HELLO,
      warmup: 4,
    },
    { name: 'echo', title: 'JSON echo, 10 KB', method: 'POST', path: '/echo', body, expected: echo(body) },
    { name: '64k', title: '64 KB response', method: 'GET', path: '/64k', expected: LARGE.toString() },
    { name: 'cpu', title: 'CPU, 5 ms a request', method: 'GET', path: '/cpu', expected: cpuDigest },
  ];
}

interface Reply {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
  reused: boolean;
}

/** One request with node's own client; rejects on socket errors and after `timeoutMs`. */
function ask(scenario: Scenario, port: number, agent: Agent, timeoutMs: number): Promise<Reply> {
  const { method, path, body } = scenario;
  const headers =
    body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  return new Promise((resolve, reject) => {
    const req = httpRequest({ host: '127.0.0.1', port, method, path, headers, agent }, (res) => {
      const chunks: Buffer[] = [];
      res.on('data', (chunk: Buffer) => chunks.push(chunk));
      res.on('error', reject);
      res.on('end', () =>
        resolve({
          status: res.statusCode ?? 0,
          headers: res.headers,
          body: Buffer.concat(chunks).toString(),
          reused: req.reusedSocket,
        }),
      );
    });
    const timer = setTimeout(() => req.destroy(new Error(`no response within ${timeoutMs} ms`)), timeoutMs);
    req.on('close', () => clearTimeout(timer));
    req.on('error', reject);
    req.end(body);
  });
}

/** Throws unless the server answers the scenario's request rightly, twice over one connection. */
export async function assertResponse(scenario: Scenario, port: number): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  try {
    for (const turn of [1, 2]) {
      const reply = await ask(scenario, port, agent, 10_000);
      const length = Buffer.byteLength(scenario.expected);
      if (reply.status !== 200) throw new Error(`status ${reply.status} instead of 200`);
      if (reply.headers['content-length'] !== String(length)) {
        throw new Error(`content-length ${reply.headers['content-length']} instead of ${length}`);
      }
      if (reply.body !== scenario.expected) throw new Error(`wrong body: ${JSON.stringify(reply.body.slice(0, 80))}`);
      if (turn === 2 && !reply.reused) throw new Error('the connection was not kept alive');
      // The agent takes the socket back a tick after 'end'.
      await new Promise(setImmediate);
    }
  } finally {
    agent.destroy();
  }
}

/** The body of one response; rejects on socket errors, a status other than 200, and after 10 s. */
export async function bodyOf(scenario: Scenario, port: number): Promise<string> {
  const agent = new Agent();
  try {
    const { status, body } = await ask(scenario, port, agent, 10_000);
    if (status !== 200) throw new Error(`status ${status} instead of 200`);
    return body;
  } finally {
    agent.destroy();
  }
}

/** True when the server gives any response at all. */
export async function isAnswering(scenario: Scenario, port: number, timeoutMs: number): Promise<boolean> {
  const agent = new Agent();
  try {
    await ask(scenario, port, agent, timeoutMs);
    return true;
  } catch {
    return false;
  } finally {
    agent.destroy();
  }
}
