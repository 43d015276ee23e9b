/**
 * The health path (--health-path): which requests ask for it and what they are told. Threads answer it before the app
 * sees the request (thread/health.ts); main answers it while every thread is stuck (worker/status-head.ts) and gives the
 * same answers at the status address. Main decides whether the worker is ready; threads read C.READY.
 */
import { C } from './memory.js';

/** ready: may it be sent requests? live: does its main loop turn? */
export type HealthKind = 'ready' | 'live';

export interface Readiness {
  ready: boolean;
  /** Why not; '' if it is ready. */
  reason: string;
}

export const READY: Readiness = { ready: true, reason: '' };
export const DRAINING: Readiness = { ready: false, reason: 'draining' };
const OVERLOADED: Readiness = { ready: false, reason: 'overloaded' };

const SLASH = 47;

/**
 * What a request asks of `path`, null if nothing: it is the app's. Only GET and HEAD do; a query is ignored.
 * @param target as in the request line: a path, or a whole URL as proxies send it.
 * @param path not ''.
 */
export function healthAsked(method: string, target: string, path: string): HealthKind | null {
  // Nearly all requests end here.
  if (!target.startsWith(path) && target.charCodeAt(0) === SLASH) return null;
  if (method !== 'GET' && method !== 'HEAD') return null;
  const [asked] = target.replace(/^https?:\/\/[^/?#]+/i, '').split('?', 1);
  if (asked === path) return 'ready';
  return asked.length === path.length + 5 && asked === `${path}/live` ? 'live' : null;
}

/** Status and text of the answer. */
export function healthAnswered(kind: HealthKind, { ready, reason }: Readiness): { status: number; body: string } {
  if (kind === 'live') return { status: 200, body: 'live\n' };
  return ready ? { status: 200, body: 'ok\n' } : { status: 503, body: `${reason}\n` };
}

/** What a thread knows. */
export function readinessOf(control: Int32Array): Readiness {
  if (control[C.READY] !== 0) return READY;
  return control[C.DRAINING] !== 0 ? DRAINING : OVERLOADED;
}
