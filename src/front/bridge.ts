/**
 * Passes bytes between a client's TLS socket and a plain connection to the engine, both ways, with backpressure, and the ends
 * of each side to the other. The engine decides when a connection ends: what it has sent reaches the client whatever
 * the client still sends.
 */
import type { Socket } from 'node:net';

/** @param lingerMs how long a client that has been sent everything may keep its side open. */
export function bridge(client: Socket, plain: Socket, lingerMs: number): void {
  let linger: NodeJS.Timeout | undefined;
  client.pipe(plain);
  plain.pipe(client);
  // The engine reads no more: what still comes is thrown away, and the answer goes out.
  plain.on('error', () => {
    client.unpipe(plain);
    client.resume();
  });
  // The pipe ends it behind the engine. Until all has gone it is a matter of what the client takes (takers.ts).
  client.once('finish', () => {
    linger = setTimeout(() => client.destroy(), lingerMs);
  });
  plain.once('close', () => {
    if (!plain.readableEnded) client.destroy();
    else if (!client.readableEnded) client.resume();
  });
  client.once('close', () => {
    clearTimeout(linger);
    plain.destroy();
  });
}
