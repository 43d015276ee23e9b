/** A ThreadPool in this process, with open connections on which nothing arrives: what dispatch.ts measures hand-over on. */
import { fileURLToPath } from 'node:url';
import { createConfig } from '../src/config/config.js';
import { native } from '../src/native/binding.js';
import { piscinaHost } from '../src/pool/piscina.js';
import { ThreadPool } from '../src/pool/thread-pool.js';
import { allocate, C, Shared } from '../src/shared/memory.js';
import { ConnTable, OWNER_IDLE } from '../src/shared/tconn.js';

interface Conn {
  fd: number;
  generation: number;
}

export class PoolFixture {
  private readonly watched: Array<{ conn: Conn; resolve: () => void }> = [];
  private readonly free: Conn[] = [];
  private readonly clients: number[] = [];
  private readonly table: ConnTable;
  private readonly pool: ThreadPool;

  private constructor(table: ConnTable, pool: ThreadPool) {
    this.table = table;
    this.pool = pool;
  }

  static async start(threads: number, connections: number): Promise<PoolFixture> {
    const shared = new Shared(
      allocate(threads, native.maxFds(), {
        epfd: native.epollCreate(),
        mainWake: native.eventfd(),
        threadWake: Array.from({ length: threads + 1 }, () => native.eventfd()),
      }),
    );
    // The supervisor's part, as it would decide for short work: one thread is enough.
    Atomics.store(shared.control, C.WANTED, 1);
    Atomics.store(shared.control, C.SUPERVISING, 1);
    const table = new ConnTable(shared);
    const app = fileURLToPath(new URL('./apps/handler.js', import.meta.url));
    const config = createConfig({ app, threads, headerTimeout: 0 });
    const entry = new URL('../src/thread/start.cjs', import.meta.url);
    const host = piscinaHost({ entry, threads });
    const onLost = (_slot: number, error: unknown) => {
      throw error;
    };
    const pool = new ThreadPool({ host, shared, table, config, concurrency: 0, keepAlive: true, onLost });
    await pool.start();
    const fixture = new PoolFixture(table, pool);
    fixture.connect(connections);
    return fixture;
  }

  private connect(connections: number): void {
    const listener = native.socket('tcp4');
    const address = native.bind(listener, 'tcp4', '127.0.0.1', 0) < 0 ? 0 : native.getSockName(listener);
    if (typeof address === 'number' || native.listen(listener, connections) < 0) throw new Error('cannot listen');
    for (let i = 0; i < connections; i++) {
      const client = native.socket('tcp4');
      native.connect(client, 'tcp4', '127.0.0.1', address.port);
      const fd = native.accept(listener);
      if (fd < 0) throw new Error(`accept: ${native.errnoName(fd)}`);
      this.clients.push(client);
      this.free.push({ fd, generation: this.table.open(fd, 0) });
    }
    native.close(listener);
  }

  /** A connection that main owns. */
  take(): Conn {
    const conn = this.free.pop();
    if (!conn) throw new Error('more tasks in flight than connections');
    return conn;
  }

  /** After a hand-over: the connection waits in the selector, main takes it out again. */
  giveBack(conn: Conn): void {
    if (!this.table.seize(conn.fd, conn.generation)) throw new Error('the connection is not idle');
    this.free.push(conn);
  }

  submitForFuture(conn: Conn): Promise<void> {
    return new Promise((resolve, reject) => {
      this.pool.submit(conn).addDoneCallback((future) => {
        if (future.result().kept) resolve();
        else reject(new Error('the connection was closed'));
      });
    });
  }

  submitAndWatch(conn: Conn): Promise<void> {
    return new Promise((resolve) => {
      this.table.setDeadline(conn.fd, 0);
      this.pool.submit(conn);
      this.watched.push({ conn, resolve });
      if (this.watched.length === 1) setImmediate(() => this.look());
    });
  }

  /** A thread that gives a connection back sets its deadline first. */
  private look(): void {
    const waiting = this.watched.splice(0);
    for (const entry of waiting) {
      const { fd } = entry.conn;
      if (this.table.deadline(fd) !== 0 && this.table.owner(fd) === OWNER_IDLE) entry.resolve();
      else this.watched.push(entry);
    }
    if (this.watched.length > 0) setImmediate(() => this.look());
  }

  async close(): Promise<void> {
    await this.pool.stop(1000);
    for (const fd of this.clients) native.close(fd);
  }
}
