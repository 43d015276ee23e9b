/**
 * node:http as require() gives it. An `import` of it looks at each of its exports, and since Node 22.5 one of them is the platform's
 * WebSocket, behind which stands all of fetch: 50 ms for each thread, whether its app ever looks at fetch or not.
 */
import type * as Http from 'node:http';
import { createRequire } from 'node:module';

const http = createRequire(import.meta.url)('node:http') as typeof Http;

export const {
  createServer,
  IncomingMessage,
  request,
  STATUS_CODES,
  Server,
  ServerResponse,
  validateHeaderName,
  validateHeaderValue,
} = http;
export type ClientRequest = Http.ClientRequest;
export type IncomingMessage = Http.IncomingMessage;
export type Server = Http.Server;
export type ServerResponse = Http.ServerResponse;

/**
 * A response to look at, of a class of its own: the first few ServerResponses of a thread tell V8 how much room one needs, and bare ones
 * tell it wrong (Fastify's hello: up to a third fewer requests/s).
 */
export class BareResponse extends http.ServerResponse {
  constructor() {
    super({ method: 'GET' } as Http.IncomingMessage);
  }
}

const bare = new BareResponse();

/** The symbol under which Node keeps something of a response; undefined in Nodes that do not. */
export function responseSymbol(description: string): symbol | undefined {
  return symbolOf(bare, description);
}

/** The symbol under which Node keeps something of an object of these; undefined in Nodes that do not. */
export function symbolOf(object: object, description: string): symbol | undefined {
  return Object.getOwnPropertySymbols(object).find((symbol) => symbol.description === description);
}
