/**
 * The fetch path: `fetch(Request)` becomes a FetchApp.
 *
 * The handler is given a LazyRequest and most often returns a FastResponse; if it does so synchronously, the answer
 * leaves in the same call. installGlobals puts FastResponse in the platform's place, which is only right in a pool
 * thread, before the app is loaded: modules may keep what they find under the name.
 */
import { linkHeaders } from './fetch-headers.js';
import { platform, replaceGlobal, replaceGlobalLazily } from './fetch-platform.js';
import { LazyRequest, linkRequest, unwrapRequest } from './fetch-request.js';
import { FastResponse, linkResponse } from './fetch-response.js';
import { sendResponse } from './fetch-send.js';
import type { FetchApp, FetchExchange } from './types.js';

/** `fetch` of an app: a Response or a promise of one. */
export type FetchFunction = (request: Request) => unknown;

/** Wraps a fetch function. source is for logs. */
export function fetchApp(fetchFn: FetchFunction, source: string): FetchApp {
  linkFetch();
  return {
    kind: 'fetch',
    source,
    dispatch(exchange) {
      try {
        const result = fetchFn(new LazyRequest(exchange) as unknown as Request);
        if (isThenable(result)) {
          result.then(
            (response) => settle(exchange, response),
            (err) => exchange.fail(err),
          );
        } else {
          sendResponse(exchange, result);
        }
      } catch (err) {
        exchange.fail(err);
      }
    },
  };
}

function settle(exchange: FetchExchange, response: unknown): void {
  try {
    sendResponse(exchange, response);
  } catch (err) {
    exchange.fail(err);
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as PromiseLike<unknown>).then === 'function';
}

let linked = false;

/** Makes our classes kinds of the platform's, which loads those. A second call does nothing. */
export function linkFetch(): void {
  if (linked) return;
  linked = true;
  const classes = platform();
  linkHeaders(classes);
  linkRequest(classes);
  linkResponse(classes);
}

let installed = false;

/**
 * Replaces Response by FastResponse, and lets Request and fetch take the requests that handlers are given. Once per
 * thread, before the app is loaded; a second call does nothing.
 */
export function installGlobals(): void {
  if (installed) return;
  installed = true;
  replaceGlobalLazily('Response', () => {
    linkFetch();
    return FastResponse;
  });
  replaceGlobalLazily('Request', () => {
    linkFetch();
    return openRequest(platform().Request);
  });
  const nativeFetch = globalThis.fetch;
  replaceGlobal('fetch', function fetch(input: unknown, init?: RequestInit) {
    return nativeFetch(unwrapRequest(input, init) as string, init);
  });
}

/** The platform's class, which takes the requests that handlers are given, too. */
function openRequest(native: typeof Request): typeof Request {
  const proxy = new Proxy(native, {
    construct(target, [input, ...rest], newTarget) {
      return Reflect.construct(target, [unwrapRequest(input, rest[0]), ...rest], newTarget);
    },
  });
  Object.defineProperty(native.prototype, 'constructor', { value: proxy, writable: true, configurable: true });
  return proxy;
}
