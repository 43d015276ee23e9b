/**
 * The deadlines of an HTTP/2 session, as those of a connection of HTTP/1.1: --header-timeout until its first stream, --keep-alive
 * between streams. Only streams count: what else a client sends (PING, half of a header block) keeps no session. Node ends one by
 * ending its own side, and waits for the client to do so: --send-timeout bounds that.
 */
import type { ServerHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import type { Unused } from './unused.js';

export interface SessionLimits {
  /** ms until the first stream; between streams, 0: the session ends with them; for a client that does not take the end. */
  firstMs: number;
  idleMs: number;
  lingerMs: number;
}

/** raw: the TCP socket below. unused: where the session is while it has no stream. */
export function limitSession(
  session: ServerHttp2Session,
  raw: Socket,
  { firstMs, idleMs, lingerMs }: SessionLimits,
  unused: Unused,
): void {
  let streams = 0;
  let timer: NodeJS.Timeout | undefined;
  const end = (): void => {
    session.close();
    timer = setTimeout(() => raw.destroy(), lingerMs);
  };
  const wait = (ms: number): void => {
    timer = setTimeout(end, ms);
    unused.add(session, () => session.destroy());
  };
  const leave = (): void => {
    clearTimeout(timer);
    unused.remove(session);
  };
  wait(firstMs);
  session.on('stream', (stream) => {
    streams++;
    leave();
    stream.once('close', () => {
      if (--streams === 0 && !session.destroyed) wait(idleMs);
    });
  });
  raw.once('close', leave);
}
