/** The same as a fetch handler: what goes on behind the response is a stream's end. */
export default {
  async fetch(request: Request): Promise<Response> {
    const [, id, way] = new URL(request.url).pathname.split('/');
    if (way === 'body') await request.text();
    if (way === 'later') await new Promise(setImmediate);
    if (way !== 'chunks') return new Response(id);
    const parts = [id.slice(0, 1), id.slice(1)].map((part) => new TextEncoder().encode(part));
    return new Response(
      new ReadableStream({
        pull(controller) {
          controller.enqueue(parts.shift() as Uint8Array);
          if (parts.length === 0) controller.close();
        },
      }),
    );
  },
};
