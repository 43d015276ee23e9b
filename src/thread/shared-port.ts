/** Sockets at a port that every thread of every worker may listen at. */
import { isIPv6 } from 'node:net';
import { native } from '../native/binding.js';

/** Opens one; -errno: it cannot be had, somebody else's is there, say. */
export function openShared(host: string, port: number, v6Only: boolean, backlog: number): number {
  const family = isIPv6(host) ? 'tcp6' : 'tcp4';
  const fd = native.socket(family);
  if (fd < 0) return fd;
  let result = native.setReuseAddr(fd);
  if (result >= 0) result = native.setReusePort(fd);
  if (result >= 0 && v6Only) result = native.setV6Only(fd);
  if (result >= 0) result = native.bind(fd, family, host, port);
  if (result >= 0) result = native.listen(fd, backlog);
  if (result >= 0) return fd;
  native.close(fd);
  return result;
}
