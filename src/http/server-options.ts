/**
 * What createServer() was told about requests and responses: its own classes for them, and what they do with fields. Node's
 * server keeps that on itself, and so does one that is adopted or exported; requests of other apps have Node's defaults.
 */
import type { Socket } from 'node:net';
import { IncomingMessage, type Server, ServerResponse, symbolOf } from '../node-http.js';

interface Parts {
  joinDuplicateHeaders?: boolean;
  rejectNonStandardBodyWrites?: boolean;
  highWaterMark?: number;
}

/** By what names a server has them; asked once, they stay what they are. */
interface Classes {
  server: Server | null;
  Request: typeof IncomingMessage;
  Response: new (req: IncomingMessage, options?: object) => ServerResponse;
  /** Node's symbol for the names of `uniqueHeaders`; undefined where there are none. */
  unique: symbol | undefined;
}

let last: Classes = { server: null, Request: IncomingMessage, Response: ServerResponse, unique: undefined };

/** A thread has one server, or two while another one takes over. */
function classesOf(server: Server): Classes {
  if (last.server === server) return last;
  const own = server as unknown as Record<symbol, unknown>;
  const Request = symbolOf(server, 'IncomingMessage');
  const Response = symbolOf(server, 'ServerResponse');
  const unique = symbolOf(server, 'kUniqueHeaders');
  last = {
    server,
    Request: (Request && (own[Request] as Classes['Request'])) || IncomingMessage,
    Response: (Response && (own[Response] as Classes['Response'])) || ServerResponse,
    unique: unique && own[unique] ? unique : undefined,
  };
  return last;
}

/** A request as Node's server makes it. */
export function newRequest(server: Server | undefined, socket: Socket): IncomingMessage {
  if (server === undefined) return new IncomingMessage(socket);
  const { Request } = classesOf(server);
  const req = new Request(socket);
  (req as Parts).joinDuplicateHeaders = (server as Parts).joinDuplicateHeaders;
  return req;
}

/** A response as Node's server makes it. */
export function newResponse(server: Server | undefined, socket: Socket, req: IncomingMessage): ServerResponse {
  if (server === undefined) return new ServerResponse(req);
  const { Response, unique } = classesOf(server);
  const { rejectNonStandardBodyWrites } = server as Parts;
  const res = new Response(req, { highWaterMark: socket.writableHighWaterMark, rejectNonStandardBodyWrites });
  if (unique !== undefined) {
    const own = server as unknown as Record<symbol, unknown>;
    (res as unknown as Record<symbol, unknown>)[unique] = own[unique];
  }
  return res;
}

/** The high-water mark of its sockets; undefined: Node's. */
export function markOf(server: Server | undefined): number | undefined {
  return (server as Parts | undefined)?.highWaterMark;
}
