/**
 * Places for requests at --worker-connections. A client of HTTP/1.1 has one from its handshake to its end: main accepts no more clients
 * than there are places. A session of HTTP/2 brings as many streams as it likes, so each of these asks for a place of its own, and is
 * refused where there is none.
 *
 *     a place is taken by openPlain ─┬ HTTP/1.1: left when the connection is closed
 *                                    └ a stream: left when the stream is closed
 *
 * Whose stream is closed may ask again at once, while the engine has yet to see to the end of its connection. Those count on their
 * own: streams that are opened and reset all the time must not become connections without bound.
 */

export class Places {
  private taken = 0;
  private readonly most: () => number;
  private readonly engine: Int32Array;

  /** engine: one word of shared memory, the connections that the engine has. */
  constructor(most: () => number, engine: Int32Array) {
    this.most = most;
    this.engine = engine;
  }

  /** There is one for a stream. */
  get free(): boolean {
    const most = this.most();
    return this.taken < most && Atomics.load(this.engine, 0) < 2 * most;
  }

  /** Takes one, until `user` closes. */
  take(user: { once(event: 'close', listener: () => void): unknown }): void {
    this.taken++;
    user.once('close', () => this.taken--);
  }
}
