/**
 * Sends generated cases to a server and compares what comes back with the independent reading (framing.ts): as many
 * responses as there are requests, in their order, each with the digest of its own request; then a refusal with the right
 * status and the end, or just the end. A case that fails is cut down to a small one.
 */
import { connect, type Socket } from 'node:net';
import { Random } from '../support/random.js';
import { type Response, ResponseParser } from '../support/response-parser.js';
import { digest } from './app.js';
import { type Reading, readRequests } from './framing.js';
import { type Case, generate } from './generate.js';

/** A case may take so long, ms. */
const CASE_MS = 15_000;
/** Tries for cutting down a case that fails. */
const MAX_TRIES = 400;

export interface Target {
  port: number;
  /** False: the server ends each connection after one response. */
  keepAlive: boolean;
}

export interface Counts {
  cases: number;
  requests: number;
  refused: number;
  incomplete: number;
}

/** A case that went wrong. */
export class Finding extends Error {}

interface Outcome {
  responses: Response[];
  error: string;
}

/** Writes a case, each piece in a turn of its own, and ends the client's side. */
export function sendCase(socket: Socket, { text, cuts }: Case): void {
  const ends = [...cuts, text.length];
  let from = 0;
  const next = () => {
    const to = ends.shift();
    if (to === undefined) return void socket.end();
    const piece = Buffer.from(text.slice(from, to), 'latin1');
    from = to;
    socket.write(piece, () => setImmediate(next));
  };
  next();
}

/** Sends one case and takes what comes until the server closes. */
function exchange(port: number, one: Case, heads: boolean[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const responses: Response[] = [];
    let error = '';
    let final = 0;
    const parser = new ResponseParser(
      () => true,
      () => heads[final] === true,
    );
    const socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
    socket.setTimeout(CASE_MS, () => {
      error ||= `no end within ${CASE_MS} ms`;
      socket.destroy();
    });
    socket.on('data', (chunk) => {
      try {
        parser.push(chunk, (response) => {
          if (response.status < 200) return;
          final++;
          responses.push(response);
        });
      } catch (cause) {
        error ||= `unreadable: ${(cause as Error).message}`;
        socket.destroy();
      }
    });
    socket.on('end', () => {
      const last = parser.eof();
      if (last !== null) responses.push(last);
      if (parser.partial) error ||= 'part of a response';
      socket.destroy();
    });
    socket.on('error', (cause) => (error ||= cause.message));
    socket.on('close', () => resolve({ responses, error }));
    sendCase(socket, one);
  });
}

/** What is wrong with an outcome, '' = nothing. */
function judge(reading: Reading, { responses, error }: Outcome): string {
  const { messages, end, statuses } = reading;
  // A server that has ended a connection may reset it where the client goes on sending; the responses must be there.
  const late =
    end === 'last' && /^(?:read|write) (?:ECONNRESET|EPIPE)$/.test(error) && responses.length === messages.length;
  if (error !== '' && !late) return error;
  for (let i = 0; i < messages.length; i++) {
    const { method, target, fields, body, trailers } = messages[i];
    const response = responses[i];
    if (response === undefined) return `request ${i + 1} of ${messages.length} has no response`;
    if (response.status !== 200) return `request ${i + 1} is answered ${response.status}: ${response.body}`;
    if (response.headers.get('x-digest') !== digest(method, target, fields, body, trailers)) {
      return `request ${i + 1} was read differently: ${response.body}`;
    }
  }
  const rest = responses.slice(messages.length);
  if (rest.length > 1) return `${rest.length - 1} responses too many`;
  if (rest.length === 0) return end === 'refused' ? 'not refused' : '';
  const [{ status, close, body }] = rest;
  if (end === 'clean' || end === 'last') return `a response to nothing: ${status} ${body}`;
  if (!close) return `${status} does not end the connection`;
  if (end === 'incomplete' ? status < 400 || status > 505 : !statuses.has(status))
    return `refused by ${status} ${body}`;
  return '';
}

/** Bytes for people: long runs of one are counted. */
export function show(text: string): string {
  return JSON.stringify(text).replace(/([^\\])\1{29,}/g, (run, one) => `${one}{${run.length}}`);
}

/** Sends one case and says what is wrong with the outcome, '' = nothing. */
export async function tryCase(target: Target, one: Case): Promise<{ wrong: string; reading: Reading }> {
  const reading = readRequests(one.text, target.keepAlive);
  const heads = [...reading.messages.map(({ method }) => method === 'HEAD'), reading.head];
  return { wrong: judge(reading, await exchange(target.port, one, heads)), reading };
}

/** The smallest case that still goes wrong, by leaving out pieces. */
async function shrink(target: Target, found: Case, wrong: string): Promise<Case> {
  let best = found;
  let tries = 0;
  // In the same way: one finding must not turn into another one.
  const kind = (text: string) => text.replace(/\d.*/s, '');
  const fails = async (one: Case) => tries++ < MAX_TRIES && kind((await tryCase(target, one)).wrong) === kind(wrong);
  if (best.cuts.length > 0 && (await fails({ text: best.text, cuts: [] }))) best = { text: best.text, cuts: [] };
  for (let size = Math.ceil(best.text.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < best.text.length && tries < MAX_TRIES; ) {
      const text = best.text.slice(0, at) + best.text.slice(at + size);
      const cuts = best.cuts.map((cut) => (cut > at ? Math.max(at, cut - size) : cut));
      if (await fails({ text, cuts })) best = { text, cuts };
      else at += size;
    }
  }
  return best;
}

/**
 * Hunts for `ms` with `clients` connections at a time. Cases are numbered; each has a generator of its own, made of the
 * seed and its number, so that one can be had again.
 * @throws {Finding} with the reproduction, at the first case that goes wrong.
 */
export async function hunt(target: Target, seed: number, ms: number, clients: number, counts: Counts): Promise<void> {
  const end = performance.now() + ms;
  let stopped = false;
  const client = async () => {
    while (!stopped && performance.now() < end) {
      const number = counts.cases++;
      const one = generate(new Random(seed + Math.imul(number, 0x9e3779b1)));
      const { wrong, reading } = await tryCase(target, one);
      counts.requests += reading.messages.length;
      if (reading.end === 'refused') counts.refused++;
      if (reading.end === 'incomplete') counts.incomplete++;
      if (wrong === '' || stopped) continue;
      stopped = true;
      const small = await shrink(target, one, wrong);
      const again = await tryCase(target, small);
      throw new Finding(
        `seed ${seed}, case ${number}: ${wrong}\n` +
          `  sent:    ${show(one.text)} cut at [${one.cuts}]\n` +
          `  reading: ${reading.messages.length} requests, then ${reading.end} ${reading.why} [${[...reading.statuses]}]\n` +
          `  smaller: ${show(small.text)} cut at [${small.cuts}]: ${again.wrong || 'passes now'}\n` +
          `  reading: ${again.reading.messages.length} requests, then ${again.reading.end} ${again.reading.why}`,
      );
    }
  };
  const results = await Promise.allSettled(Array.from({ length: clients }, client));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}
