/** The border between a worker's main thread and its front thread (TLS): all that crosses it. */
import type { Protocol } from '../config/tls.js';
import type { TlsMaterial } from '../messages.js';

/** What the front is started with. */
export interface FrontData {
  settings: FrontSettings;
  /** One word of shared memory: connections that the engine has. */
  engine: Int32Array;
}

/** For connections that begin from now on. */
export interface FrontSettings extends TlsMaterial {
  /** 0 no certificate is asked for, 1 one may be given, 2 one must be. */
  certReqs: number;
  protocols: readonly Protocol[];
  /** Requests that may be in hand at once: beyond that streams of HTTP/2 are refused. */
  connections: number;
  http2: { maxConcurrentStreams: number; initialWindowSize: number; maxFrameSize: number; maxHeaderListSize: number };
  /**
   * ms for a handshake, and for the first stream; for a client that takes nothing, 0 = no limit; for one that does not take what is
   * left for it; for an HTTP/2 session between streams.
   */
  handshakeMs: number;
  sendMs: number;
  lingerMs: number;
  idleMs: number;
}

/** A TCP address; null: a unix socket has none. */
export type Endpoint = { address: string; port: number } | null;

export type ToFront =
  | { type: 'settings'; settings: FrontSettings }
  /** An accepted socket: the front's from now on. */
  | { type: 'take'; fd: number }
  /** Somebody new waits at the limit: closes up to `most` clients that nobody uses. */
  | { type: 'makeRoom'; most: number }
  /** HTTP/2 sessions take no new streams. HTTP/1.1 connections end with the engine's. */
  | { type: 'drain' };

export type FromFront =
  /** A connection in the clear for the engine, its from now on; who is behind it, and where that one had connected to. */
  | { type: 'plain'; fd: number; peer: Endpoint; local: Endpoint }
  /** One that was taken is closed. */
  | { type: 'closed' }
  /** A handshake that failed, and why. */
  | { type: 'failed'; reason: string }
  /** A request of HTTP/2 that the front has refused itself; `client`: its address. */
  | { type: 'refused'; client: string; status: number; reason: string };
