/**
 * listen() of servers that are not the app's: a plain net.Server beside it. The program runs in every thread, and each thread's server has
 * the port, by a socket of its own (SO_REUSEPORT): the kernel gives every connection to one of them, as a cluster's workers share theirs. A thread
 * that takes another one's place listens before that one ends.
 */
import { lookup } from 'node:dns';
import { isIP, type Server } from 'node:net';

/** Opens a socket that listens there, beside others that do; negative: it cannot be. */
export type OpenShared = (host: string, port: number, v6Only: boolean, backlog: number) => number;

type Listen = (this: Server, ...args: unknown[]) => Server;

/** As Node's own. */
const BACKLOG = 511;

/** nodes: Node's own listen(), which also says what is wrong where the port cannot be had. */
export function listenPlainly(server: Server, nodes: Listen, args: unknown[], open: OpenShared): Server {
  const options = optionsOf(args);
  const { host, fd, ipv6Only = false, backlog } = options;
  const port = Number(options.port ?? 0);
  // Port 0 is another one for each.
  if (fd !== undefined || !Number.isInteger(port) || port <= 0 || port > 0xffff) return nodes.apply(server, args);
  const callback = args.at(-1);
  const listenAt = (addresses: readonly string[]): void => {
    for (const address of addresses) {
      const socket = open(address, port, ipv6Only === true, typeof backlog === 'number' ? backlog : BACKLOG);
      if (socket < 0) continue;
      nodes.call(server, { ...options, fd: socket }, ...(typeof callback === 'function' ? [callback] : []));
      return;
    }
    nodes.apply(server, args);
  };
  if (typeof host !== 'string' || host === '') listenAt(['::', '0.0.0.0']);
  else if (isIP(host)) listenAt([host]);
  else lookup(host, (error, address) => listenAt(error ? [] : [address]));
  return server;
}

function optionsOf(args: unknown[]): Record<string, unknown> {
  const [first, second] = args;
  if (typeof first === 'object' && first !== null) return first as Record<string, unknown>;
  if (typeof first === 'function') return {};
  const backlog = args.slice(1).find((arg) => typeof arg === 'number');
  return { port: first, host: typeof second === 'string' ? second : undefined, backlog };
}
