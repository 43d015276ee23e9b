/** What a connection needs of its thread, and what the fetch path's side of a request is to it. */
import type { Server, ServerResponse } from 'node:http';
import type { AllowList } from '../trust.js';
import type { Connection } from './connection.js';
import type { CostMeter } from './cost.js';
import type { RequestParser } from './parser.js';
import type { WriteCallback } from './socket-face.js';

/** thread/handle.ts is it. */
export interface ConnectionHost {
  readonly parser: RequestParser;
  /** The thread's clock words: [coarse ms, bytes of the last send]. */
  readonly clock: Int32Array;
  /** Measures what requests cost; null: nobody wants to know. Set where serverTiming is. */
  readonly meter: CostMeter | null;
  /** Proxies whose forwarded headers are believed. */
  readonly forwarders: AllowList;
  /** Connections come from the front: what they are on the wire says nothing. */
  readonly tls: boolean;
  /** Responses carry Server-Timing. */
  readonly serverTiming: boolean;
  /** Requests of the thread that are begun and not over. */
  readonly inHand: number;
  /** Wait in the thread's own event loop for the fd; neither: no more waiting. */
  watch(conn: Connection, read: boolean, write: boolean): void;
  /** Takes the connection out of the selector that all threads share, until it is given back. */
  keepToSelf(conn: Connection): void;
  /** A byte of a response leaves. */
  markSent(conn: Connection): void;
  /** Has `send` send an interim response: nothing of the request's own has left by that. */
  interim<T>(conn: Connection, send: () => T): T;
  /** 1: output may be held back for a moment, see Handler.hold. */
  hold(): number;
  /** What is noted of the request in hand when all of its response has left, so that main knows it if this thread dies. */
  outcome(conn: Connection): number;
  /** All of it has left, and nobody has noted that. */
  noteOutcome(conn: Connection): void;
  /** The response is out, the request read: keep-alive, next pipelined request, or close. */
  finishRequest(conn: Connection): void;
  /** The connection broke or must end now; this thread owns it. */
  drop(conn: Connection, error: Error | null): void;
  /** A handler destroyed the socket, perhaps long after its request: the connection may be another thread's by now. */
  socketGone(conn: Connection, error: Error | null): void;
  /** The request in hand may take so long from now, ms; 0 = without limit. */
  expireIn(conn: Connection, ms: number): void;
  /** The fd is still this connection's. */
  isOpen(conn: Connection): boolean;
  /** Runs write callbacks after the handler that is on the stack, or in a tick. */
  later(conn: Connection, callbacks: WriteCallback[]): void;
  /** The handler of the request in hand failed, or of one that is over. */
  failed(conn: Connection, error: unknown): void;
  failedLate(method: string, url: string, error: unknown): void;
  /** The http.Server of a program that listens itself. */
  readonly server: Server | undefined;
  /** Tells a response that it is over; what its listeners throw is logged. */
  emitClose(res: ServerResponse): void;
  /** A request refused while its body was read. */
  refused(conn: Connection, status: number, reason: string): void;
}

/** The fetch path's side of a request (exchange.ts). */
export interface OpenExchange {
  /** The connection broke or the request was ended otherwise: nothing more can be sent. */
  gone(reason: Error): void;
  /** Queued output has left. */
  flushed(): void;
  /** The request's body, which has come whole and was not asked for: its handler may still do so when the response is out. */
  keep(body: Buffer[]): void;
  /** A chunked response has begun and is not over. */
  readonly inChunks: boolean;
}
