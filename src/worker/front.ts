/**
 * Main's side of the front thread (front/entry.ts), which a worker with --certfile has: starts it, gives it what was accepted,
 * and takes from it the connections in the clear. A front that breaks is started anew; its connections are lost.
 */
import { Worker } from 'node:worker_threads';
import { leaveRemovedFolder } from '../config/folders.js';
import type { Config } from '../config/settings.js';
import type { FromFront, FrontData, FrontSettings, ToFront } from '../front/messages.js';
import type { Logger } from '../log.js';
import type { TlsMaterial } from '../messages.js';
import { native } from '../native/binding.js';

/** Where --header-timeout, --send-timeout or --keep-alive set no bound. */
const DEFAULT_MS = 30_000;

/** A connection in the clear, and whose it is. */
export type Plain = Extract<FromFront, { type: 'plain' }>;

export interface FrontOptions {
  settings: FrontSettings;
  /** One word of shared memory: connections that the engine has. */
  engine: Int32Array;
  log: Logger;
  /** Takes over a connection in the clear. */
  admit: (plain: Plain) => void;
  /** One of the clients' connections is closed. */
  onClosed: () => void;
}

/** What the front needs to know. */
export function frontSettings(config: Config, material: TlsMaterial): FrontSettings {
  const { certReqs, httpProtocols: protocols } = config;
  return {
    ...material,
    certReqs,
    protocols,
    connections: config.workerConnections,
    http2: {
      maxConcurrentStreams: config.http2MaxConcurrentStreams,
      initialWindowSize: config.http2InitialWindowSize,
      maxFrameSize: config.http2MaxFrameSize,
      maxHeaderListSize: config.http2MaxHeaderListSize,
    },
    handshakeMs: config.headerTimeout * 1000 || DEFAULT_MS,
    sendMs: config.sendTimeout * 1000,
    lingerMs: config.sendTimeout * 1000 || DEFAULT_MS,
    idleMs: config.keepalive * 1000,
  };
}

export class Front {
  /** Connections of clients that are open. */
  open = 0;
  private readonly o: FrontOptions;
  private settings: FrontSettings;
  private thread: Worker;
  private stopped = false;

  constructor(options: FrontOptions) {
    this.o = options;
    this.settings = options.settings;
    this.thread = this.start();
  }

  private start(): Worker {
    leaveRemovedFolder('/');
    const workerData: FrontData = { settings: this.settings, engine: this.o.engine };
    const thread = new Worker(new URL('../front/entry.js', import.meta.url), { workerData });
    thread.on('message', (message: FromFront) => this.receive(message));
    thread.on('error', (error) => this.o.log.error('The front thread failed', error));
    thread.once('exit', () => {
      if (this.stopped) return;
      this.open = 0;
      this.o.log.error('The front thread has ended: its connections are lost, another one begins');
      this.thread = this.start();
      this.o.onClosed();
    });
    thread.unref();
    return thread;
  }

  /** Gives it an accepted socket. */
  take(fd: number): void {
    if (this.stopped) {
      native.close(fd);
      return;
    }
    this.open++;
    this.post({ type: 'take', fd });
  }

  /** For connections that begin from now on. */
  reload(settings: FrontSettings): void {
    this.settings = settings;
    this.post({ type: 'settings', settings });
  }

  /** Closes up to `most` clients that no request is in hand for. */
  makeRoom(most: number): void {
    if (most > 0) this.post({ type: 'makeRoom', most });
  }

  /** Nothing new: HTTP/2 clients are told so; the others hear it from the engine. */
  drain(): void {
    this.post({ type: 'drain' });
  }

  /** Ends it as soon as no connection is left, at `until` (ms, performance.now()) at the latest. */
  async end(until: number): Promise<void> {
    while (this.open > 0 && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 10));
    this.stopped = true;
    await this.thread.terminate();
  }

  private post(message: ToFront): void {
    this.thread.postMessage(message);
  }

  private receive(message: FromFront): void {
    if (message.type === 'plain') this.o.admit(message);
    else if (message.type === 'failed') this.o.log.debug(`TLS handshake failed: ${message.reason}`);
    else if (message.type === 'refused') {
      const { client, status, reason } = message;
      this.o.log.info(`Refused a request from ${client || 'a client'}: ${status} ${reason}`);
    } else {
      this.open--;
      this.o.onClosed();
    }
  }
}
