/**
 * Node 24's `req.signal`: it aborts when the request's socket closes, until Node's server detaches it from the socket at the end of the
 * response. The socket here outlives the request and the request its socket, so both are told what Node's own server would tell.
 */
import { IncomingMessage, symbolOf } from '../node-http.js';

type Parts = Record<symbol, unknown>;

/** Undefined in Nodes that have no such signal. */
const kDetach = symbolOf(IncomingMessage.prototype, 'kDetachAbortSignal');
const kController = symbolOf(new IncomingMessage(null as never), 'kAbortController');

/** The response is over: what becomes of the connection is none of the request's business. */
export function detachSignal(req: IncomingMessage): void {
  if (kDetach !== undefined) ((req as unknown as Parts)[kDetach] as () => void).call(req);
}

/** The request was cut short. */
export function abortSignal(req: IncomingMessage): void {
  detachSignal(req);
  if (kController !== undefined) ((req as unknown as Parts)[kController] as AbortController | null)?.abort();
}
