/**
 * What looks at requests from outside, as it does in Node's own server: subscribers of diagnostics_channel's http.server channels, and
 * instrumentation (OpenTelemetry's) that puts itself into http.Server.prototype.emit to see 'request'. Both are asked for before
 * each request, because they may come at any time, by a look at three properties; only where somebody is there does a request take
 * this way: it is emitted by a server object of the thread, which never listens.
 */
import { channel, subscribe, unsubscribe } from 'node:diagnostics_channel';
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { BareResponse, type IncomingMessage, Server, type ServerResponse } from '../node-http.js';

/** What is called with a request. */
export interface ObservedApp {
  handle(req: IncomingMessage, res: ServerResponse): unknown;
}

const CREATED = 'http.server.response.created';
const created = channel(CREATED);
const start = channel('http.server.request.start');
const finish = channel('http.server.response.finish');

/** From Node 22 on a ServerResponse tells of itself that it was made. */
const toldByNode = tellsOfItself();

function tellsOfItself(): boolean {
  let told = false;
  const listener = () => {
    told = true;
  };
  subscribe(CREATED, listener);
  new BareResponse();
  unsubscribe(CREATED, listener);
  return told;
}

let own: Server | null = null;

/** The server that requests of this thread belong to, for everybody who asks a socket for it. It does not listen. */
export function threadServer(): Server {
  own ??= new Server();
  return own;
}

function emitIsPatched(): boolean {
  return Server.prototype.emit !== EventEmitter.prototype.emit;
}

/** Somebody looks. */
export function observed(): boolean {
  return start.hasSubscribers || finish.hasSubscribers || created.hasSubscribers || emitIsPatched();
}

/**
 * Hands a request to the app before the eyes of who looks; returns what the app returned. `adopted`: the server that the app has
 * made, whose 'request' handle() emits by itself.
 */
export function handleObserved(
  app: ObservedApp,
  adopted: Server | undefined,
  req: IncomingMessage,
  res: ServerResponse,
): unknown {
  const server = adopted ?? threadServer();
  const socket = req.socket as Socket;
  if (created.hasSubscribers && !toldByNode) created.publish({ request: req, response: res });
  if (start.hasSubscribers) start.publish({ request: req, response: res, socket, server });
  // Asked when it is over, as in Node: who subscribes meanwhile is told.
  res.on('finish', () => {
    if (finish.hasSubscribers) finish.publish({ request: req, response: res, socket, server });
  });
  if (adopted !== undefined || !emitIsPatched()) return app.handle(req, res);
  let result: unknown;
  const listener = (request: IncomingMessage, response: ServerResponse) => {
    result = app.handle(request, response);
  };
  server.once('request', listener);
  try {
    server.emit('request', req, res);
  } finally {
    // Where the patch has not let it through.
    server.off('request', listener);
  }
  return result;
}
