/** Opens a TCP socket that listens. */
import { type Family, native } from './binding.js';

export interface TcpOptions {
  backlog: number;
  /** SO_REUSEPORT: others may listen at the same port. */
  reusePort: boolean;
  /** An IPv6 address does not stand for IPv4 as well. */
  v6Only: boolean;
}

/** address: numeric. @returns the descriptor, or -errno with nothing left open. */
export function listenTcp(family: Family, address: string, port: number, options: TcpOptions): number {
  const fd = native.socket(family);
  if (fd < 0) return fd;
  let result = native.setReuseAddr(fd);
  if (result >= 0 && options.reusePort) result = native.setReusePort(fd);
  if (result >= 0 && options.v6Only) result = native.setV6Only(fd);
  if (result >= 0) result = native.bind(fd, family, address, port);
  if (result >= 0) result = native.listen(fd, options.backlog);
  if (result >= 0) return fd;
  native.close(fd);
  return result;
}
