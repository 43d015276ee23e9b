/**
 * From Node 22 on a corked response keeps its chunks, and writes them as one when it is uncorked. Two things are made right there.
 * Node's uncork() opens the socket first and then writes the chunk in pieces: a system call and a packet each. And its end()
 * writes the last chunk of the body before those that are kept, which then stand in front of the next response.
 *
 * On the prototype, which middleware has taken its end() from.
 */
import { responseSymbol, ServerResponse } from '../node-http.js';
import { drainResponse } from './drain.js';

type Method = (this: ServerResponse, ...args: unknown[]) => unknown;

const prototype = ServerResponse.prototype as unknown as { uncork: Method; end: Method };
const kChunkedLength = responseSymbol('kChunkedLength');

if (kChunkedLength !== undefined) {
  const keeps = kChunkedLength;
  const { uncork, end } = prototype;

  prototype.uncork = function (): void {
    const { socket } = this;
    if (!socket || (this as unknown as Record<symbol, number>)[keeps] === 0) return void uncork.call(this);
    socket.cork();
    try {
      uncork.call(this);
    } finally {
      socket.uncork();
    }
    // Node 24's own look found it in the socket; Node 22 has none, and whoever waits for 'drain' waits for ever.
    if (this.writableLength === 0) drainResponse(this);
  };

  prototype.end = function (chunk, encoding, callback) {
    if (this.writableCorked === 0 || this.finished) return end.call(this, chunk, encoding, callback);
    const { socket } = this;
    socket?.cork();
    try {
      while (this.writableCorked > 0) this.uncork();
      return end.call(this, chunk, encoding, callback);
    } finally {
      socket?.uncork();
    }
  };
}
