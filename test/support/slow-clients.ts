/** Clients that are slow on purpose: many connections that send a byte now and then, or take nothing of what they asked for. */
import { connect, type Socket } from 'node:net';

export interface SlowOptions {
  port: number;
  connections: number;
  /** What each sends at first. */
  begin: string;
  /** What each sends from then on, once in everyMs; '' = nothing. */
  drip: string;
  everyMs: number;
  /** False: nothing is read, from the start. */
  reads: boolean;
}

/** Drips are spread over so many parts of everyMs. */
const PARTS = 10;

export class SlowClients {
  /** Connections that the server has ended. */
  ended = 0;
  /** What each got that reads, by its first line. */
  readonly answers = new Map<string, number>();
  private readonly sockets: Socket[] = [];
  private readonly timer: NodeJS.Timeout;
  private readonly o: SlowOptions;

  private constructor(options: SlowOptions) {
    this.o = options;
    let part = 0;
    this.timer = setInterval(() => this.drip(part++ % PARTS), options.everyMs / PARTS);
  }

  /** Connects all, some at a time so that the backlog holds them. */
  static async start(options: SlowOptions): Promise<SlowClients> {
    const clients = new SlowClients(options);
    try {
      for (let i = 0; i < options.connections; i += 50) {
        await Promise.all(Array.from({ length: Math.min(50, options.connections - i) }, () => clients.open()));
      }
    } catch (error) {
      clients.stop();
      throw error;
    }
    return clients;
  }

  private open(): Promise<void> {
    const { port, begin, reads } = this.o;
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true });
      let text = '';
      socket.once('connect', () => {
        this.sockets.push(socket);
        socket.write(begin);
        resolve();
      });
      // A reset is an end, too, once connected.
      socket.on('error', reject);
      socket.once('close', () => {
        this.ended++;
        const [line] = text.split('\r\n', 1);
        this.answers.set(line, (this.answers.get(line) ?? 0) + 1);
      });
      if (reads) socket.setEncoding('latin1').on('data', (piece) => (text += piece));
      else socket.pause();
    });
  }

  private drip(part: number): void {
    const { drip } = this.o;
    if (drip === '') return;
    for (let i = part; i < this.sockets.length; i += PARTS) if (this.sockets[i].writable) this.sockets[i].write(drip);
  }

  /** Reads what was left unread, to see the end of the connections. */
  readAll(): void {
    for (const socket of this.sockets) socket.resume();
  }

  stop(): void {
    clearInterval(this.timer);
    for (const socket of this.sockets) socket.destroy();
  }
}
