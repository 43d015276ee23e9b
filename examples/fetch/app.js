// The shape of Workers, Deno and Bun: an object with fetch(Request), and nothing to install.
const encoder = new TextEncoder();

export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === '/') return new Response('Hello, World!\n');
    if (pathname === '/json' && request.method === 'POST') return Response.json(await request.json());
    if (pathname === '/events') return new Response(events(5), { headers: { 'content-type': 'text/event-stream' } });
    return Response.json({ error: 'Not found' }, { status: 404 });
  },
};

/** One event every 200 ms, count in all. Stops when the client leaves: the stream is cancelled then. */
function events(count) {
  let timer;
  let sent = 0;
  return new ReadableStream({
    start(controller) {
      timer = setInterval(() => {
        controller.enqueue(encoder.encode(`data: ${++sent}\n\n`));
        if (sent < count) return;
        clearInterval(timer);
        controller.close();
      }, 200);
    },
    cancel() {
      clearInterval(timer);
    },
  });
}
