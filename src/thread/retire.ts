/**
 * What a thread that is being replaced does with its connections: it ends only when it owns none, and one that is due again
 * (readable while it was served) goes to the other threads by way of this thread's ring instead of being served here once
 * more. So a client that never stops sending cannot keep an old thread.
 */
import type { Connection } from '../http/connection.js';
import { native } from '../native/binding.js';
import { T } from '../shared/memory.js';
import { ReadyRing } from '../shared/ready-ring.js';
import type { Holder } from './holder.js';

/** Main has asked this thread to leave because another one has taken its place. */
export function isRetiring({ o }: Holder): boolean {
  return Atomics.load(o.shared.control, o.shared.threadWord(o.slot, T.RETIRING)) !== 0;
}

/** True if it is another thread's from here on; false: it has input that only this thread knows, or there is no room. */
export function handBack({ o }: Holder, conn: Connection): boolean {
  const { table, shared, slot } = o;
  const { fd, generation } = conn;
  const ring = new ReadyRing(shared, slot);
  if (conn.early !== null || ring.room === 0) return false;
  // Fails only if it became readable again just now: the entry in the ring tells that too.
  while (!table.release(fd, table.deadline(fd)));
  if (table.notice >= 0) o.notice(fd, generation, table.notice, true);
  ring.put(fd, generation);
  native.eventfdWrite(shared.memory.mainWake);
  return true;
}

/** True if no connection is left in this thread's hands: no request, no slow close. */
export function holdsNothing(holder: Holder): boolean {
  if (holder.inHand > 0) return false;
  for (const conn of holder.connections.values()) if (holder.owns(conn)) return false;
  return true;
}
