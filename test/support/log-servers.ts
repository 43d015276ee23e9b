/** Servers that logs and metrics are sent to: real sockets that remember what came. None keeps a test's process alive. */
import { createSocket, type Socket } from 'node:dgram';
import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket as TcpSocket } from 'node:net';
import { native } from '../../src/native/binding.js';
import { ok } from './native.js';

export interface LogServer {
  /** Messages in the order of their arrival; of a stream, without what ends them. */
  readonly messages: string[];
  close(): Promise<void>;
}

/** UDP on 127.0.0.1. */
export async function udpServer(port = 0): Promise<LogServer & { port: number }> {
  const messages: string[] = [];
  const socket: Socket = createSocket({ type: 'udp4', recvBufferSize: 4 * 1024 * 1024 });
  socket.on('message', (message) => messages.push(message.toString()));
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject).bind(port, '127.0.0.1', resolve);
  });
  socket.unref();
  return {
    messages,
    port: socket.address().port,
    close: () => new Promise((resolve) => socket.close(resolve)),
  };
}

/** A stream at a port (0: any) or path; `end`: what ends a message. */
export async function streamServer(at: number | string, end: string): Promise<LogServer & { port: number }> {
  const messages: string[] = [];
  const sockets = new Set<TcpSocket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket.unref());
    let rest = '';
    socket.setEncoding('utf8').on('data', (text: string) => {
      const parts = (rest + text).split(end);
      rest = parts.pop() as string;
      messages.push(...parts);
    });
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    if (typeof at === 'string') server.listen(at, resolve);
    else server.listen(at, '127.0.0.1', resolve);
  });
  server.unref();
  const address = server.address();
  return {
    messages,
    port: typeof address === 'object' && address !== null ? address.port : 0,
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}

/** Datagrams at a path; read every few ms. */
export function unixDatagrams(path: string): LogServer {
  const messages: string[] = [];
  const fd = ok(native.socket('unix', true));
  ok(native.bind(fd, 'unix', path));
  const buffer = Buffer.alloc(64 * 1024);
  const read = () => {
    for (let n = native.recv(fd, buffer, 0, buffer.length); n >= 0; n = native.recv(fd, buffer, 0, buffer.length)) {
      messages.push(buffer.toString('utf8', 0, n));
    }
  };
  const timer = setInterval(read, 2).unref();
  return {
    messages,
    async close() {
      clearInterval(timer);
      native.close(fd);
      rmSync(path, { force: true });
    },
  };
}
