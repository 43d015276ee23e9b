/**
 * Clients of the front that no request is in hand for: handshakes that are not done, and HTTP/2 sessions without a stream. They make
 * room for new ones at --worker-connections as the engine's own do (worker/connections.ts), those first that wait for longest.
 */

/** From when on one may be closed, ms. */
const RECLAIM_MS = 1000;

export class Unused {
  /** In the order in which they came. */
  private readonly clients = new Map<object, { since: number; end: () => void }>();

  /** end: closes it. */
  add(client: object, end: () => void): void {
    this.clients.set(client, { since: performance.now(), end });
  }

  remove(client: object): void {
    this.clients.delete(client);
  }

  /** Closes up to `most` of them. */
  makeRoom(most: number): void {
    const until = performance.now() - RECLAIM_MS;
    for (const [client, { since, end }] of this.clients) {
      if (most-- <= 0 || since > until) return;
      this.clients.delete(client);
      end();
    }
  }
}
