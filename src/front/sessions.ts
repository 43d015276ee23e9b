/**
 * The deadlines of an HTTP/2 session, as those of a connection of HTTP/1.1: --header-timeout until its first stream, --keep-alive
 * between streams. Only streams count: what else a client sends (PING, half of a header block) keeps no session.
 */
import type { ServerHttp2Session } from 'node:http2';

export interface SessionLimits {
  /** ms until the first stream; between streams, 0: the session ends with them; for a client that does not take the end. */
  firstMs: number;
  idleMs: number;
  lingerMs: number;
}

export function limitSession(session: ServerHttp2Session, { firstMs, idleMs, lingerMs }: SessionLimits): void {
  let streams = 0;
  let timer = setTimeout(end, firstMs);
  function end(): void {
    session.close();
    timer = setTimeout(() => session.destroy(), lingerMs);
  }
  session.on('stream', (stream) => {
    streams++;
    clearTimeout(timer);
    stream.once('close', () => {
      if (--streams === 0 && !session.destroyed) timer = setTimeout(end, idleMs);
    });
  });
  session.once('close', () => clearTimeout(timer));
}
