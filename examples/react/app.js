// React renders on the server and streams: the page's frame leaves at once, the slow part when it has resolved. No JSX, no build.
import { createElement as h, Suspense, use } from 'react';
import { renderToPipeableStream } from 'react-dom/server';

/** After this the page is sent as far as it is. */
const ABORT_MS = 10_000;

function loadQuote(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms, 'Threads are cheap, freezes are not.'));
}

function Quote({ quote }) {
  return h('blockquote', null, use(quote));
}

function Page({ quote }) {
  return h(
    'html',
    null,
    h('head', null, h('title', null, 'tunicorn and React')),
    h(
      'body',
      null,
      h('h1', null, 'Hello, World!'),
      h(Suspense, { fallback: h('p', null, 'Loading ...') }, h(Quote, { quote })),
    ),
  );
}

export default function app(req, res) {
  const url = new URL(req.url, 'http://localhost');
  if (url.pathname !== '/') {
    res.writeHead(404, { 'content-type': 'text/plain' }).end('Not found\n');
    return;
  }
  const quote = loadQuote(Math.min(5000, Number(url.searchParams.get('ms') ?? 500)));
  const { pipe, abort } = renderToPipeableStream(h(Page, { quote }), {
    onShellReady() {
      res.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
      pipe(res);
    },
    onShellError(error) {
      console.error(error);
      res.writeHead(500, { 'content-type': 'text/plain' }).end('Something went wrong\n');
    },
  });
  // Nobody renders for a client that has left, or for ever.
  const timer = setTimeout(abort, ABORT_MS);
  res.on('close', () => {
    clearTimeout(timer);
    if (!res.writableFinished) abort();
  });
}
