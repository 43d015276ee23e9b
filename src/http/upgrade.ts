/**
 * The socket of an upgraded connection (WebSocket, CONNECT): Node's own net.Socket, complete in every respect, over a
 * descriptor of its own. The connection's fd stays what it is to the rest of the process: this thread's, counted, closed
 * by it at the socket's 'close', or by main if the thread dies. Two descriptors, because a fd has one owner who closes it:
 * libuv closes the duplicate, whenever it likes, and the number in the table of connections stays taken until we say so.
 */
import type { Server } from 'node:http';
import { Socket } from 'node:net';
import { native } from '../native/binding.js';

/** What of net.Socket its streams' machinery calls for output. */
interface Output {
  _write: Socket['_write'];
  _writev?(chunks: Array<{ chunk: unknown }>, callback: (error?: Error | null) => void): void;
}

const nodes = Socket.prototype as unknown as Required<Output>;

/**
 * Opens a socket beside fd, with Node's own errors and events. onFirst is called once, before its first output leaves, with
 * the status of the response that it begins with, 0 = with something else.
 * Null: there is no descriptor left.
 */
export function openSocket(fd: number, server: Server, onFirst: (status: number) => void): Socket | null {
  const copy = native.dup(fd);
  if (copy < 0) return null;
  const socket = new Socket({ fd: copy, allowHalfOpen: true });
  Object.assign(socket, { server });
  // In Node a reset that nobody listens for ends the process; here it would cost the thread its good name.
  socket.on('error', () => {});
  const output = socket as unknown as Output;
  const first = (chunk: unknown): void => {
    output._write = nodes._write;
    output._writev = nodes._writev;
    onFirst(statusOf(chunk));
  };
  output._write = (chunk, encoding, callback) => {
    first(chunk);
    nodes._write.call(socket, chunk, encoding, callback);
  };
  output._writev = (chunks, callback) => {
    first(chunks[0].chunk);
    nodes._writev.call(socket, chunks, callback);
  };
  return socket;
}

function statusOf(chunk: unknown): number {
  const text = typeof chunk === 'string' ? chunk.slice(0, 16) : Buffer.from(chunk as Uint8Array).latin1Slice(0, 16);
  return Number(/^HTTP\/1\.[01] (\d\d\d)\b/.exec(text)?.[1] ?? 0);
}
