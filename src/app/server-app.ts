/**
 * An http.Server as an app: requests are emitted on it as Node's own server does, so that everybody who listens hears of
 * them, and whoever has replaced emit() (OpenTelemetry does) too. A listener whose promise rejects counts as one that threw.
 */
import { EventEmitter } from 'node:events';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { symbolOf } from '../node-http.js';
import { CONTROL, type ControlSource } from '../request.js';
import type { Hooks, NodeApp, UpgradeListener } from './types.js';

/** Node's flag behind the option captureRejections, which http.Server does not hand on. */
const kCapture = symbolOf(EventEmitter.prototype, 'kCapture');

/** Makes the app of a server. Its close() closes the server, so that its 'close' listeners run. */
export function serverApp(server: Server, source: string): NodeApp {
  captureRejections(server);
  let closed = false;
  server.on('close', () => {
    closed = true;
  });
  server.on('listening', () => {
    closed = false;
  });
  return {
    kind: 'node',
    source,
    handle(req, res) {
      if (closed) refuse(res, 503);
      else if (!server.emit('request', req, res)) refuse(res, 404);
    },
    hooks: serverHooks(server),
    close: () =>
      new Promise<void>((resolve) => {
        if (server.listening) server.close(() => resolve());
        else resolve();
      }),
  };
}

/** An option of later Nodes; by default it says whether somebody listens. */
interface Choosy {
  shouldUpgradeCallback?(req: IncomingMessage): unknown;
}

/** The listeners of the app's server for what is no ordinary request. */
export function serverHooks(server: Server): Hooks {
  const takes = (req: IncomingMessage) => Boolean((server as Choosy).shouldUpgradeCallback?.(req) ?? true);
  return { server, ...listenersOf(server), takes };
}

/** The same of a server that is not the app's. */
export function listenersOf(server: Server): Hooks {
  return {
    hears: (event) => server.listenerCount(event) > 0,
    call: (event, ...args) => void server.emit(event, ...args),
  };
}

/** An exported upgrade(req, socket, head). */
export function upgradeHooks(upgrade: UpgradeListener): Hooks {
  return {
    hears: (event) => event === 'upgrade',
    call: (_event, ...args) => upgrade(...(args as Parameters<UpgradeListener>)),
  };
}

/** Nobody listens for requests, or no longer. */
function refuse(res: ServerResponse, status: number): void {
  res.statusCode = status;
  res.shouldKeepAlive = false;
  res.end();
}

/** Rejections go to the request that they belong to; without this they are unhandled ones of the thread. */
function captureRejections(server: Server): void {
  if (kCapture === undefined) return;
  Object.assign(server, {
    [kCapture]: true,
    [EventEmitter.captureRejectionSymbol](error: unknown, _event: string, req: IncomingMessage): void {
      const source = (req as { [CONTROL]?: ControlSource } | undefined)?.[CONTROL];
      if (source?.failed === undefined) server.emit('error', error);
      else source.failed(req, error);
    },
  });
}
