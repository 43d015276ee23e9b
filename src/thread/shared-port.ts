/** Sockets at a port that every thread of every worker may listen at. */
import { isIPv6 } from 'node:net';
import { listenTcp } from '../native/tcp.js';

/** Opens one; -errno: it cannot be had, somebody else's is there, say. */
export function openShared(host: string, port: number, v6Only: boolean, backlog: number): number {
  return listenTcp(isIPv6(host) ? 'tcp6' : 'tcp4', host, port, { backlog, reusePort: true, v6Only });
}
