/** fetch: a stream of 100 MB for readers that are slow, and something light beside. */
import { patternAt } from '../../support/pattern.js';

const SIZE = 100 * 1000 * 1000;
const CHUNK = 64 * 1024;
/** Of all threads: whichever is asked answers for them. */
let cancelled = 0;
const told = new BroadcastChannel('cancelled');
told.onmessage = () => cancelled++;

export default {
  fetch(request: Request): Response {
    const { pathname } = new URL(request.url);
    if (pathname === '/cancelled') return new Response(String(cancelled));
    if (pathname !== '/stream') return new Response('light');
    let at = 0;
    const body = new ReadableStream({
      pull(controller) {
        controller.enqueue(patternAt(at, Math.min(CHUNK, SIZE - at)));
        at += CHUNK;
        if (at >= SIZE) controller.close();
      },
      cancel() {
        cancelled++;
        told.postMessage(null);
      },
    });
    return new Response(body, { headers: { 'content-length': String(SIZE) } });
  },
};
