/** 'drain' of a response. */
import { responseSymbol, type ServerResponse } from '../node-http.js';

/** Node's flag behind writableNeedDrain, to be taken back at 'drain'. */
const kNeedDrain = responseSymbol('kNeedDrain');

/** The socket has room again: the response that waits for it goes on. */
export function drainResponse(res: ServerResponse): void {
  if (res.finished || !res.writableNeedDrain) return;
  if (kNeedDrain) (res as unknown as Record<symbol, boolean>)[kNeedDrain] = false;
  res.emit('drain');
}
