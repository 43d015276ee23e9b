/**
 * The front: a thread of a worker that has --certfile. It speaks TLS, and HTTP/2, with clients, and hands the engine ordinary
 * connections in the clear, one end each of a socket pair. So deadlines, queues, containment and drain are the engine's and the
 * same for all, and encryption takes no time of main or of the pool's threads. No user code runs here: nothing can be stuck.
 *
 *     accepted fd ─> TLS handshake ─┬ http/1.1 ─> one plain connection, bytes passed both ways (bridge.ts)
 *                                   └ h2 ───────> one plain connection for each stream (streams.ts)
 *
 * Owners: an accepted fd is this thread's from 'take' until 'closed'. Of a pair one end is a net.Socket here; the other is
 * main's from 'plain' on, and then the engine's as any connection.
 */
import {
  createServer as createHttp2Server,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { parentPort, workerData } from 'node:worker_threads';
import { native } from '../native/binding.js';
import { bridge } from './bridge.js';
import type { Endpoint, FromFront, FrontData, FrontSettings, ToFront } from './messages.js';
import { Places } from './places.js';
import { Presence } from './presence.js';
import { limitSession } from './sessions.js';
import { forward } from './streams.js';
import { Takers, waits } from './takers.js';
import { Unused } from './unused.js';

/** Fields of a request of HTTP/2, pseudo ones counted in. */
const MAX_FIELDS = 40_000;

/** The names of protocols in ALPN. */
const ALPN = { h1: 'http/1.1', h2: 'h2' } as const;

class Front {
  private settings: FrontSettings;
  private tls: Server;
  private h2: Http2Server;
  private readonly sessions = new Set<ServerHttp2Session>();
  private readonly presence = new Presence();
  private readonly takers = new Takers(() => this.settings.sendMs);
  private readonly unused = new Unused();
  private readonly places: Places;
  private draining = false;
  private readonly tell: (message: FromFront) => void;

  constructor({ settings, engine }: FrontData, tell: (message: FromFront) => void) {
    this.settings = settings;
    this.places = new Places(() => this.settings.connections, engine);
    this.tell = tell;
    this.tls = this.tlsServer();
    this.h2 = this.http2Server();
  }

  receive(message: ToFront): void {
    if (message.type === 'take') this.take(message.fd);
    else if (message.type === 'drain') this.drain();
    else if (message.type === 'makeRoom') this.unused.makeRoom(message.most);
    else {
      this.settings = message.settings;
      this.tls = this.tlsServer();
      this.h2 = this.http2Server();
    }
  }

  private take(fd: number): void {
    const raw = new Socket({ fd });
    raw.setNoDelay(true);
    this.unused.add(raw, () => raw.destroy());
    raw.once('close', () => {
      this.unused.remove(raw);
      this.tell({ type: 'closed' });
    });
    // What happens to it is told by the TLS socket.
    raw.on('error', () => {});
    this.takers.watch(raw);
    this.tls.emit('connection', raw);
  }

  /** Listens at nothing: main accepts. */
  private tlsServer(): Server {
    const { options, ticketKeys, certReqs, protocols, handshakeMs } = this.settings;
    const server = createServer({
      ...options,
      ticketKeys: Buffer.from(ticketKeys, 'base64'),
      requestCert: certReqs > 0,
      rejectUnauthorized: certReqs === 2,
      ALPNProtocols: protocols.map((name) => ALPN[name]),
      handshakeTimeout: handshakeMs,
    });
    server.on('secureConnection', (socket) => this.serve(socket));
    server.on('tlsClientError', (error, socket) => {
      this.tell({ type: 'failed', reason: error.message });
      socket.destroy();
    });
    return server;
  }

  private serve(socket: TLSSocket): void {
    socket.on('error', () => {});
    this.unused.remove(parentOf(socket));
    const given = Object.keys(socket.getPeerCertificate() ?? {}).length > 0;
    if (this.settings.certReqs === 1 && given && !socket.authorized) {
      this.tell({ type: 'failed', reason: `client certificate: ${socket.authorizationError}` });
      socket.destroy();
      return;
    }
    if (socket.alpnProtocol === ALPN.h2) {
      if (this.draining) socket.destroy();
      else this.h2.emit('connection', socket);
      return;
    }
    // Who has ended its side is still answered. In a handshake, and in HTTP/2, it has left.
    socket.allowHalfOpen = true;
    const plain = this.openPlain(socket);
    if (plain === null) {
      socket.destroy();
      return;
    }
    this.places.take(plain);
    bridge(socket, plain, this.settings.lingerMs);
    this.presence.watch(socket);
  }

  private http2Server(): Http2Server {
    const { http2, handshakeMs, idleMs, lingerMs, sendMs } = this.settings;
    const server = createHttp2Server({
      // The list's size bounds it, and the engine has its own limit, which it answers with 431.
      maxHeaderListPairs: MAX_FIELDS,
      settings: {
        maxConcurrentStreams: http2.maxConcurrentStreams,
        initialWindowSize: http2.initialWindowSize,
        maxFrameSize: http2.maxFrameSize,
        ...(http2.maxHeaderListSize > 0 ? { maxHeaderListSize: http2.maxHeaderListSize } : {}),
      },
    });
    server.on('session', (session) => {
      this.sessions.add(session);
      const raw = parentOf(session.socket as TLSSocket);
      limitSession(session, raw, { firstMs: handshakeMs, idleMs, lingerMs }, this.unused);
      session.once('close', () => this.sessions.delete(session));
    });
    // The session ends with its socket; there is nobody else to tell.
    server.on('sessionError', () => {});
    // The fields as they came are left out of the types.
    const onStream = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, _flags: number, fields: string[]) => {
      const client = stream.session?.socket as TLSSocket | undefined;
      // Later the session may have let go of its socket.
      const raw = client && parentOf(client);
      forward(stream, headers, fields, {
        sendMs,
        blocked: () => raw !== undefined && waits(raw),
        open: () => {
          const plain = this.places.free ? this.openPlain(client) : null;
          if (plain !== null) this.places.take(stream);
          return plain;
        },
        refused: (status, reason) =>
          this.tell({ type: 'refused', client: client?.remoteAddress ?? '', status, reason }),
      });
    };
    server.on('stream', onStream as unknown as () => void);
    return server;
  }

  /** Our end of a new connection to the engine; null: file descriptors are short, or the client has gone. */
  private openPlain(client: TLSSocket | undefined): Socket | null {
    if (client === undefined) return null;
    const peer = endpoint(client.remoteAddress, client.remotePort);
    const local = endpoint(client.localAddress, client.localPort);
    const pair = native.socketPair();
    if (typeof pair === 'number') return null;
    const [ours, fd] = pair;
    const plain = new Socket({ fd: ours, allowHalfOpen: true });
    this.tell({ type: 'plain', fd, peer, local });
    return plain;
  }

  private drain(): void {
    this.draining = true;
    for (const session of this.sessions) session.close();
  }
}

/** The TCP socket below. Node has no public name for it. */
function parentOf(socket: TLSSocket): Socket {
  return (socket as unknown as { _parent: Socket })._parent;
}

function endpoint(address: string | undefined, port: number | undefined): Endpoint {
  return address === undefined || port === undefined ? null : { address, port };
}

const main = parentPort as NonNullable<typeof parentPort>;
native.setThreadName('tunicorn front');
const front = new Front(workerData as FrontData, (message) => main.postMessage(message));
main.on('message', (message: ToFront) => front.receive(message));
