/** The fetch app of tunicorn and Bun: the hello world of every fetch server's front page. */
import { HELLO } from './work.js';

export default {
  fetch(_request: Request): Response {
    return new Response(HELLO, { headers: { 'content-type': 'text/plain' } });
  },
};
