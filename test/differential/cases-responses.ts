/** Every handler of responses.mjs, asked in several forms. */
import { type Case, handlerNames, request } from './corpus.js';

const BARE = 'GET, no listener at all';
/** Handlers whose response fails: an error that nobody hears ends node:http's process. */
const FAILS = /^(end-chunk-twice|write-after-end)$/;

const FORMS: Record<string, (handler: string) => string> = {
  GET: (handler) => request('GET', handler),
  'GET, nobody listens': (handler) => request('GET', handler, 'X-Watch: none\r\n'),
  // Not even to errors.
  [BARE]: (handler) => request('GET', handler, 'X-Watch: bare\r\n'),
  HEAD: (handler) => request('HEAD', handler, 'X-Watch: res\r\n'),
  'GET, HTTP/1.0': (handler) => request('GET', handler, 'X-Watch: res\r\n', '', '1.0'),
  'GET, HTTP/1.0 keep-alive': (handler) => request('GET', handler, 'Connection: keep-alive\r\n', '', '1.0'),
  'GET, Connection: close': (handler) => request('GET', handler, 'Connection: close\r\n'),
  'POST with a body': (handler) => request('POST', handler, 'Content-Length: 5\r\nX-Watch: res\r\n', 'hello'),
};

export const responseCases: Case[] = (await handlerNames('responses')).flatMap((handler) =>
  Object.entries(FORMS)
    .filter(([form]) => form !== BARE || !FAILS.test(handler))
    .map(([form, ask]) => ({ name: `${handler}: ${form}`, steps: [ask(handler)] })),
);
