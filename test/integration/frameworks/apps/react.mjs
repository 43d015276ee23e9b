// React's streaming rendering: a page whose slow part comes when the test says so.
import { createElement as h, Suspense, use } from 'react';
import { renderToPipeableStream } from 'react-dom/server';
import { noter, opened } from './notes.mjs';

function Slow({ data }) {
  return h('p', { id: 'slow' }, use(data));
}

function Fails() {
  throw new Error('render failed');
}

function Page({ children }) {
  return h('html', null, h('body', null, h('h1', null, 'Shell'), children));
}

const boundary = (child) => h(Suspense, { fallback: h('p', null, 'Loading') }, child);

export function build(folder) {
  const note = noter(folder);
  const pages = {
    '/': () => boundary(h(Slow, { data: opened(folder, 'go').then(() => 'Slow part') })),
    '/hang': () => boundary(h(Slow, { data: new Promise(() => {}) })),
    '/shell': () => h(Fails),
    '/inner': () => boundary(h(Fails)),
    '/large': () => Array.from({ length: 20_000 }, (_, i) => h('p', { key: i }, `paragraph ${i}`)),
  };
  return (req, res) => {
    const whole = req.headers['user-agent'] === 'crawler';
    let status = 200;
    const send = () => {
      res.writeHead(status, { 'content-type': 'text/html; charset=utf-8' });
      pipe(res);
    };
    const { pipe, abort } = renderToPipeableStream(h(Page, null, pages[req.url]()), {
      bootstrapScripts: ['/client.js'],
      onShellReady: whole ? undefined : send,
      onAllReady: whole ? send : undefined,
      onShellError(error) {
        res.writeHead(500, { 'content-type': 'text/html' }).end(`<p>${error.message}</p>`);
      },
      onError(error) {
        status = 500;
        note(`error ${req.url} ${error.message}`);
      },
    });
    res.on('close', () => {
      if (res.writableFinished) return;
      note(`left ${req.url}`);
      abort(new Error('nobody waits'));
    });
  };
}
