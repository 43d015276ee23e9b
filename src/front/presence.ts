/**
 * Clients that have ended their side of a TLS connection and are still served. Nothing more is read from them, so Node does not
 * notice when one turns out to have left: its kernel answers what the engine sends with a reset, which only shows when
 * the next bytes are sent. Here they are asked for now and then.
 */
import type { TLSSocket } from 'node:tls';
import { CLIENT_GONE, native } from '../native/binding.js';

const EVERY_MS = 100;

export class Presence {
  private readonly clients = new Set<TLSSocket>();
  private timer: NodeJS.Timeout | null = null;

  /** Destroys the client's socket when it is seen to have left after the end of its side. */
  watch(client: TLSSocket): void {
    client.once('end', () => {
      if (client.destroyed) return;
      this.clients.add(client);
      this.timer ??= setInterval(() => this.look(), EVERY_MS);
    });
    client.once('close', () => this.clients.delete(client));
  }

  private look(): void {
    for (const client of this.clients) {
      // Not destroyed: the descriptor is still its own.
      if (!client.destroyed && native.hangup(descriptor(client)) === CLIENT_GONE) client.destroy();
    }
    if (this.clients.size > 0 || this.timer === null) return;
    clearInterval(this.timer);
    this.timer = null;
  }
}

/** Node has no public name for it; -1 if it has none. */
function descriptor(socket: TLSSocket): number {
  return (socket as unknown as { _handle?: { fd?: number } })._handle?.fd ?? -1;
}
