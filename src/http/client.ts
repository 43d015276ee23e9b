/** Whom a request is from, as handlers are shown it: clientInfo(), and the sockets of connections that have left HTTP. */
import type { Socket } from 'node:net';
import type { ClientInfo } from '../request.js';
import type { Connection } from './connection.js';

/** Of the request that the connection has in hand. */
export function clientOf(conn: Connection): ClientInfo {
  const { socket, proxied } = conn;
  const peer = socket.peerName;
  return {
    address: socket.remoteAddress,
    port: socket.remotePort,
    scheme: conn.secure ? 'https' : 'http',
    localAddress: socket.localAddress,
    localPort: socket.localPort,
    peerAddress: peer?.family === 'unix' ? undefined : peer?.address,
    peerPort: peer?.port || undefined,
    proxied: proxied === null ? null : { address: proxied.proxyAddress, port: proxied.proxyPort },
    trusted: conn.trusted,
  };
}

/** Has Node's own socket show what the connection's was told by proxies. */
export function dress(socket: Socket, { socket: face, proxied, secure, tls }: Connection): void {
  const show = (name: string, value: unknown) =>
    Object.defineProperty(socket, name, { value, configurable: true, enumerable: true });
  if (secure) show('encrypted', true);
  if (proxied === null && !tls) return;
  for (const name of ['remoteAddress', 'remotePort', 'remoteFamily'] as const) show(name, face[name]);
  if (tls) for (const name of ['localAddress', 'localPort', 'localFamily'] as const) show(name, face[name]);
}
