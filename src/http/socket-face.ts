/**
 * SocketFace: what of net.Socket handlers look at beside the stream itself: addresses, timeouts, and the calls that mean
 * nothing here. socket.ts adds the writing side. Addresses are asked for at the first look, and only while the fd is
 * known to be this connection's: its number may be another one's later.
 */
import type { Server } from 'node:http';
import { Duplex } from 'node:stream';
import { native, type SocketAddress } from '../native/binding.js';
import type { ProxyAddresses } from '../proxy-protocol.js';
import { threadServer } from './observe.js';
import { markOf } from './server-options.js';

/** The connection as its socket sees it. */
export interface Wire {
  readonly fd: number;
  readonly bytesRead: number;
  /** What a PROXY header has told of the connection. */
  readonly proxied: ProxyAddresses | null;
  /** It came by TLS: `ends` says from where and to where, null = by a unix socket. */
  readonly tls: boolean;
  readonly ends: ProxyAddresses | null;
  /** The client came by https to a trusted proxy: the request in hand says so. */
  readonly secure: boolean;
  /** The fd still is this connection's. */
  readonly open: boolean;
  /** The http.Server of a program that listens itself. */
  readonly server: Server | undefined;
  /** A byte of the response leaves now. False: there is no request that bytes could belong to. */
  beforeSend(): boolean;
  /** 1: what is sent now may wait in the outbox until the thread has made a few more responses; otherwise 0. */
  hold(): number;
  /** What has been written by now is the whole response. */
  whole(): void;
  /** What is noted when its last byte leaves (native.useOutcomes): for the call that sends it. 0 = there is more to come. */
  outcome(): number;
  /** Its thread has other requests in hand. */
  readonly crowded: boolean;
  /** Output waits for the fd (true) or no longer does (false). */
  wantWrite(on: boolean): void;
  /** Everything written so far has been taken by the kernel. */
  flushed(): void;
  /** There is room for output again, after write() has said that there is none. */
  drained(): void;
  /** Nothing has happened for as long as setTimeout() says; false if nobody listened. */
  timedOut(socket: SocketFace): boolean;
  /** The socket was destroyed or has ended: close the connection. */
  socketGone(error: Error | null): void;
  /** Callbacks of writes run after the handler returns, in its turn, or in a tick of their own. */
  later(callbacks: WriteCallback[]): void;
}

export type WriteCallback = (error?: Error | null) => void;

export abstract class SocketFace extends Duplex {
  bytesWritten = 0;
  /** As in net.Socket: undefined until setTimeout() is called. */
  timeout: number | undefined = undefined;
  connecting = false;
  /** Not to be met by who walks through a request or a response: behind it lies all of the engine. */
  protected declare readonly wire: Wire;
  private local: SocketAddress | null = null;
  private peer: SocketAddress | null = null;
  private timer: NodeJS.Timeout | null = null;

  constructor(wire: Wire) {
    super({ allowHalfOpen: true, emitClose: false, autoDestroy: false, highWaterMark: markOf(wire.server) });
    Object.defineProperty(this, 'wire', { value: wire });
  }

  // --- reading: bodies reach the handler through its IncomingMessage ---

  override _read(): void {}

  override resume(): this {
    return this;
  }

  override pause(): this {
    return this;
  }

  // --- what net.Socket has ---

  private localName(): SocketAddress | null {
    const { tls, ends } = this.wire;
    if (tls) return ends === null ? UNIX : named(ends.proxyAddress, ends.proxyPort);
    if (!this.local && this.wire.open) {
      const address = native.getSockName(this.wire.fd);
      if (typeof address !== 'number') this.local = address;
    }
    return this.local;
  }

  /** The other end of the connection itself, which may be a proxy; null where it is not known any more. */
  get peerName(): SocketAddress | null {
    const { tls, ends } = this.wire;
    if (tls) return ends === null ? UNIX : named(ends.address, ends.port);
    if (!this.peer && this.wire.open) {
      const address = native.getPeerName(this.wire.fd);
      if (typeof address !== 'number') this.peer = address;
    }
    return this.peer;
  }

  private get client(): { address: string; port: number } | null {
    return this.wire.proxied ?? tcp(this.peerName);
  }

  get remoteAddress(): string | undefined {
    return this.client?.address;
  }
  get remotePort(): number | undefined {
    return this.client?.port;
  }
  get remoteFamily(): string | undefined {
    return familyName(this.client);
  }
  get localAddress(): string | undefined {
    return tcp(this.localName())?.address;
  }
  get localPort(): number | undefined {
    return tcp(this.localName())?.port;
  }
  get localFamily(): string | undefined {
    return familyName(tcp(this.localName()));
  }
  /** As a TLSSocket's, by which frameworks know https; undefined otherwise, as a net.Socket's. */
  get encrypted(): true | undefined {
    return this.wire.secure ? true : undefined;
  }
  /** Who sits behind a proxy says so himself, as he may on a net.Socket. */
  set encrypted(value: unknown) {
    Object.defineProperty(this, 'encrypted', { value, writable: true, enumerable: true, configurable: true });
  }
  address(): object {
    const a = tcp(this.localName());
    return a ? { address: a.address, family: familyName(a), port: a.port } : {};
  }
  /** Bytes that this thread has read from the connection. */
  get bytesRead(): number {
    return this.wire.bytesRead;
  }

  /** The app's http.Server, or one of the thread's that does not listen: for who expects to find one. */
  get server(): Server {
    return this.wire.server ?? threadServer();
  }

  get pending(): boolean {
    return false;
  }
  get readyState(): string {
    return this.destroyed ? 'closed' : 'open';
  }

  /** ms without activity after which 'timeout' is emitted; 0 = none. Activity: bytes of the client or to it. */
  setTimeout(ms: number, callback?: () => void): this {
    // As net.Socket: more than a timer can count is as long as it can.
    if (ms > MAX_TIMEOUT_MS) ms = MAX_TIMEOUT_MS;
    this.timeout = ms;
    this.stopTimer();
    if (callback) {
      if (ms > 0) this.once('timeout', callback);
      else this.removeListener('timeout', callback);
    }
    if (ms > 0 && !this.destroyed) this.timer = setTimeout(() => this.onTimeout(), ms).unref();
    return this;
  }

  /** As Node's server: request and response hear of it, and where neither listens the connection ends. */
  private onTimeout(): void {
    if (!this.wire.timedOut(this)) this.destroy();
    this.emit('timeout');
  }

  protected stopTimer(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }

  /** Output and input restart the time that setTimeout() measures. */
  touch(): void {
    this.timer?.refresh();
  }

  setNoDelay(): this {
    return this;
  }
  setKeepAlive(): this {
    return this;
  }
  /** As net.Socket's, but the client sees the connection end, not a reset. */
  resetAndDestroy(): this {
    return this.destroy();
  }
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }
}

/** The longest that a timer runs, ms. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

const UNIX: SocketAddress = { family: 'unix', address: '', port: 0 };

function named(address: string, port: number): SocketAddress {
  return { family: address.includes(':') ? 'tcp6' : 'tcp4', address, port };
}

/** As in Node, unix sockets have no addresses. */
function tcp(a: SocketAddress | null): SocketAddress | null {
  return a?.family === 'unix' ? null : a;
}

function familyName(a: { address: string } | null): string | undefined {
  return a === null ? undefined : a.address.includes(':') ? 'IPv6' : 'IPv4';
}
