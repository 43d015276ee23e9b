/**
 * What kind of handler a value is. By shape, not by class: the user's framework is another copy than any of ours,
 * and none is a dependency.
 *
 * The order matters. Functions come first: an Express app is a function with a `handle`, and a bare function is
 * always `(req, res)`. An http.Server stands for its listeners. Then Fastify (`routing` and `ready`), Koa (`callback` and `middleware`), and last whatever has
 * `fetch`: Hono, a Worker-style object, a module.
 */
import { Server } from '../node-http.js';
import { fetchApp } from './fetch-handler.js';
import { type NodeListener, nodeApp } from './node-handler.js';
import { serverApp, serverHooks } from './server-app.js';
import type { App } from './types.js';

/** For error messages: what tunicorn takes. */
export const KINDS =
  'a (req, res) function, an Express app, a Fastify instance, a Koa app, an http.Server, or an object with fetch(Request)';

interface FastifyLike {
  ready(): PromiseLike<unknown>;
  routing: NodeListener;
  close?(): unknown;
  server?: unknown;
}
interface KoaLike {
  callback(): NodeListener;
}
interface FetchLike {
  fetch(request: Request): unknown;
}

type Kind = 'function' | 'server' | 'fastify' | 'koa' | 'fetch';

/** True where classify would make an App of value. Does not call into it. */
export function isHandler(value: unknown): boolean {
  return kindOf(value) !== null;
}

/**
 * Makes the App; null if value is no handler. Rejects with what the framework throws when it starts. owner: what a function is a
 * method of.
 */
export async function classify(value: unknown, source: string, owner?: unknown): Promise<App | null> {
  switch (kindOf(value)) {
    case 'function': {
      const listener = value as NodeListener;
      return nodeApp(owner === undefined ? listener : (req, res) => listener.call(owner, req, res), source);
    }
    case 'server':
      return serverApp(value as Server, source);
    case 'fastify': {
      const fastify = value as FastifyLike;
      // Plugins load here; ready() resolves to the instance, which is itself thenable, hence no value is kept.
      await fastify.ready();
      const close = fastify.close === undefined ? undefined : () => fastify.close?.();
      const app = nodeApp((req, res) => fastify.routing(req, res), source, close);
      // Plugins for WebSocket listen there.
      if (fastify.server instanceof Server) app.hooks = serverHooks(fastify.server);
      return app;
    }
    case 'koa':
      return nodeApp((value as KoaLike).callback(), source);
    case 'fetch': {
      const target = value as FetchLike;
      return fetchApp((request) => target.fetch(request), source);
    }
    default:
      return null;
  }
}

function kindOf(value: unknown): Kind | null {
  if (typeof value === 'function') return isClass(value) ? null : 'function';
  if (typeof value !== 'object' || value === null) return null;
  if (value instanceof Server) return 'server';
  const object = value as Record<string, unknown>;
  if (typeof object.routing === 'function' && typeof object.ready === 'function') return 'fastify';
  if (typeof object.callback === 'function' && Array.isArray(object.middleware)) return 'koa';
  if (typeof object.fetch === 'function') return 'fetch';
  return null;
}

/** What a value is, in words for an error message. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'function') return isClass(value) ? `class ${value.name || '(anonymous)'}` : 'function';
  if (typeof value !== 'object') return typeof value;
  if (Array.isArray(value)) return 'array';
  const name = (Object.getPrototypeOf(value) as { constructor?: { name?: string } } | null)?.constructor?.name;
  return name === undefined || name === 'Object' || name === '' ? 'object' : `${name} object`;
}

/** A class cannot be called: handing it requests would only throw for each of them. */
function isClass(value: object): boolean {
  return /^class\b/.test(Function.prototype.toString.call(value));
}
