/**
 * pre_request and post_request: an app with the two around its handler takes the app's place when the thread starts, so that
 * without them a request costs what it did. pre_request sees each request that the app would see, before it, and fails it by a
 * throw; post_request comes when the request is over, however it ended, with its access line. Both are given Node's view of the
 * request, also where the handler gets a Request. Upgraded connections are no requests.
 */
import type { IncomingMessage } from 'node:http';
import type { App, Hooks, NodeApp } from '../app/types.js';
import { isThenable } from '../hooks/call.js';
import type { ThreadHooks } from '../hooks/thread.js';
import type { HookEnviron, HookResponse } from '../hooks/types.js';
import type { Connection } from '../http/connection.js';
import { CONTROL, type ControlSource } from '../request.js';
import { version } from '../version.js';

/** Whether the thread has hooks around requests. */
export function hasRequestHooks({ preRequest, postRequest }: ThreadHooks): boolean {
  return preRequest !== undefined || postRequest !== undefined;
}

/** The app with the hooks around its handler. */
export function withRequestHooks(app: App, hooks: ThreadHooks): App {
  const { thread, preRequest, postRequest } = hooks;
  /** Requests that the app was given: those that post_request is to hear of. */
  const begun = new WeakSet<IncomingMessage>();
  // As in gunicorn, only a hook that declares it gets it: it costs more than all the rest.
  const wantsEnviron = postRequest !== undefined && (postRequest.length === 0 || postRequest.length > 2);

  const around = (req: IncomingMessage, next: () => unknown): unknown => {
    if (postRequest !== undefined) begun.add(req);
    const result = preRequest?.(thread, req);
    if (!isThenable(result)) return next();
    // Nobody waits for it any more if the client has left meanwhile, or its deadline has passed.
    return Promise.resolve(result).then(() => (isOver(req) ? undefined : next()));
  };

  const ended = (conn: Connection, status: number): void => {
    const { req } = conn;
    if (req === null || !begun.delete(req)) return;
    const failed = (err: unknown) => thread.log.error('Exception in post_request hook', err);
    try {
      const environ = wantsEnviron ? environOf(req) : {};
      const result = postRequest?.(thread, req, environ, new EndedResponse(conn, status));
      if (isThenable(result)) result.then(undefined, failed);
    } catch (err) {
      failed(err);
    }
  };

  const common = {
    source: app.source,
    close: () => app.close?.(),
    ...(postRequest !== undefined && { ended }),
  };
  if (app.kind === 'node') {
    const inner: NodeApp = app;
    return {
      ...common,
      kind: 'node',
      handle: (req, res) => around(req, () => inner.handle(req, res)),
      // Looked up each time: a server that listens late brings its own.
      get hooks() {
        return inner.hooks && new HookedEvents(inner.hooks, around);
      },
    };
  }
  return {
    ...common,
    kind: 'fetch',
    dispatch(exchange) {
      try {
        const result = around(exchange.req, () => app.dispatch(exchange));
        if (isThenable(result)) result.then(undefined, (err) => exchange.fail(err));
      } catch (err) {
        exchange.fail(err);
      }
    },
    get hooks() {
      return app.hooks;
    },
  };
}

/** The listeners of an app's server: requests that go to them instead of its handler have the hooks around them, too. */
class HookedEvents implements Hooks {
  readonly #inner: Hooks;
  readonly #around: (req: IncomingMessage, next: () => unknown) => unknown;

  constructor(inner: Hooks, around: (req: IncomingMessage, next: () => unknown) => unknown) {
    this.#inner = inner;
    this.#around = around;
  }

  get server(): Hooks['server'] {
    return this.#inner.server;
  }

  hears(event: Parameters<Hooks['hears']>[0]): boolean {
    return this.#inner.hears(event);
  }

  call(event: Parameters<Hooks['hears']>[0], ...args: unknown[]): unknown {
    const next = () => this.#inner.call(event, ...args);
    return event === 'upgrade' || event === 'connect' ? next() : this.#around(args[0] as IncomingMessage, next);
  }
}

function isOver(req: IncomingMessage): boolean {
  return (req as unknown as { [CONTROL]: ControlSource })[CONTROL].controlOf(req) === null;
}

class EndedResponse implements HookResponse {
  readonly status: number;
  readonly sent: number;
  readonly #head: string;

  constructor(conn: Connection, status: number) {
    this.status = status;
    this.sent = conn.bodyBytes;
    // A head that was made and never left is nobody's response: the engine has answered in its place.
    this.#head = conn.responded || this.sent > 0 ? conn.headSent : '';
  }

  get headers(): Record<string, string> {
    const headers: Record<string, string> = {};
    for (const line of this.#head.split('\r\n').slice(1)) {
      const colon = line.indexOf(':');
      if (colon > 0) add(headers, line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim(), ', ');
    }
    return headers;
  }
}

function add(to: Record<string, string>, name: string, value: string, separator: string): void {
  to[name] = Object.hasOwn(to, name) ? `${to[name]}${separator}${value}` : value;
}

/** The request in CGI's names, as in WSGI's environ. Fields with an underscore in their name are left out: `A_B` would be `A-B`. */
function environOf(req: IncomingMessage): HookEnviron {
  const { method = '', url = '', httpVersion, socket, rawHeaders } = req;
  const target = url.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?]*/i, '');
  const query = target.indexOf('?');
  const environ: Record<string, string> = {
    REQUEST_METHOD: method,
    SCRIPT_NAME: '',
    RAW_URI: url,
    PATH_INFO: decoded(query < 0 ? target : target.slice(0, query)),
    QUERY_STRING: query < 0 ? '' : target.slice(query + 1),
    SERVER_PROTOCOL: `HTTP/${httpVersion}`,
    REMOTE_ADDR: socket.remoteAddress ?? '',
    REMOTE_PORT: String(socket.remotePort ?? ''),
    SERVER_NAME: socket.localAddress ?? '',
    SERVER_PORT: String(socket.localPort ?? ''),
    SERVER_SOFTWARE: `tunicorn/${version}`,
  };
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (rawHeaders[i].includes('_')) continue;
    const name = rawHeaders[i].toUpperCase().replaceAll('-', '_');
    if (name === 'CONTENT_TYPE' || name === 'CONTENT_LENGTH') environ[name] = rawHeaders[i + 1];
    else add(environ, `HTTP_${name}`, rawHeaders[i + 1], ',');
  }
  return environ;
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
