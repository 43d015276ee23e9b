/**
 * What a request costs: CPU time of its thread, and time in which the thread's event loop idled, from its head to the end
 * of its response. They are the thread's clocks: while a handler awaits, the thread serves others, and their CPU time
 * is counted too. So they are upper bounds for asynchronous handlers, and exact for those that answer before they return.
 */
import { native } from '../native/binding.js';
import type { Connection } from './connection.js';

export interface RequestCost {
  /** Wait for a thread, ms. */
  queueMs: number;
  /** us; -1 = not measured. */
  cpuUs: number;
  loopUs: number;
}

/** Reads the clocks of one thread, where somebody wants to see them. */
export class CostMeter {
  readonly slot: number;
  private readonly costs: boolean;

  /** costs: false = only when requests began; the thread's clocks are system calls. */
  constructor(slot: number, costs: boolean) {
    this.slot = slot;
    this.costs = costs;
  }

  /** The request begins. */
  begin(conn: Connection): void {
    conn.startedAt = performance.now();
    if (!this.costs) return;
    conn.cpuAt = native.loopCpu(this.slot);
    conn.idleAt = native.loopIdle(this.slot);
  }

  /** Brings cpuUs and loopUs up to date. */
  measure(conn: Connection): void {
    if (!this.costs) return;
    const cpu = native.loopCpu(this.slot);
    const idle = native.loopIdle(this.slot);
    conn.cpuUs = cpu < 0 || conn.cpuAt < 0 ? -1 : cpu - conn.cpuAt;
    conn.loopUs = idle < 0 || conn.idleAt < 0 ? -1 : idle - conn.idleAt;
  }
}

/** What the request in hand has cost so far. */
export function requestCost(conn: Connection): RequestCost {
  conn.host.meter?.measure(conn);
  const { queuedMs: queueMs, cpuUs, loopUs } = conn;
  return { queueMs, cpuUs, loopUs };
}
