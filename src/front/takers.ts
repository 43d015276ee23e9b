/**
 * Clients that take nothing of what waits for them (--send-timeout). The engine sees that of its own connections only: what it has
 * sent waits here, in Node's buffers and those of the kernel, and the end of its side behind that. So the front looks itself now and
 * then whether the client has taken anything of the encrypted bytes. A slow one takes some all the time, while the kernel has room
 * for more only now and then.
 */
import type { Socket } from 'node:net';
import { native } from '../native/binding.js';

interface Waiting {
  /** Bytes that the client had taken at the last look. */
  taken: number;
  /** Since when it has taken no more though some wait here, performance.now(). */
  since: number;
}

/** What of a TCP handle Node has no public name for. */
interface Output {
  fd: number;
  /** Bytes that were given to it, and those of them that wait for the kernel. */
  bytesWritten: number;
  writeQueueSize: number;
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
    this.clients.set(raw, { taken: 0, since: 0 });
    raw.once('close', () => this.clients.delete(raw));
    // Twice in that time: a client is let go half of it late at most.
    this.timer ??= setInterval(() => this.look(), ms / 2);
  }

  private look(): void {
    const now = performance.now();
    const patience = this.patience();
    for (const [raw, waiting] of this.clients) {
      const output = outputOf(raw);
      const taken = output === null ? 0 : output.bytesWritten - output.writeQueueSize - native.outQueue(output.fd);
      if (!waits(raw) || taken !== waiting.taken) {
        waiting.taken = taken;
        waiting.since = now;
      } else if (patience > 0 && now - waiting.since >= patience) raw.destroy();
    }
    if (this.clients.size > 0 || this.timer === null) return;
    clearInterval(this.timer);
    this.timer = null;
  }
}

function outputOf(raw: Socket): Output | null {
  return (raw as unknown as { _handle?: Output | null })._handle ?? null;
}

/** Bytes for the client wait until the kernel has room. */
export function waits(raw: Socket): boolean {
  return (outputOf(raw)?.writeQueueSize ?? 0) > 0;
}
