/**
 * Clients that take nothing of what waits for them (--send-timeout). The engine sees that of its own connections only: what it has
 * sent waits here, in Node's buffers and those of the kernel, and the end of its side behind that. So the front looks itself now and
 * then whether the kernel has taken anything of the encrypted bytes.
 */
import type { Socket } from 'node:net';

interface Waiting {
  /** Bytes that waited at the last look, 0 = none. */
  bytes: number;
  /** Since when they are as many, performance.now(). */
  since: number;
}

export class Takers {
  private readonly clients = new Map<Socket, Waiting>();
  private readonly patience: () => number;
  private timer: NodeJS.Timeout | null = null;

  /** patience: ms, 0 = without end. */
  constructor(patience: () => number) {
    this.patience = patience;
  }

  /** Destroys a client's TCP socket when it has taken nothing for too long. */
  watch(raw: Socket): void {
    const ms = this.patience();
    if (ms === 0) return;
    this.clients.set(raw, { bytes: 0, since: 0 });
    raw.once('close', () => this.clients.delete(raw));
    // Twice in that time: a client is let go half of it late at most.
    this.timer ??= setInterval(() => this.look(), ms / 2);
  }

  private look(): void {
    const now = performance.now();
    const patience = this.patience();
    for (const [raw, waiting] of this.clients) {
      const bytes = queued(raw);
      if (bytes === 0 || bytes !== waiting.bytes) {
        waiting.bytes = bytes;
        waiting.since = now;
      } else if (patience > 0 && now - waiting.since >= patience) raw.destroy();
    }
    if (this.clients.size > 0 || this.timer === null) return;
    clearInterval(this.timer);
    this.timer = null;
  }
}

/** Bytes that wait for the kernel. Node has no public name for it. */
function queued(raw: Socket): number {
  return (raw as unknown as { _handle?: { writeQueueSize?: number } })._handle?.writeQueueSize ?? 0;
}
