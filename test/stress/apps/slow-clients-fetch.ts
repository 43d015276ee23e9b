/** The echo app as a fetch handler, and one response that is made as fast as it may be: its stream always has another chunk. */
import echo from './echo-fetch.js';

const PIECE = new Uint8Array(64 * 1024).fill(98);
const PIECES = 1024;

function big(): ReadableStream<Uint8Array> {
  let left = PIECES;
  return new ReadableStream({
    pull(controller) {
      if (left-- > 0) controller.enqueue(PIECE.slice());
      else controller.close();
    },
  });
}

export default {
  fetch(request: Request): Response | Promise<Response> {
    if (request.url.endsWith('/big')) return new Response(big());
    return echo.fetch(request);
  },
};
